"""Ending a conversation and rating what was said in it: by whom, where, and what Open Chat Studio hears of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, expect

from tests.browser import Stage
from tests.servers import FakeUpstream, Proxy, Redis, running
from tests.sse import stream
from tests.website import on_website
from widget_proxy.conversation import TAGS, changes

API_KEY = "demo-api-key-not-a-secret"
SHOP = "WIDGET_PROXY_SITES__SHOP__"
KEYED = {
    f"{SHOP}API_KEY": API_KEY,
    f"{SHOP}STARTS_WITH": "embed_key",
    f"{SHOP}END_BY_VISITORS": "true",
    f"{SHOP}FEEDBACK_AS_TAGS": "true",
    f"{SHOP}PAGE_AS_STATE": "true",
}
END, FEEDBACK = "/v1/session/end", "/v1/session/feedback"


@pytest.fixture(scope="module")
def _keyed_server(_upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    proxy = Proxy(_upstream_server.url, tmp_path_factory.mktemp("conversation") / "keyed", **KEYED)
    with running(proxy):
        yield proxy


@pytest.fixture
def keyed(_keyed_server: Proxy, upstream: FakeUpstream) -> Proxy:
    """A proxy whose shop lets visitors do all of it."""
    return _keyed_server


def post(proxy: Proxy, handle: str, path: str, body: Any = None) -> httpx2.Response:
    with proxy.client(handle=handle) as client:
        return client.post(path) if body is None else client.post(path, json=body)


def rate(proxy: Proxy, handle: str, key: str, value: str | None) -> httpx2.Response:
    return post(proxy, handle, FEEDBACK, {"key": key, "value": value})


def replies(proxy: Proxy, handle: str, *questions: str) -> list[str]:
    """The keys of the answers to these."""
    keys = []
    for question in questions:
        task = proxy.send(handle, question)
        with proxy.client(handle=handle) as client, stream(client, f"/v1/session/tasks/{task}/events") as read:
            keys.append(read.until("message").data["key"])
    return keys


def tags(upstream: FakeUpstream) -> list[str]:
    """Those of the last session, as its team sees them."""
    found: list[str] = upstream.ask("sessions")[-1]["tags"]
    return found


# The end


def test_an_end_is_told_to_every_stream_and_holds(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    with (
        keyed.client(handle=handle) as one,
        keyed.client(handle=handle) as two,
        stream(one) as first,
        stream(two) as second,
    ):
        first.until("ready")
        second.until("ready")
        ended = post(keyed, handle, END)
        assert (ended.status_code, ended.content) == (204, b"")
        assert ended.headers["Access-Control-Allow-Origin"]
        assert first.until("session").data == second.until("session").data == {"status": "ended"}
    refused = post(keyed, handle, "/v1/session/messages", {"message": "One more thing"})
    assert (refused.status_code, refused.json()["code"], refused.json()["fate"]) == (409, "session_ended", "not_sent")
    with keyed.client(handle=handle) as client:
        assert client.get("/v1/session/messages").json()["session"] == {"status": "ended"}
    assert upstream.ask("sessions")[-1]["closed"]
    assert upstream.requests("message") == []


def test_ending_twice_is_asked_once_and_as_the_site(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    assert [post(keyed, handle, END).status_code for _ in range(3)] == [204, 204, 204]
    (asked,) = upstream.requests("end")
    assert asked["headers"]["x-api-key"] == API_KEY
    assert not {"x-session-token", "x-embed-key", "origin", "cookie"} & set(asked["headers"])
    assert asked["body"] is None


def test_one_conversation_ends_and_no_other(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle, other = keyed.start_session(), keyed.start_session()
    post(keyed, handle, END)
    keyed.send(other, "hello")
    assert [one["closed"] for one in upstream.ask("sessions")] == [True, False]


def test_another_process_knows_of_the_end_and_of_the_thumbs(
    redis: Redis, upstream: FakeUpstream, tmp_path: Path
) -> None:
    shared = KEYED | {"WIDGET_PROXY_REDIS__URL": redis.url}
    one, two = (Proxy(upstream.url, tmp_path / name, **shared) for name in ("one", "two"))
    with running(one, two):
        handle = one.start_session()
        first, second = replies(one, handle, "What does it cost?", "Is it in stock?")
        for proxy, key, value in ((one, first, "up"), (two, second, "up"), (two, first, "down"), (one, second, None)):
            assert rate(proxy, handle, key, value).status_code == 204
        assert tags(upstream) == ["feedback:down"]
        assert post(one, handle, END).status_code == post(two, handle, END).status_code == 204
        assert post(two, handle, "/v1/session/messages", {"message": "hello"}).json()["code"] == "session_ended"
        assert len(upstream.requests("end")) == 1


# Thumbs


def test_a_thumb_becomes_a_tag_that_stands_as_long_as_one_of_its_thumbs(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    first, second = replies(keyed, handle, "What does it cost?", "Is it in stock?")
    steps: list[tuple[str, str | None, list[str]]] = [
        (first, "up", ["feedback:up"]),
        (second, "up", ["feedback:up"]),
        (first, "down", ["feedback:up", "feedback:down"]),
        (second, "down", ["feedback:down"]),
        (second, None, ["feedback:down"]),
        (first, None, []),
        (first, None, []),
    ]
    for key, value, expected in steps:
        assert rate(keyed, handle, key, value).status_code == 204
        assert tags(upstream) == expected, (value, expected)
    asked = [(one["method"], one["body"]["tags"]) for one in upstream.requests("tags")]
    assert asked == [
        ("POST", ["feedback:up"]),
        ("POST", ["feedback:down"]),
        ("DELETE", ["feedback:up"]),
        ("DELETE", ["feedback:down"]),
    ], "what changes nothing is not asked"
    assert {one["headers"]["x-api-key"] for one in upstream.requests("tags")} == {API_KEY}


def test_a_key_that_is_of_no_message_here_asks_nothing(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle, other = keyed.start_session(), keyed.start_session()
    (foreign,) = replies(keyed, other, "hello")
    for key in (foreign, "0" * 32, "ready", "session:ended", "", "a" * 5000, f"{foreign} ", foreign.upper(), None, 7):
        refused = post(keyed, handle, FEEDBACK, {"key": key, "value": "up"})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_request"), key
    bodies: list[Any] = [{"key": foreign}, {"key": foreign, "value": "great"}, {"value": "up"}, [], {"value": 1}]
    for body in bodies:
        assert post(keyed, other, FEEDBACK, body).status_code == 400, body
    assert upstream.requests("tags") == []


def test_a_thumb_that_upstream_did_not_take_can_be_pressed_again(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    (key,) = replies(keyed, handle, "hello")
    upstream.order("faults", kind="tags", fault="status", status=500, body="<h1>", content_type="text/html")
    failed = rate(keyed, handle, key, "up")
    assert (failed.status_code, failed.json()["code"]) == (502, "upstream_error")
    assert rate(keyed, handle, key, "up").status_code == 204
    assert tags(upstream) == ["feedback:up"]


THUMB = st.sampled_from([None, *TAGS])


@given(st.lists(st.tuples(st.sampled_from("abc"), THUMB), max_size=20))
def test_tags_are_what_all_thumbs_together_say(pressed: list[tuple[str, str | None]]) -> None:
    standing: dict[str, str] = {}
    tagged: set[str] = set()
    for key, value in pressed:
        add, remove = changes(standing, key, value)
        assert not tagged & set(add)
        assert tagged >= set(remove)
        tagged = (tagged | set(add)) - set(remove)
        standing = {one: thumb for one, thumb in (standing | {key: value or ""}).items() if thumb}
        assert tagged == {TAGS[thumb] for thumb in standing.values()}


# Who may


@pytest.mark.parametrize("path", [END, FEEDBACK])
def test_where_a_site_has_not_turned_it_on_it_is_not_there(path: str, proxy: Proxy, upstream: FakeUpstream) -> None:
    refused = post(proxy, proxy.start_session(), path, {"key": "0" * 32, "value": "up"})
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    with proxy.client() as client:
        assert not {"feedback", "end"} & client.get("/v1/sites/shop").json().keys()
    assert upstream.requests("end") + upstream.requests("tags") == []


def test_a_site_says_what_it_takes(keyed: Proxy) -> None:
    with keyed.client() as client:
        told = client.get("/v1/sites/shop").json()
    assert (told["feedback"], told["end"]) == (True, True)
    assert API_KEY not in str(told)


@pytest.mark.parametrize("path", [END, FEEDBACK])
def test_nobody_else_may(path: str, keyed: Proxy, upstream: FakeUpstream) -> None:
    handle, body = keyed.start_session(), {"key": "0" * 32, "value": "up"}
    with keyed.client("https://elsewhere.example.com", handle) as client:
        assert client.post(path, json=body).json()["code"] == "origin_not_allowed"
    with keyed.client() as client:
        assert client.post(path, json=body).json()["code"] == "handle_missing"
    with keyed.client(handle=handle[:-2] + "AA") as client:
        assert client.post(path, json=body).json()["code"] == "handle_invalid"
    with keyed.client(handle=handle) as client:
        assert client.get(path).status_code == 405
    assert upstream.requests("end") + upstream.requests("tags") == []


def test_they_count_as_messages(upstream: FakeUpstream, tmp_path: Path) -> None:
    with Proxy(upstream.url, tmp_path / "log", **KEYED, WIDGET_PROXY_RATES__MESSAGES_PER_SESSION="4/1h") as proxy:
        handle = proxy.start_session()
        (key,) = replies(proxy, handle, "hello")  # one of the two that go at once
        assert rate(proxy, handle, key, "up").status_code == 204
        assert rate(proxy, handle, key, "up").status_code == 204, "what changes nothing is not counted"
        for refused in (rate(proxy, handle, key, "down"), post(proxy, handle, END)):
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert tags(upstream) == ["feedback:up"]
        assert upstream.requests("end") == []


def test_a_key_that_is_refused_is_the_operators_to_mend(upstream: FakeUpstream, tmp_path: Path) -> None:
    wrong = KEYED | {f"{SHOP}API_KEY": "marker-wrong-key"}
    with Proxy(upstream.url, tmp_path / "log", **wrong) as proxy:
        handle = proxy.start_session()
        (key,) = replies(proxy, handle, "hello")
        for refused in (rate(proxy, handle, key, "up"), post(proxy, handle, END)):
            assert (refused.status_code, refused.json()["code"]) == (503, "misconfigured")
            assert "key" not in refused.json()["detail"]
        assert "Check sites.shop.api_key" in proxy.output()
        assert "marker-wrong-key" not in proxy.output()
        proxy.send(handle, "It goes on.")


# The page


def test_the_page_is_told_as_state_cleaned(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    page = {"page_url": "https://user@shop.example.com/lamp?session=marker#x", "title": "A\u202e lamp"}
    for _ in range(2):
        keyed.send(handle, "hello", page_context=page)
    (told,) = upstream.requests("state")
    assert told["body"] == {
        "state": {"visitor_page": {"page_url": "https://shop.example.com/lamp", "title": "A lamp"}}
    }
    assert (told["method"], told["headers"]["x-api-key"]) == ("PATCH", API_KEY)
    state = upstream.ask("sessions")[-1]["state"]
    assert state["visitor_page"] == state["remote_context"]


# The widget


def test_a_thumb_in_the_widget_is_kept_and_told_to_the_page(browser: Browser, tmp_path: Path) -> None:
    stage = Stage(tmp_path, **KEYED)
    with running(stage.upstream, stage.proxy, stage.shop), stage.workshop, on_website(browser, stage) as website:
        website.enter(feedback="on")
        website.page.evaluate(
            "window.heard = []; addEventListener('ocs:feedback', ({detail}) => heard.push(detail.rating))"
        )
        website.ask()
        for name in ("Helpful", "Not helpful"):
            with website.page.expect_response(lambda response: response.url.endswith(FEEDBACK)) as answered:
                website.button(name).click()
            assert answered.value.status == 204
        expect(website.button("Not helpful")).to_have_attribute("aria-pressed", "true")
        assert website.page.evaluate("heard") == ["helpful", "not_helpful"]
        assert tags(stage.upstream) == ["feedback:down"]


def test_where_thumbs_are_not_taken_the_widget_sends_none(browser: Browser, stage: Stage) -> None:
    with on_website(browser, stage) as website:
        website.enter(feedback="on")
        website.ask()
        website.button("Helpful").click()
        expect(website.button("Helpful")).to_have_attribute("aria-pressed", "true")
        website.ask()
        assert not [one.url for one in website.requests if FEEDBACK in one.url]
