"""The log in the official API's shapes, value by value."""

from datetime import UTC, datetime

import pytest

from widget_proxy.broker import Entry
from widget_proxy.handles import ChatSession
from widget_proxy.hub import FAILED_DETAIL
from widget_proxy.messages import Event, Message, done_event, message_event, progress_event, session_event
from widget_proxy.official_api import (
    BEGINNING,
    EXPIRED,
    PAGE,
    Refusal,
    Refused,
    parse_limit,
    parse_since,
    poll_answer,
    refusal_of,
    session_id,
    start_answer,
    task_answer,
)
from widget_proxy.problems import CODES, Problem

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SESSION = ChatSession("shop", "3f0b7d52-7c2c-4c4e-9a56-0e1b1a6f8f10", "marker-token", "https://shop.example", NOW)


def said(key: str, second: int | None, task: str | None = None, **more: object) -> Event:
    moment = None if second is None else NOW.replace(second=second)
    event = message_event(Message(moment, "assistant", f"text of {key}"), key, "<p>html</p>", [], task)
    event.data.update(more)
    return event


def log(*events: Event) -> list[Entry]:
    return [Entry(f"c-{number}", event) for number, event in enumerate(events)]


def keys(told: object) -> list[str]:
    assert isinstance(told, dict)
    return [one["content"].removeprefix("text of ") for one in told["messages"]]


def test_a_poll_brings_what_was_said_after_a_moment_oldest_first() -> None:
    entries = log(said("c", 3), said("a", 1), said("b", 2))
    assert keys(poll_answer(entries, None, 50, "")) == ["a", "b", "c"]
    assert keys(poll_answer(entries, NOW.replace(second=1), 50, "")) == ["b", "c"]
    assert keys(poll_answer(entries, NOW.replace(second=3), 50, "")) == []


def test_pages_follow_each_other_without_losing_or_doubling() -> None:
    entries = log(*(said(key, second) for key, second in zip("abcdefg", (1, 2, 2, 2, 3, 4, 5), strict=True)))
    for limit in range(1, 9):
        found: list[str] = []
        since, more = None, True
        while more:
            page = poll_answer(entries, since, limit, "")
            assert isinstance(page, dict)
            found += keys(page)
            since, more = parse_since(page["messages"][-1]["created_at"]), page["has_more"]
        assert found == list("abcdefg"), limit


def test_a_message_of_no_moment_has_one_to_go_on_from() -> None:
    entries = log(said("a", None))
    told = poll_answer(entries, None, 50, "")
    assert isinstance(told, dict)
    assert told["messages"][0]["created_at"] == BEGINNING
    assert keys(poll_answer(log(said("a", None), said("b", 1)), NOW, 50, "")) == ["b"]


def test_nothing_of_a_message_is_told_that_is_not_in_the_list() -> None:
    attachments = [
        {"name": "a.txt", "size": 3, "content_type": "text/plain", "url": None},
        {"name": "b.txt", "size": 4, "content_type": "text/plain", "url": "/v1/files/ref"},
    ]
    told = poll_answer(log(said("a", 1, attachments=attachments)), None, 50, "https://chat.example")
    assert isinstance(told, dict)
    assert told["messages"] == [
        {
            "created_at": "2026-11-20T12:00:01.000000Z",
            "role": "assistant",
            "content": "text of a",
            "metadata": {},
            "tags": [],
            "attachments": [
                {"name": "a.txt", "content_type": "text/plain", "size": 3},
                {
                    "name": "b.txt",
                    "content_type": "text/plain",
                    "size": 4,
                    "content_url": "https://chat.example/v1/files/ref",
                },
            ],
        }
    ]


@pytest.mark.parametrize(("events", "status"), [((), "active"), ((session_event("ended"),), "ended")])
def test_a_poll_says_whether_the_session_goes_on(events: tuple[Event, ...], status: str) -> None:
    told = poll_answer(log(*events), None, 50, "")
    assert isinstance(told, dict)
    assert told["session_status"] == status


def test_an_expired_session_tells_nothing_more() -> None:
    entries = log(said("a", 1), session_event("expired"))
    assert poll_answer(entries, None, 50, "") is EXPIRED
    assert task_answer(entries, "t", NOW, "") is EXPIRED


