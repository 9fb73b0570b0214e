"""`v1` over a real socket: what it does, and what bad input gets."""

import json
import re
import signal
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.servers import EMBED_KEY, SECRET_KEY, SHOP_ORIGIN, FakeUpstream, Proxy
from widget_proxy.handles import ChatSession, Handles
from widget_proxy.problems import CODES

SESSIONS = "/v1/sites/shop/sessions"
MESSAGES = "/v1/session/messages"
EVENTS = "/v1/session/events"

JSON = {"Content-Type": "application/json"}


def test_a_site_tells_what_the_widget_needs_and_nothing_else(proxy: Proxy) -> None:
    with proxy.client() as client:
        response = client.get("/v1/sites/shop")
        again = client.get("/v1/sites/shop", headers={"If-None-Match": response.headers["ETag"]})
    assert response.status_code == 200
    site = response.json()
    assert set(site) == {"site", "title", "texts", "look", "limits", "languages"}
    assert site["title"] == "Ask the shop"
    assert EMBED_KEY not in response.text
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", response.text) is None, "no chatbot id"
    assert again.status_code == 304
    assert again.content == b""


def test_a_session_starts_with_the_page_and_its_context(proxy: Proxy, upstream: FakeUpstream) -> None:
    context = {"page_url": f"{SHOP_ORIGIN}/lamps/aurora?utm_source=x", "product_name": "Aurora", "price": "89.00"}
    with proxy.client() as client:
        response = client.post(SESSIONS, json={"page_context": context, "participant": {"id": "v-7", "name": "Maya"}})
    assert response.status_code == 201
    answer = response.json()
    assert set(answer) == {"handle", "expires_at", "chatbot", "participant"}
    assert answer["participant"] == {"id": "v-7", "name": "Maya"}
    assert answer["chatbot"]["name"]
    expires = datetime.fromisoformat(answer["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < expires < timedelta(days=7)
    (start,) = upstream.requests("start")
    assert start["body"]["page_context"] == context
    assert start["body"]["participant_remote_id"] == "v-7"
    assert start["headers"]["x-embed-key"] == EMBED_KEY
    assert start["headers"]["origin"] == SHOP_ORIGIN
    assert start["headers"]["referer"] == f"{SHOP_ORIGIN}/lamps/aurora", "the page, without its query"
    assert "authorization" not in start["headers"]
    assert "cookie" not in start["headers"]


def test_after_the_start_neither_key_nor_origin_is_sent(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    proxy.send(handle, "hello", page_context={"page_title": "Home"})
    (message,) = upstream.requests("message")
    assert message["body"] == {"message": "hello", "context": {"page_title": "Home"}}
    assert "cookie" not in message["headers"], "the start set one"
    assert "x-session-token" in message["headers"]
    assert "x-embed-key" not in message["headers"]
    assert "origin" not in message["headers"]


def test_an_explicitly_empty_page_context_replaces_the_last_one(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    proxy.send(handle, "hello", page_context={})
    (message,) = upstream.requests("message")
    assert message["body"]["context"] == {"page_url": SHOP_ORIGIN}, "upstream ignores an empty one and keeps the old"


def test_the_same_idempotency_key_sends_once(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle, key = proxy.start_session(), {"Idempotency-Key": str(uuid4())}
    with proxy.client(handle=handle) as client:
        first = client.post(MESSAGES, json={"message": "hello"}, headers=key)
        second = client.post(MESSAGES, json={"message": "hello"}, headers=key)
        other = client.post(MESSAGES, json={"message": "something else"}, headers=key)
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert other.status_code == 422
    assert other.json()["code"] == "bad_request"
    assert len(upstream.requests("message")) == 1


def test_the_same_message_from_another_page_is_the_same_message(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle, key = proxy.start_session(), {"Idempotency-Key": str(uuid4())}
    bodies = [{"message": "hello", "page_context": {"page_title": title}} for title in ("Lamps", "Chairs")]
    with proxy.client(handle=handle) as client:
        first, second = [client.post(MESSAGES, json=body, headers=key) for body in bodies]
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert len(upstream.requests("message")) == 1


def test_a_send_of_unknown_fate_is_not_repeated_by_its_key(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle, key = proxy.start_session(), {"Idempotency-Key": str(uuid4())}
    upstream.order("faults", kind="message", fault="close_after_accept", times=1)
    with proxy.client(handle=handle) as client:
        first = client.post(MESSAGES, json={"message": "hello"}, headers=key)
        second = client.post(MESSAGES, json={"message": "hello"}, headers=key)
    for response in (first, second):
        assert response.status_code == 504
        assert response.json()["fate"] == "unknown"
        assert response.json()["code"] == "upstream_unreachable"
    assert len(upstream.requests("message")) == 1


def test_a_send_that_certainly_failed_may_be_repeated_with_its_key(own_proxy: Proxy, upstream: FakeUpstream) -> None:
    # A proxy that was told to wait is slow afterwards: none that other tests share.
    handle, key = own_proxy.start_session(), {"Idempotency-Key": str(uuid4())}
    upstream.order("faults", kind="message", fault="status", status=429, times=1, headers={"Retry-After": "1"})
    with own_proxy.client(handle=handle) as client:
        refused = client.post(MESSAGES, json={"message": "hello"}, headers=key)
        assert refused.status_code == 503
        assert refused.json()["code"] == "upstream_busy"
        assert refused.json()["fate"] == "not_sent"
        assert refused.headers["Retry-After"] == "1"
        assert client.post(MESSAGES, json={"message": "hello"}, headers=key).status_code == 202


def test_the_transcript_can_be_read_without_a_stream(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    task = proxy.send(handle, "/markdown")
    with proxy.client(handle=handle) as client:
        with client.stream("GET", f"/v1/session/tasks/{task}/events") as answer:
            answer.read()
        transcript = client.get(MESSAGES).json()
        behind = client.get(MESSAGES, params={"after": transcript["cursor"]}).json()
        first = client.get(MESSAGES, params={"limit": 1}).json()
    assert transcript["session"] == {"status": "active"}
    assert not transcript["has_more"]
    message = transcript["messages"][-1]
    assert message["role"] == "assistant"
    assert "<table>" in message["html"]
    assert "<script" not in message["html"]
    assert "trace" not in json.dumps(transcript), "metadata and tags are upstream's own"
    assert behind["messages"] == []
    assert len(first["messages"]) == 1


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/sites/shop", "POST"),
        (SESSIONS, "GET"),
        (SESSIONS, "DELETE"),
        (MESSAGES, "PUT"),
        (EVENTS, "POST"),
        ("/v1/session/tasks/x/events", "POST"),
        ("/healthz", "POST"),
        ("/widget.js", "POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(proxy: Proxy, path: str, method: str) -> None:
    with proxy.client() as client:
        response = client.request(method, path)
    assert response.status_code == 405
    assert response.headers["Allow"]
    assert_problem(response, "method_not_allowed")


def test_an_unknown_address_is_a_problem_too(proxy: Proxy) -> None:
    with proxy.client() as client:
        for path in ("/v1/nothing", "/v1/sites/shop/nothing", "/nothing.js", "/widget/../pyproject.toml"):
            response = client.get(path)
            assert response.status_code == 404
            assert_problem(response, "not_found")


BODIES: list[tuple[str, bytes, dict[str, str], int, str]] = [
    ("no type", b"{}", {}, 415, "bad_request"),
    ("a form", b"message=hi", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "bad_request"),
    ("plain text", b"{}", {"Content-Type": "text/plain"}, 415, "bad_request"),
    ("nothing", b"", JSON, 400, "bad_request"),
    ("half an object", b'{"message": ', JSON, 400, "bad_request"),
    ("not UTF-8", b'{"message": "\xff"}', JSON, 400, "bad_request"),
    ("half a surrogate", b'{"message": "\\ud800"}', JSON, 400, "bad_request"),
    ("a list", b"[]", JSON, 400, "bad_request"),
    ("null", b"null", JSON, 400, "bad_request"),
    ("a number", b"7", JSON, 400, "bad_request"),
    ("an unknown field", b'{"message": "hi", "session_token": "x"}', JSON, 400, "bad_request"),
    ("a megabyte", b'{"message": "' + b"a" * 1_000_000 + b'"}', JSON, 413, "bad_request"),
    ("nested deep", b'{"page_context": ' + b"[" * 5000 + b"]" * 5000 + b"}", JSON, 400, "bad_request"),
]


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"), [b[1:] for b in BODIES], ids=[b[0] for b in BODIES]
)
@pytest.mark.parametrize("path", [SESSIONS, MESSAGES])
def test_a_bad_body_is_refused_and_nothing_is_sent(
    proxy: Proxy, upstream: FakeUpstream, path: str, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    handle = proxy.start_session()
    upstream.clear("requests")
    with proxy.client(handle=handle) as client:
        response = client.post(path, content=content, headers=headers)
    assert response.status_code == status
    assert_problem(response, code)
    assert upstream.requests("start") == upstream.requests("message") == []


MESSAGE_MISTAKES: list[tuple[str, dict[str, Any], int, str]] = [
    ("no message", {}, 400, "bad_request"),
    ("a number", {"message": 7}, 400, "bad_request"),
    ("null", {"message": None}, 400, "bad_request"),
    ("empty", {"message": ""}, 400, "message_empty"),
    ("white space", {"message": " \n\t\u00a0 "}, 400, "message_empty"),
    ("too long", {"message": "ä" * 4001}, 400, "message_too_long"),
    ("a NUL", {"message": "a\0b"}, 400, "bad_request"),
    ("attachments of another type", {"message": "hi", "attachments": "x"}, 400, "bad_request"),
    ("an attachment never uploaded", {"message": "hi", "attachments": ["made-up"]}, 400, "attachment_invalid"),
    ("an upstream id for an attachment", {"message": "hi", "attachments": [1]}, 400, "bad_request"),
    ("a context that is a list", {"message": "hi", "page_context": [1]}, 400, "page_context_invalid"),
    ("a context that is text", {"message": "hi", "page_context": "x"}, 400, "page_context_invalid"),
    ("a context over 8 kB", {"message": "hi", "page_context": {"a": "x" * 8200}}, 413, "page_context_too_large"),
    ("a context too deep", {"message": "hi", "page_context": {"a": [[[[[1]]]]]}}, 400, "page_context_invalid"),
    ("a prototype", {"message": "hi", "page_context": {"__proto__": {}}}, 400, "reserved_key"),
]


@pytest.mark.parametrize(
    ("body", "status", "code"), [m[1:] for m in MESSAGE_MISTAKES], ids=[m[0] for m in MESSAGE_MISTAKES]
)
def test_a_bad_message_is_refused_and_nothing_is_sent(
    proxy: Proxy, upstream: FakeUpstream, body: dict[str, Any], status: int, code: str
) -> None:
    with proxy.client(handle=proxy.start_session()) as client:
        response = client.post(MESSAGES, json=body)
    assert response.status_code == status
    assert_problem(response, code)
    assert upstream.requests("message") == []


START_MISTAKES: list[tuple[str, dict[str, Any], int, str]] = [
    ("a context that is text", {"page_context": "x"}, 400, "page_context_invalid"),
    ("a context that is false", {"page_context": False}, 400, "page_context_invalid"),
    ("a context over 8 kB", {"page_context": {"a": "x" * 8200}}, 413, "page_context_too_large"),
    ("a context too deep", {"page_context": {"a": {"b": {"c": {"d": {"e": {}}}}}}}, 400, "page_context_invalid"),
    ("a context within session data", {"session_data": {"page_context": {}}}, 400, "reserved_key"),
    ("session data that is a list", {"session_data": []}, 400, "page_context_invalid"),
    ("a participant that is text", {"participant": "Maya"}, 400, "bad_request"),
    ("an empty participant id", {"participant": {"id": ""}}, 400, "bad_request"),
    ("a participant's name too long", {"participant": {"name": "x" * 256}}, 400, "bad_request"),
    ("an unknown field of the participant", {"participant": {"email": "x"}}, 400, "bad_request"),
    ("a visitor token", {"visitor_token": "x"}, 400, "visitor_token_invalid"),
    ("a chatbot of one's own", {"chatbot_id": "x"}, 400, "bad_request"),
]


@pytest.mark.parametrize(
    ("body", "status", "code"), [m[1:] for m in START_MISTAKES], ids=[m[0] for m in START_MISTAKES]
)
def test_a_bad_start_is_refused_and_nothing_is_sent(
    proxy: Proxy, upstream: FakeUpstream, body: dict[str, Any], status: int, code: str
) -> None:
    with proxy.client() as client:
        response = client.post(SESSIONS, json=body)
    assert response.status_code == status
    assert_problem(response, code)
    assert upstream.requests() == []


def test_an_unknown_site_is_a_problem(proxy: Proxy, upstream: FakeUpstream) -> None:
    with proxy.client() as client:
        for response in (client.get("/v1/sites/nowhere"), client.post("/v1/sites/nowhere/sessions", json={})):
            assert response.status_code == 404
            assert_problem(response, "unknown_site")
    assert upstream.requests() == []


@pytest.mark.parametrize(
    "origin",
    [None, "null", "https://evil.example", f"{SHOP_ORIGIN}.evil.example", SHOP_ORIGIN.upper(), f"{SHOP_ORIGIN}/"],
)
def test_a_foreign_origin_gets_nothing(proxy: Proxy, upstream: FakeUpstream, origin: str | None) -> None:
    handle = proxy.start_session()
    upstream.clear("requests")
    with proxy.client(origin, handle) as client:
        answers = [
            client.get("/v1/sites/shop"),
            client.post(SESSIONS, json={}),
            client.post(MESSAGES, json={"message": "hi"}),
            client.get(MESSAGES),
            client.get(EVENTS),
            client.get("/v1/session/tasks/x/events"),
            client.options(MESSAGES, headers={"Access-Control-Request-Method": "POST"}),
        ]
    for response in answers:
        assert response.status_code == 403
        assert_problem(response, "origin_not_allowed")
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.headers["Vary"] == "Origin"
    assert upstream.requests() == []


def test_an_origin_of_another_site_gets_nothing_of_this_one(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    upstream.clear("requests")
    with proxy.client("http://other.localhost:8083", handle) as client:
        for response in (
            client.get("/v1/sites/shop"),
            client.post(SESSIONS, json={}),
            client.post(MESSAGES, json={"message": "hi"}),
            client.get(EVENTS),
        ):
            assert response.status_code == 403
            assert_problem(response, "origin_not_allowed")
    assert upstream.requests() == []


def test_a_preflight_is_answered_for_two_hours(proxy: Proxy) -> None:
    with proxy.client() as client:
        response = client.options(
            MESSAGES,
            headers={
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
            },
        )
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == SHOP_ORIGIN
    assert response.headers["Access-Control-Max-Age"] == "7200"
    assert "Idempotency-Key" in response.headers["Access-Control-Allow-Headers"]
    assert "Last-Event-ID" in response.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in response.headers


def _session(**changes: Any) -> ChatSession:
    known: dict[str, Any] = {
        "site": "shop",
        "session_id": str(uuid4()),
        "token": "token",
        "origin": SHOP_ORIGIN,
        "started": datetime.now(UTC),
    }
    return ChatSession(**(known | changes))


def _handles() -> dict[str, tuple[str, int, str]]:
    ours = Handles([SECRET_KEY])
    good = ours.seal_session(_session())
    middle = len(good) // 2
    return {
        "none": ("", 401, "handle_missing"),
        "another scheme": ("Basic eDp5", 401, "handle_missing"),
        "nothing but the scheme": ("Bearer", 401, "handle_missing"),
        "made up": ("Bearer abc", 401, "handle_invalid"),
        "very long": ("Bearer " + "a" * 5000, 401, "handle_invalid"),
        "edited": (
            f"Bearer {good[:middle]}{'A' if good[middle] != 'A' else 'B'}{good[middle + 1 :]}",
            401,
            "handle_invalid",
        ),
        "cut": (f"Bearer {good[:-1]}", 401, "handle_invalid"),
        "of another key": ("Bearer " + Handles(["x" * 32]).seal_session(_session()), 401, "handle_invalid"),
        "of a site that is gone": ("Bearer " + ours.seal_session(_session(site="gone")), 401, "handle_invalid"),
        "a task in its place": (
            "Bearer " + ours.seal_task(_session(), "task", datetime.now(UTC)).ref,
            401,
            "handle_invalid",
        ),
        "eight days old": (
            "Bearer " + ours.seal_session(_session(started=datetime.now(UTC) - timedelta(days=8))),
            410,
            "session_expired",
        ),
        "of tomorrow": (
            "Bearer " + ours.seal_session(_session(started=datetime.now(UTC) + timedelta(days=1))),
            401,
            "handle_invalid",
        ),
        "of another site": ("Bearer " + ours.seal_session(_session(site="other")), 403, "origin_not_allowed"),
    }


HANDLES = _handles()


@pytest.mark.parametrize(("authorization", "status", "code"), HANDLES.values(), ids=HANDLES)
def test_a_bad_handle_opens_nothing(
    proxy: Proxy, upstream: FakeUpstream, authorization: str, status: int, code: str
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    with proxy.client() as client:
        for response in (
            client.post(MESSAGES, json={"message": "hi"}, headers=headers),
            client.get(MESSAGES, headers=headers),
            client.get(EVENTS, headers=headers),
            client.get("/v1/session/tasks/x/events", headers=headers),
        ):
            assert response.status_code == status
            assert_problem(response, code)
    assert upstream.requests() == []


def test_a_task_of_another_session_opens_nothing(proxy: Proxy, upstream: FakeUpstream) -> None:
    mine, theirs = proxy.start_session(), proxy.start_session()
    task = proxy.send(theirs, "hello")
    with proxy.client(handle=mine) as client:
        for response in (
            client.get(f"/v1/session/tasks/{task}/events"),
            client.get(EVENTS, params={"task": task}),
            client.get(EVENTS, params={"task": "made-up"}),
            client.get(EVENTS, params={"task": ["x"] * 21}),
            client.get(EVENTS, headers={"Last-Event-ID": "a b"}),
            client.get(EVENTS, headers={"Last-Event-ID": "x" * 65}),
            client.get(MESSAGES, params={"limit": "zz"}),
            client.get(MESSAGES, params={"limit": "0"}),
            client.get(MESSAGES, params={"limit": "-1"}),
            client.get(MESSAGES, params={"limit": "000000001999"}),
            # More digits than Python makes a number of.
            client.get(MESSAGES, params={"limit": "000000001" + "0" * 5000}),
            client.get(MESSAGES, params={"after": "../x"}),
            client.get(MESSAGES, params={"after": ["a", "b"]}),
        ):
            assert response.status_code == 400
            assert_problem(response, "bad_request")


@pytest.mark.parametrize("key", [b"", b"a b", b"x" * 201, "schlüssel".encode()])
def test_an_idempotency_key_is_short_and_printable(proxy: Proxy, upstream: FakeUpstream, key: bytes) -> None:
    with proxy.client(handle=proxy.start_session()) as client:
        response = client.post(
            MESSAGES,
            content=b'{"message": "hi"}',
            headers=[(b"Content-Type", b"application/json"), (b"Idempotency-Key", key)],
        )
    assert response.status_code == 400
    assert_problem(response, "bad_request")
    assert upstream.requests("message") == []


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"status": 500, "body": "<h1>Server Error</h1>", "content_type": "text/html"}, 502, "upstream_error"),
        ({"status": 502, "body": "<h1>Bad Gateway</h1>", "content_type": "text/html"}, 502, "upstream_error"),
        ({"status": 401, "body": '{"detail": "Invalid widget embed key"}'}, 503, "misconfigured"),
        ({"status": 403, "body": '{"detail": "Origin not allowed"}'}, 503, "misconfigured"),
        ({"status": 201, "body": '{"session_id": 7}'}, 502, "upstream_error"),
        ({"status": 302, "body": "", "headers": {"Location": "https://evil.example/"}}, 502, "upstream_error"),
    ],
)
def test_what_is_wrong_upstream_reaches_no_visitor_raw(
    proxy: Proxy, upstream: FakeUpstream, fault: dict[str, Any], status: int, code: str
) -> None:
    upstream.order("faults", kind="start", fault="status", times=1, **{"content_type": "application/json"} | fault)
    with proxy.client() as client:
        response = client.post(SESSIONS, json={})
    assert response.status_code == status
    assert_problem(response, code)
    for leaked in ("Server Error", "Gateway", "embed key", "evil"):
        assert leaked not in response.text


def test_upstream_s_limit_on_starts_is_told_in_our_words(own_proxy: Proxy, upstream: FakeUpstream) -> None:
    headers = {"Retry-After": "7", "X-RateLimit-Remaining": "0"}
    fault = {"status": 429, "body": '{"detail": "Rate limit exceeded."}', "headers": headers}
    upstream.order("faults", kind="start", fault="status", times=1, content_type="application/json", **fault)
    with own_proxy.client() as client:
        response = client.post(SESSIONS, json={})
        again = client.post(SESSIONS, json={})
    for answer in (response, again):
        assert answer.status_code == 503
        assert_problem(answer, "upstream_busy")
        assert 0 < int(answer.headers["Retry-After"]) <= 8
        assert "Rate limit" not in answer.text
    assert len(upstream.requests("start")) == 1, "whoever comes meanwhile is told without asking"


def test_a_chatbot_that_is_switched_off_says_so_in_its_admins_words(proxy: Proxy, upstream: FakeUpstream) -> None:
    upstream.order("channel", enabled=False, text="We are on holiday until Monday.")
    with proxy.client() as client:
        response = client.post(SESSIONS, json={})
    assert response.status_code == 403
    assert_problem(response, "chatbot_unavailable")
    assert response.json()["detail"] == "We are on holiday until Monday."


def test_an_ended_session_takes_no_messages(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    upstream.order("end", session=upstream.ask("sessions")[0]["id"])
    with proxy.client(handle=handle) as client:
        response = client.post(MESSAGES, json={"message": "hi"})
    assert response.status_code == 409
    assert_problem(response, "session_ended")


def test_an_expired_session_takes_no_messages(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    upstream.order("expire", session=upstream.ask("sessions")[0]["id"])
    with proxy.client(handle=handle) as client:
        response = client.post(MESSAGES, json={"message": "hi"})
    assert response.status_code == 410
    assert_problem(response, "session_expired")


def test_health_needs_no_origin(proxy: Proxy) -> None:
    with proxy.client(None) as client:
        assert client.get("/healthz").json()["status"] == "ok"


def test_the_front_page_has_the_tag_of_each_site(proxy: Proxy) -> None:
    with proxy.client(None) as client:
        page = client.get("/?site=shop")
    assert page.status_code == 200
    assert f"&lt;script src=&#34;{proxy.url}/widget.js&#34; data-site=&#34;shop&#34; async&gt;" in page.text or (
        f'&lt;script src="{proxy.url}/widget.js" data-site="shop" async&gt;' in page.text
    )
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert EMBED_KEY not in page.text


def assert_problem(response: Any, code: str) -> None:
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == code
    assert problem["title"] == CODES[code][1]
    assert problem["status"] == response.status_code
    assert problem["detail"].endswith((".", "…", "!"))
    for secret in (EMBED_KEY, SECRET_KEY, "Traceback", "widget_proxy/"):
        assert secret not in response.text


# The server is to exit


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "k"}])
def test_a_send_that_upstream_is_slow_to_answer_ends_before_the_exit_with_its_fate_unknown(
    own_proxy: Proxy, upstream: FakeUpstream, key: dict[str, str]
) -> None:
    handle = own_proxy.start_session()
    upstream.order("faults", kind="message", fault="hang", seconds=20)
    with own_proxy.client(handle=handle) as client:
        threading.Timer(0.5, own_proxy.signal, [signal.SIGTERM]).start()
        response = client.post(MESSAGES, json={"message": "hello"}, headers=key)
    assert response.status_code == 504
    assert_problem(response, "upstream_unreachable")
    assert response.json()["fate"] == "unknown"
    assert own_proxy.stop() in {0, 143, -signal.SIGTERM}
    assert "Traceback" not in own_proxy.output()


def test_a_start_that_upstream_is_slow_to_answer_ends_before_the_exit(
    own_proxy: Proxy, upstream: FakeUpstream
) -> None:
    upstream.order("faults", kind="start", fault="hang", seconds=20)
    with own_proxy.client() as client:
        threading.Timer(0.5, own_proxy.signal, [signal.SIGTERM]).start()
        response = client.post(SESSIONS, json={})
    assert response.status_code == 503
    assert_problem(response, "unavailable")
    assert own_proxy.stop() in {0, 143, -signal.SIGTERM}
    assert "Traceback" not in own_proxy.output()
