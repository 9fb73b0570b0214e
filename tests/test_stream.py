"""Streams over real sockets: replay, cursors, sharing, ends."""

import threading
from pathlib import Path

import pytest

from tests.servers import FakeUpstream, Proxy
from tests.sse import Received, stream
from widget_proxy.broker import Entry
from widget_proxy.messages import (
    Event,
    done_event,
    notice_event,
    progress_event,
    ready_event,
    session_event,
)
from widget_proxy.stream import to_replay


def test_a_message_is_answered_on_the_stream(proxy: Proxy, upstream: FakeUpstream) -> None:
    upstream.order("answers", text="Hello **you**", delay=1.5, progress=[[0.1, "Looking it up"]])
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client, stream(client) as events:
        ready = events.until("ready")
        task = proxy.send(handle, "hello")
        progress = events.until("progress")
        while (reply := events.until("message")).data["role"] == "user":
            pass  # the history may have been read meanwhile
        done = events.until("done")
    assert ready.data["cursor"]
    assert progress.data == {"task": task, "content": "Looking it up"}
    assert reply.id
    assert reply.data["role"] == "assistant"
    assert reply.data["html"] == "<p>Hello <strong>you</strong></p>\n"
    assert reply.data["task"] == task
    assert set(reply.data) == {"key", "role", "content", "html", "created_at", "attachments", "task"}
    assert done.data == {"task": task, "status": "complete"}
    assert [one.id for one in events.seen if one.name != "message"] == [None, None, None]


def test_the_first_thing_on_a_stream_is_how_long_to_wait_before_coming_back(proxy: Proxy) -> None:
    with proxy.client(handle=proxy.start_session()) as client, stream(client) as events:
        events.until("ready")
        assert events.retry is not None
        assert 1000 <= events.retry <= 3000


def test_a_reader_that_comes_back_with_its_cursor_gets_what_it_missed_and_no_more(
    proxy: Proxy, upstream: FakeUpstream
) -> None:
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client:
        with stream(client) as events:
            events.until("ready")
            proxy.send(handle, "one")
            events.until("done")
            cursor = events.cursor
        assert cursor is not None
        missed = proxy.send(handle, "two")
        with stream(client, headers={"Last-Event-ID": cursor}, params={"task": missed}) as events:
            events.until(lambda one: one.name == "done" and one.data["task"] == missed)
    assert [one.data["task"] for one in events.named("message") if "task" in one.data] == [missed]


@pytest.mark.parametrize("cursor", ["0", "abc", "abc-1", "ffffffffffff-99999", "-", "a-b-c", "000000000000-0"])
def test_a_cursor_nobody_gave_brings_the_whole_transcript(proxy: Proxy, cursor: str) -> None:
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client:
        with stream(client) as events:
            events.until("ready")
            proxy.send(handle, "one")
            events.until("done")
        with stream(client, headers={"Last-Event-ID": cursor}) as events:
            events.until("ready")
    assert "assistant" in [one.data["role"] for one in events.named("message")]