def test_an_answer_is_found_by_its_task_or_by_its_key() -> None:
    known_before = log(said("a", 1), said("b", 2), done_event("t", "complete", reply="b"))
    by_task = log(said("a", 1), said("b", 2, "t"), done_event("t", "complete"))
    for entries in (known_before, by_task):
        told = task_answer(entries, "t", NOW, "")
        assert isinstance(told, dict)
        assert told["message"]["content"] == "text of b"
        assert told["status"] == "complete"


def test_an_answer_without_words_is_complete_all_the_same() -> None:
    assert task_answer(log(said("a", 1), done_event("t", "complete")), "t", NOW, "") == {
        "message": None,
        "status": "complete",
    }


def test_progress_is_the_last_that_was_said_of_this_task() -> None:
    entries = log(progress_event("t", "Reading"), progress_event("t", "Writing"), progress_event("u", "Counting"))
    told = task_answer(entries, "t", NOW, "")
    assert isinstance(told, dict)
    assert told["message"]["content"] == "Writing"
    assert told["message"]["created_at"] == "2026-11-20T12:00:00.000000Z"
    assert told["status"] == "processing"


def test_of_an_answer_the_log_knows_nothing_nothing_is_said() -> None:
    assert task_answer(log(said("a", 1), progress_event("u", "Reading")), "t", NOW, "") is None


def test_after_our_deadline_the_widget_waits_as_long_as_it_likes() -> None:
    assert task_answer(log(done_event("t", "timeout")), "t", NOW, "") == {"message": None, "status": "processing"}


@pytest.mark.parametrize(("detail", "status"), [(FAILED_DETAIL, 500), ("No more today.", 400)])
def test_a_failure_is_upstreams_own_where_it_meant_it_for_visitors(detail: str, status: int) -> None:
    told = task_answer(log(done_event("t", "failed", detail)), "t", NOW, "")
    assert told == Refusal(status, {"error": detail, "status": "error"})


@pytest.mark.parametrize(
    ("version", "in_path", "has_token"),
    [((0, 6), True, False), ((0, 9), False, True), ((1, 0), False, True), (None, True, True)],
)
def test_each_version_gets_the_handle_where_it_looks_for_it(
    version: tuple[int, int] | None, in_path: bool, has_token: bool
) -> None:
    told = start_answer(
        SESSION, "handle", version, chatbot_id="c", chatbot_name="Ann", participant_id=None, seed_task=None
    )
    assert (told["session_id"] == "handle") is in_path
    assert told["session_token"] == ("handle" if has_token else None)
    assert told["session_id"] in {"handle", session_id(SESSION)}


def test_a_sessions_name_is_stable_and_not_upstreams() -> None:
    assert session_id(SESSION) == session_id(SESSION)
    assert SESSION.session_id not in session_id(SESSION)


@pytest.mark.parametrize("code", CODES)
def test_every_problem_of_ours_has_one_of_upstreams_shapes(code: str) -> None:
    refusal = refusal_of(Problem(code, "A sentence."))
    assert 400 <= refusal.status < 600
    known = ({"detail"}, {"error"}, {"error", "code"}, {"message"}, {"detail", "available_in"})
    assert set(refusal.body) in known


def test_who_is_to_wait_is_told_how_long() -> None:
    refusal = refusal_of(Problem("upstream_busy", "Wait.", headers={"Retry-After": "7"}))
    assert refusal.status == 429
    assert refusal.body["available_in"] == 7
    assert refusal.headers["Retry-After"] == "7"


@pytest.mark.parametrize("text", ["yesterday", "2026-11-20T12:00:00 00:00", "9999-12-31T23:59:59-14:00", "\0"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_since(text)
    assert refused.value.refusal.status == 400


def test_moments_before_the_first_are_the_beginning() -> None:
    assert parse_since(None) is parse_since("") is parse_since("0999-01-01T00:00:00Z") is None


@pytest.mark.parametrize(
    "text", ["0", "-1", "501", "zz", "", "1e2", "٣", "1" * 5000, "000000001999", "000000001" + "0" * 5000]
)
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_limit(text)
    assert refused.value.refusal.status == 400


def test_a_limit_is_what_it_says() -> None:
    assert (parse_limit(None), parse_limit("7")) == (PAGE, 7)