def test_ten_readers_cost_upstream_what_one_does(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    upstream.order("answers", text="Here you are", delay=0.5)
    opened = threading.Barrier(11)
    outcomes: list[list[Received]] = []

    def read() -> None:
        with proxy.client(handle=handle) as client, stream(client) as events:
            events.until("ready")
            opened.wait(10)
            events.until("done")
            outcomes.append(events.seen)

    readers = [threading.Thread(target=read) for _ in range(10)]
    for reader in readers:
        reader.start()
    opened.wait(10)
    upstream.clear("requests")
    proxy.send(handle, "hello")
    for reader in readers:
        reader.join(10)
    keys = [[one.data["key"] for one in seen if one.name == "message"] for seen in outcomes]
    assert len(keys) == 10
    assert all(one == keys[0] for one in keys)
    assert len(upstream.requests("message_poll")) <= 1
    alone = 2 * 0.5 / 0.05  # polls are 0.05 s apart in these tests, in the mean
    assert len(upstream.requests("task_poll")) <= alone


def test_nothing_is_polled_for_a_session_nobody_listens_to(own_proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = own_proxy.start_session()
    with own_proxy.client(handle=handle) as client, stream(client) as events:
        events.until("ready")
    with own_proxy.client(handle=own_proxy.start_session()) as client, stream(client) as other:
        other.until("ready")
        quiet = upstream.ask("sessions")[0]["id"]
        upstream.clear("requests")
        # Two message polls of the session that is watched are time enough for one of the other.
        while len(upstream.requests("message_poll")) < 2:
            upstream.order("say", session=upstream.ask("sessions")[1]["id"], text="still here?")
            other.until("message")
    assert [one for one in upstream.requests() if one["session"] == quiet] == []


def test_a_failed_answer_and_its_apology_are_one_outcome(proxy: Proxy, upstream: FakeUpstream) -> None:
    upstream.order("answers", text="x", delay=0.2, outcome="fail")
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client, stream(client) as events:
        events.until("ready")
        task = proxy.send(handle, "hello")
        done = events.until("done")
        while not [one for one in events.named("message") if one.data["role"] == "assistant"]:
            events.until("message")
    assert done.data["status"] == "failed"
    assert done.data["detail"]
    apologies = [one.data for one in events.named("message") if one.data["role"] == "assistant"]
    assert [one["task"] for one in apologies] == [task], "a client can tell that this is the same outcome"


def test_an_answer_that_was_never_stored_is_told_once(proxy: Proxy, upstream: FakeUpstream) -> None:
    upstream.order("answers", text="Only here", delay=0.2, outcome="unsaved")
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client:
        with stream(client) as events:
            events.until("ready")
            proxy.send(handle, "hello")
            events.until("done")
            # The visitor's own row comes with the next look at the history, which has no such answer.
            events.until(lambda one: one.name == "message" and one.data["role"] == "user")
        with stream(client) as again:
            again.until("ready")
    for seen in (events, again):
        assert [one.data["content"] for one in seen.named("message")].count("Only here") == 1


def test_the_bots_own_message_appears_within_the_poll_interval(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client, stream(client) as events:
        events.until("ready")
        upstream.order("say", session=upstream.ask("sessions")[0]["id"], text="Your order has shipped")
        message = events.until("message")
    assert message.data["content"] == "Your order has shipped"
    assert "task" not in message.data


def test_a_session_that_ended_says_so(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client, stream(client) as events:
        events.until("ready")
        upstream.order("end", session=upstream.ask("sessions")[0]["id"])
        assert events.until("session").data == {"status": "ended"}


def test_a_session_that_expired_says_so_and_the_stream_ends(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client, stream(client) as events:
        events.until("ready")
        upstream.order("expire", session=upstream.ask("sessions")[0]["id"])
        assert events.until("session").data == {"status": "expired"}
        assert list(events.events()) in ([], [one for one in events.seen if one.name == "ready"])


def test_upstream_trouble_is_a_notice_and_passes(proxy: Proxy, upstream: FakeUpstream) -> None:
    upstream.order("answers", text="After all", delay=0.1)
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client, stream(client) as events:
        events.until("ready")
        upstream.order(
            "faults", kind="task_poll", fault="status", status=502, body="<h1>Bad Gateway</h1>",
            content_type="text/html", times=2,
        )  # fmt: skip
        proxy.send(handle, "hello")
        notice = events.until("notice")
        events.until("done")
    assert notice.data["code"] == "upstream_unreachable"
    assert "Gateway" not in str(events.seen)
    assert [one.data["code"] for one in events.named("notice")] == ["upstream_unreachable", "restored"]
    assert [one.data["content"] for one in events.named("message") if one.data["role"] == "assistant"] == [
        "After all"
    ]


def test_one_answer_can_be_read_as_a_stream_of_its_own(proxy: Proxy, upstream: FakeUpstream) -> None:
    upstream.order("answers", text="There", delay=0.4, progress=[[0.1, "Thinking"]])
    handle = proxy.start_session()
    task = proxy.send(handle, "hello")
    with proxy.client(handle=handle) as client:
        for _ in range(2):  # while it is made, and afterwards
            with stream(client, f"/v1/session/tasks/{task}/events") as events:
                names = [one.name for one in events.events()]
            assert names[-2:] == ["message", "done"]
    assert upstream.requests("message_poll") == [], "an answer alone needs no look at the history"


def test_head_opens_no_stream(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client:
        assert client.head("/v1/session/events").status_code == 200
    assert upstream.requests("message_poll") == []


def test_a_restart_in_the_middle_of_an_answer_loses_nothing(own_proxy: Proxy, upstream: FakeUpstream) -> None:
    upstream.order("answers", text="Worth the wait", delay=2.5)
    handle = own_proxy.start_session()
    with own_proxy.client(handle=handle) as client:
        with stream(client) as events:
            events.until("ready")
            task = own_proxy.send(handle, "hello")
            own_proxy.kill()
        own_proxy.start()
        with stream(client, params={"task": task}, headers={"Last-Event-ID": events.cursor or ""}) as again:
            done = again.until("done")
    assert done.data == {"task": task, "status": "complete"}
    assert [one.data["content"] for one in again.named("message") if one.data["role"] == "assistant"] == [
        "Worth the wait"
    ]


def test_on_sigterm_every_stream_ends_with_a_last_word_and_the_process_is_gone(
    own_proxy: Proxy, upstream: FakeUpstream
) -> None:
    handle = own_proxy.start_session()
    with own_proxy.client(handle=handle) as client, stream(client) as events:
        events.until("ready")
        first = events.retry
        code = threading.Thread(target=own_proxy.stop)
        code.start()
        assert list(events.events()) == [], "it ends, rather than being cut"
        code.join(12)
        assert not code.is_alive()
    assert events.retry is not None
    assert events.retry != first, "the last word is a new, jittered wait"


def test_a_stream_of_an_older_channel_without_tokens_works(tmp_path: Path) -> None:
    with (
        FakeUpstream(tmp_path / "upstream", "--think", "0.2", "--mode", "no_tokens") as upstream,
        Proxy(upstream.url, tmp_path / "proxy") as proxy,
    ):
        handle = proxy.start_session()
        with proxy.client(handle=handle) as client, stream(client) as events:
            events.until("ready")
            proxy.send(handle, "hello")
            events.until("done")
        polls = upstream.requests("task_poll")
    assert polls
    assert all(one["headers"]["origin"] and one["headers"]["x-embed-key"] for one in polls)


def test_a_seed_message_arrives_by_itself(tmp_path: Path) -> None:
    with (
        FakeUpstream(tmp_path / "upstream", "--think", "0.2", "--seed-message", "Welcome aboard") as upstream,
        Proxy(upstream.url, tmp_path / "proxy") as proxy,
    ):
        with proxy.client() as client:
            answer = client.post("/v1/sites/shop/sessions", json={}).json()
        with (
            proxy.client(handle=answer["handle"]) as client,
            stream(client, params={"task": answer["task"]}) as events,
        ):
            done = events.until("done")
    assert done.data["task"] == answer["task"]
    assert [one.data["content"] for one in events.named("message")] == ["Welcome aboard"]


# Replay, as the pure function it is


def log(*events: Event) -> list[Entry]:
    return [Entry(f"e-{number}", event) for number, event in enumerate(events)]


def message(key: str) -> Event:
    return Event("message", {"key": key}, identity=key)


def replayed(entries: list[Entry], start: int = 0, awaited: tuple[str, ...] = ()) -> list[str]:
    return [entry.cursor for entry in to_replay(entries, start, awaited)]


def test_progress_is_replayed_only_while_it_holds() -> None:
    entries = log(
        progress_event("a", "1"), progress_event("a", "2"), progress_event("b", "1"), done_event("b", "complete")
    )
    assert replayed(entries) == ["e-1", "e-3"]


def test_the_end_of_an_awaited_answer_is_replayed_wherever_the_cursor_is() -> None:
    entries = log(message("m"), done_event("a", "complete"), done_event("b", "complete"), message("n"))
    assert replayed(entries, 3) == ["e-3"]
    assert replayed(entries, 3, ("a",)) == ["e-1", "e-3"]


def test_only_the_last_notice_is_replayed_and_not_when_trouble_has_passed() -> None:
    trouble, restored = notice_event("upstream_unreachable", "x"), notice_event("restored", "y")
    assert replayed(log(trouble, message("m"), trouble)) == ["e-1", "e-2"]
    assert replayed(log(trouble, restored)) == []


def test_the_sessions_status_is_replayed_and_ready_is_not() -> None:
    assert replayed(log(message("m"), ready_event(), session_event("ended")), 3) == ["e-2"]
