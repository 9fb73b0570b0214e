"""The official paths over real sockets: the same asked of the fake upstream and of the proxy, and what differs."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.browser import spellings
from tests.official_client import KNOWS_NONE, OfficialClient, direct, proxied
from tests.official_fuzzing import OfficialFuzzer
from tests.servers import EMBED_KEY, SECRET_KEY, SHOP_ORIGIN, VISITOR_SECRET, FakeUpstream, Proxy, running
from tests.test_downloads import KEYED, attach
from widget_proxy.drop_in import NEW
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID
from widget_proxy.fake_upstream.file_content import content
from widget_proxy.handles import Handles

OTHER_ORIGIN = "http://127.0.0.1:8083"
DROP_IN = {
    "WIDGET_PROXY_SITES__OTHER__ALLOWED_ORIGINS": OTHER_ORIGIN,
    "WIDGET_PROXY_SITES__SHOP__DROP_IN": "true",
    "WIDGET_PROXY_PACING__ANSWER_POLL_DROP_IN": "0.05",
    "WIDGET_PROXY_SITES__SHOP__ATTACHMENTS": "true",
    "WIDGET_PROXY_SITES__SHOP__LIMITS__FILE_BYTES": "300000",
}


@pytest.fixture(scope="module")
def _drop_in(_upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(_upstream_server.url, tmp_path_factory.mktemp("drop-in") / "log", **DROP_IN) as server:
        yield server
        assert "Traceback" not in server.output()


@pytest.fixture
def proxy(_drop_in: Proxy, upstream: FakeUpstream) -> Proxy:
    """A proxy whose shop lets the official widget in."""
    return _drop_in


@pytest.fixture
def widget(proxy: Proxy, upstream: FakeUpstream) -> OfficialClient:
    """A widget that knows session tokens, through the proxy, with a session."""
    client = proxied(proxy, upstream)
    client.start()
    return client


# The same, asked of both


def shape(told: Any) -> Any:
    """The keys of an answer, all the way down."""
    match told:
        case dict():
            # Empty on purpose: what they hold upstream is for its own people.
            emptied = {name: type(told[name]) for name in ("metadata", "tags") if name in told}
            return {name: shape(value) for name, value in sorted(told.items())} | emptied
        case list():
            return [shape(one) for one in told]
        case _:
            return None


def after(order: str, client: OfficialClient) -> OfficialClient:
    """The client, once upstream has ended or expired its session, and the proxy has heard of it."""
    client.start()
    client.upstream.order(order, session=client.upstream_session())
    client.say()
    return client


def message_polled_until(client: OfficialClient, holds: Callable[[httpx2.Response], bool]) -> httpx2.Response:
    """Poll messages, oftener than a widget, until this holds."""
    for _ in range(400):
        if holds(answer := client.poll()):
            return answer
        time.sleep(0.02)
    raise AssertionError(f"it stays {answer.text}")


def of_another(client: OfficialClient) -> httpx2.Response:
    client.start()
    task = client.say().json()["task_id"]
    client.start()
    return client.task(task)


def planned(client: OfficialClient, **plan: Any) -> OfficialClient:
    client.start()
    client.upstream.order("answers", **plan)
    return client


def switched_off(client: OfficialClient) -> httpx2.Response:
    client.upstream.order("channel", enabled=False, text="Closed until Monday.")
    return client.start()


def started(client: OfficialClient) -> OfficialClient:
    client.start()
    return client


def too_often(client: OfficialClient) -> httpx2.Response:
    client.start()
    body = '{"detail": "Rate limit exceeded.", "available_in": 7}'
    headers = {"Retry-After": "7", "X-RateLimit-Limit": "300", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "7"}
    client.upstream.order(
        "faults",
        kind="message",
        fault="status",
        status=429,
        body=body,
        content_type="application/json",
        headers=headers,
    )
    return client.say()


SAME: dict[str, Callable[[OfficialClient], httpx2.Response]] = {
    "start": lambda c: c.start(),
    "start with everything": lambda c: c.start(
        participant_remote_id="ocs:1_abc",
        participant_name="Maya",
        session_data={"source": "widget", "page_url": f"{SHOP_ORIGIN}/lamps?x=1"},
        page_context={"price": 89},
        of_a_later_version=True,
    ),
    "start without a chatbot": lambda c: c.ask("POST", "start/", json={}),
    "start with a chatbot that is no UUID": lambda c: c.start(chatbot_id="shop"),
    "start with a chatbot nobody knows": lambda c: c.start(chatbot_id="00000000-0000-4000-8000-000000000009"),
    "start from a foreign page": lambda c: c.ask(
        "POST", "start/", json={"chatbot_id": DEMO_CHATBOT_ID}, headers={"Origin": "https://evil.example"}
    ),
    "start from a sandbox": lambda c: c.ask(
        "POST", "start/", json={"chatbot_id": DEMO_CHATBOT_ID}, headers={"Origin": "null"}
    ),
    "start from nowhere": lambda c: c.ask(
        "POST", "start/", json={"chatbot_id": DEMO_CHATBOT_ID}, headers={"Origin": None}
    ),
    "start with Referer for Origin": lambda c: c.ask(
        "POST",
        "start/",
        json={"chatbot_id": DEMO_CHATBOT_ID},
        headers={"Origin": None, "Referer": f"{SHOP_ORIGIN}/lamps"},
    ),
    "start with an empty participant": lambda c: c.start(participant_remote_id=""),
    "start with the reserved key": lambda c: c.start(session_data={"page_context": {"price": 1}}),
    "start with what is no JSON": lambda c: c.ask(
        "POST", "start/", content=b"{", headers={"Content-Type": "application/json"}
    ),
    "start with a list": lambda c: c.ask("POST", "start/", json=[]),
    "start with a form": lambda c: c.ask("POST", "start/", data={"chatbot_id": DEMO_CHATBOT_ID}),
    "start while switched off": switched_off,
    "message": lambda c: started(c).say(),
    "message with context": lambda c: started(c).say(context={"price": 89}),
    "message with an empty context": lambda c: started(c).say(context={}),
    "message with no context": lambda c: started(c).say(context=None),
    "message with a list for context": lambda c: started(c).say(context=[]),
    "message that is empty": lambda c: started(c).say("  "),
    "message that is no text": lambda c: started(c).say(["x"]),
    "message that is null": lambda c: started(c).say(None),
    "message that is not there": lambda c: started(c).ask("POST", f"{c.session}/message/", json={}),
    "message with a NUL": lambda c: started(c).say("a\0b"),
    "message with a file nobody knows": lambda c: started(c).say(attachment_ids=[999]),
    "message without a token": lambda c: started(c).say(headers={"X-Session-Token": None}),
    "message with a wrong token": lambda c: started(c).say(headers={"X-Session-Token": "abc"}),
    "message after the end": lambda c: after("end", c).say(),
    "message after the token's time": lambda c: after("expire", c).say(),
    "message too often": too_often,
    "task in the making": lambda c: started(c).task(c.say().json()["task_id"]),
    "task with progress": lambda c: planned(c, text="Yes", delay=8, progress=[[0, "Looking"]]).until(
        c.say().json()["task_id"], status="processing", progress=True
    ),
    "task that is complete": lambda c: started(c).until(c.say().json()["task_id"]),
    "task that was never stored": lambda c: planned(c, text="Yes", outcome="unsaved").until(
        c.say().json()["task_id"]
    ),
    "task that failed": lambda c: planned(c, outcome="fail").until(c.say().json()["task_id"]),
    "task that failed with a reason": lambda c: planned(c, text="No more today.", outcome="refuse").until(
        c.say().json()["task_id"]
    ),
    "task of another session": of_another,
    "task without a token": lambda c: started(c).task(c.say().json()["task_id"], headers={"X-Session-Token": None}),
    "messages of a new session": lambda c: started(c).poll(),
    "messages": lambda c: message_polled_until(
        (started(c), c.answered())[0], lambda answer: len(answer.json()["messages"]) == 2
    ),
    "messages since the future": lambda c: started(c).poll(params={"since": "2999-01-01T00:00:00Z"}),
    "messages since what is no time": lambda c: started(c).poll(params={"since": "yesterday"}),
    "messages without a token": lambda c: started(c).poll(headers={"X-Session-Token": None}),
    "messages after the end": lambda c: message_polled_until(
        after("end", c), lambda answer: answer.json()["session_status"] == "ended"
    ),
    "messages after the token's time": lambda c: message_polled_until(
        after("expire", c), lambda answer: answer.status_code == 403
    ),
    "upload": lambda c: started(c).upload("list.txt"),
    "upload of two": lambda c: started(c).upload("list.txt", "more.pdf"),
    "upload of a type that is not taken": lambda c: started(c).upload("tool.exe"),
    "upload of a type that is not taken, behind one that is": lambda c: started(c).upload("list.txt", "tool.exe"),
    "upload of nothing": lambda c: started(c).upload("list.txt", field="other"),
    "upload without a token": lambda c: started(c).upload("list.txt", headers={"X-Session-Token": None}),
    "upload after the end": lambda c: after("end", c).upload("list.txt"),
}


@pytest.mark.parametrize("name", SAME)
def test_proxy_and_upstream_answer_the_same(proxy: Proxy, upstream: FakeUpstream, name: str) -> None:
    answers = []
    for client in (direct(upstream), proxied(proxy, upstream)):
        upstream.order("reset")
        answers.append(SAME[name](client))
    straight, through = answers
    assert (through.status_code, shape(through.json()), through.json().get("code")) == (
        straight.status_code,
        shape(straight.json()),
        straight.json().get("code"),
    ), f"{straight.text}\n{through.text}"
    received = f"{through.headers} {through.text}".encode()
    for session in upstream.ask("sessions"):
        for secret in (EMBED_KEY, session["id"], session["token"]):
            assert [form for form in spellings(secret) if form in received] == []


def test_what_upstream_keeps_for_its_own_people_is_empty(widget: OfficialClient) -> None:
    told = widget.answered()
    assert (told["metadata"], told["tags"]) == ({}, [])
    chatbot = widget.start().json()["chatbot"]
    assert chatbot == {
        "id": DEMO_CHATBOT_ID,
        "name": "Nordlicht assistant",
        "url": None,
        "version_number": None,
        "versions": [],
    }


# Where the handle is


def test_a_version_without_tokens_has_the_handle_for_an_id_where_it_would_fail_directly(
    proxy: Proxy, upstream: FakeUpstream
) -> None:
    through = proxied(proxy, upstream, version=KNOWS_NONE)
    straight = direct(upstream, version=KNOWS_NONE)
    assert through.start().json()["session_token"] is None
    assert through.answered()["content"]
    bare = {"X-OCS-Widget-Version": None}  # as 0.5 polls and all versions upload
    assert through.poll(headers=bare).status_code == 200
    assert through.upload("list.txt", headers=bare).status_code == 201
    straight.start()
    straight.token = None
    assert straight.say().json()["code"] == "session_token_required"


def test_a_version_with_tokens_has_none_in_its_paths(widget: OfficialClient) -> None:
    assert widget.token is not None
    assert widget.token not in widget.session
    handle, widget.token = widget.token, None
    assert widget.say().json()["code"] == "session_token_required"
    widget.session = handle
    assert widget.say().status_code == 202, "it is the handle all the same"


def test_who_names_no_version_gets_both(proxy: Proxy, upstream: FakeUpstream) -> None:
    client = proxied(proxy, upstream, version=None)
    client.start()
    assert client.session == client.token
    assert client.say().status_code == 202
    client.token = None
    assert client.say().status_code == 202


@pytest.mark.parametrize("claimed", ["", "new", "9", "0.9.1\tx", "0." + "9" * 9, "0.9" + "x" * 60])
def test_a_version_that_is_none_goes_nowhere(proxy: Proxy, upstream: FakeUpstream, claimed: str) -> None:
    client = proxied(proxy, upstream, version=claimed)
    client.start()
    assert client.session == client.token
    assert "x-ocs-widget-version" not in upstream.requests("start")[0]["headers"]


def test_a_forged_handle_is_refused_wherever_it_stands(widget: OfficialClient) -> None:
    assert widget.token is not None
    forged = widget.token[:-2] + ("A" if widget.token[-2] != "A" else "B") + widget.token[-1]
    assert widget.say(headers={"X-Session-Token": forged}).json()["code"] == "session_token_invalid"
    widget.token, widget.session = None, forged
    assert widget.say().json()["code"] == "session_token_invalid"


def test_a_token_opens_its_own_session_only(proxy: Proxy, upstream: FakeUpstream, widget: OfficialClient) -> None:
    other = proxied(proxy, upstream)
    other.start()
    widget.session = other.session
    assert widget.poll().json()["code"] == "session_token_invalid"
    assert widget.upload("a.txt").json()["code"] == "session_token_invalid"


def test_a_handle_of_a_site_that_did_not_turn_it_on_opens_nothing_here(proxy: Proxy, upstream: FakeUpstream) -> None:
    with proxy.client(OTHER_ORIGIN) as client:
        handle = client.post("/v1/sites/other/sessions", json={}).json()["handle"]
    widget = proxied(proxy, upstream)
    widget.session, widget.token = handle, None
    assert widget.poll().json()["code"] == "session_token_invalid"


@pytest.mark.parametrize("path", ["shop/poll/", "1/poll/", "start/poll/", f"{'a' * 2000}/message/"])
def test_what_cannot_be_a_session_is_not_found(widget: OfficialClient, path: str) -> None:
    method = "POST" if path.endswith("message/") else "GET"
    assert widget.ask(method, path, json={"message": "x"} if method == "POST" else None).status_code == 404


def test_another_page_may_not_use_a_session_with_its_token(widget: OfficialClient) -> None:
    for origin in (OTHER_ORIGIN, "https://evil.example", "null"):
        assert widget.poll(headers={"Origin": origin}).status_code == 403


def test_neither_handles_nor_paths_are_logged(proxy: Proxy, upstream: FakeUpstream) -> None:
    widget = proxied(proxy, upstream, version=KNOWS_NONE)
    widget.start()
    task = widget.say().json()["task_id"]
    widget.until(task)
    widget.upload("tool.exe")
    widget.say("")
    logged = proxy.output()
    for secret in (widget.session, task, "/api/chat/", EMBED_KEY, widget.upstream_session()):
        assert secret not in logged


# What it asks upstream


def test_tabs_that_poll_cost_upstream_nothing_more(proxy: Proxy, upstream: FakeUpstream) -> None:
    widget = proxied(proxy, upstream)
    widget.start()
    upstream.order("answers", text="Yes", delay=0.3)
    task = widget.say().json()["task_id"]
    widget.until(task)
    spent = len(upstream.requests("task_poll"))
    began = time.monotonic()
    for _ in range(40):
        assert widget.task(task).json()["status"] == "complete"
        assert widget.poll().status_code == 200
    assert len(upstream.requests("task_poll")) == spent
    # One a second at most, here.
    assert len(upstream.requests("message_poll")) <= time.monotonic() - began + 3


def test_a_proxy_that_was_restarted_goes_on(upstream: FakeUpstream, tmp_path: Path) -> None:
    with Proxy(upstream.url, tmp_path / "log", **DROP_IN) as own:
        widget = proxied(own, upstream)
        widget.start()
        upstream.order("answers", text="Before", delay=0.1)
        assert widget.answered()["content"] == "Before"
        upstream.order("answers", text="Yes, still.", delay=2.0)
        task = widget.say("Are you there?").json()["task_id"]
        own.kill()
        own.start()
        assert widget.until(task).json()["message"]["content"] == "Yes, still."
        told = message_polled_until(widget, lambda answer: len(answer.json()["messages"]) == 4)
        assert [one["role"] for one in told.json()["messages"]] == ["user", "assistant"] * 2


def test_the_first_poll_of_a_session_that_is_not_new_waits_for_its_history(
    proxy: Proxy, upstream: FakeUpstream, tmp_path: Path
) -> None:
    widget = proxied(proxy, upstream)
    widget.start()
    widget.answered()
    assert widget.token is not None
    handles = Handles([SECRET_KEY])
    session = handles.open_session(widget.token)
    widget.token = handles.seal_session(replace(session, started=session.started - 2 * NEW))
    with Proxy(upstream.url, tmp_path / "log", **DROP_IN) as another:
        widget.url = another.url
        upstream.order("faults", kind="message_poll", fault="delay", seconds=0.5, session=widget.upstream_session())
        assert len(widget.poll().json()["messages"]) == 2


def test_the_version_goes_up_and_what_upstream_says_of_it_comes_back(tmp_path: Path) -> None:
    upstream = FakeUpstream(tmp_path / "upstream", "--think", "0.1", "--deprecated-version", "0.9.1")
    proxy = Proxy(upstream.url, tmp_path / "proxy", **DROP_IN)
    with running(upstream, proxy):
        widget = proxied(proxy, upstream)
        for answer in (widget.start(), widget.say(), widget.say("/fail")):
            assert answer.headers["Deprecation"] == "true"
            assert answer.headers["Sunset"] == "Wed, 31 Mar 2027 00:00:00 GMT"
            assert answer.headers["Link"].endswith('rel="successor-version"')
            exposed = answer.headers["Access-Control-Expose-Headers"]
            assert {"Deprecation", "Sunset", "Link"} <= set(exposed.split(", "))
        assert "Deprecation" not in widget.poll().headers
        assert [one["headers"]["x-ocs-widget-version"] for one in upstream.requests("message")] == ["0.9.1"] * 2
        newer = proxied(proxy, upstream, version="0.10.0")
        assert "Deprecation" not in newer.start().headers


# Pages and their context


def test_page_context_and_context_reach_upstream_by_the_sites_rules(widget: OfficialClient) -> None:
    widget.start(page_context={"product": "Aurora"}, session_data={"page_url": f"{SHOP_ORIGIN}/lamps?token=x"})
    start = widget.upstream.requests("start")[-1]
    assert start["body"]["page_context"] == {"product": "Aurora"}
    assert start["body"]["session_data"] == {"page_url": f"{SHOP_ORIGIN}/lamps"}
    assert start["headers"]["referer"] in {SHOP_ORIGIN, f"{SHOP_ORIGIN}/lamps"}
    widget.say(context={"price": 89})
    widget.say(context={})
    assert [one["body"].get("context") for one in widget.upstream.requests("message")] == [{"price": 89}, None]


@pytest.mark.parametrize(
    "context",
    [{"text": "x" * 9000}, {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}, {"__proto__": {"x": 1}}],
    ids=["large", "deep", "reserved"],
)
def test_a_context_against_the_sites_rules_is_a_mistake_in_its_field(
    widget: OfficialClient, context: dict[str, Any]
) -> None:
    said = widget.say(context=context)
    assert said.status_code == 400
    assert set(said.json()) == {"context"}
    started = widget.start(page_context=context)
    assert started.status_code == 400
    assert set(started.json()) == {"page_context"}


@pytest.mark.parametrize("name", ["participant_remote_id", "participant_name"])
def test_upstreams_limits_of_a_participant_are_kept_before_it_crashes(widget: OfficialClient, name: str) -> None:
    for value in ("", "x" * 256, 7):
        refused = widget.start(**{name: value})
        assert (refused.status_code, set(refused.json())) == (400, {name})
    assert widget.start(**{name: "x" * 255}).status_code == 201


@pytest.mark.parametrize("name", ["participant_remote_id", "participant_name"])
@pytest.mark.parametrize("value", ["Marker\nname", "Marker\x00name", "Marker\u202ename"])
def test_a_name_with_a_character_no_name_has_is_refused_and_in_no_log(
    proxy: Proxy, widget: OfficialClient, name: str, value: str
) -> None:
    refused = widget.start(**{name: value})
    assert (refused.status_code, set(refused.json())) == (400, {name})
    assert "Marker" not in proxy.output()


def test_where_a_server_signs_nobody_can_say_by_themselves_what_it_would(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    signing = DROP_IN | {
        "WIDGET_PROXY_SITES__SHOP__VISITOR_SECRET": VISITOR_SECRET,
        "WIDGET_PROXY_SITES__SHOP__SIGNED_ONLY": "price",
    }
    with Proxy(upstream.url, tmp_path / "log", **signing) as own:
        widget = proxied(own, upstream)
        told = {"price": 1, "product": "Aurora"}
        widget.start(participant_remote_id="customer-1", participant_name="Maya", page_context=told)
        widget.say("What does it cost?", context=told)
    (start,), (message,) = upstream.requests("start"), upstream.requests("message")
    assert start["body"]["page_context"] == {"product": "Aurora"}
    assert not {"participant_remote_id", "participant_name"} & set(start["body"])
    assert message["body"]["context"] == {"product": "Aurora"}


# Files


def test_all_files_of_a_form_go_with_the_message_and_are_shown_with_it(
    widget: OfficialClient, upstream: FakeUpstream
) -> None:
    uploaded = widget.upload("a.txt", "b.pdf", "c.png", content=b"0123456789" * 20_000).json()["files"]
    assert [(one["name"], one["size"]) for one in uploaded] == [
        ("a.txt", 200_000),
        ("b.pdf", 200_000),
        ("c.png", 200_000),
    ]
    digests = {file["sha256"] for call in upstream.requests("upload") for file in call["body"]["files"]}
    assert digests == {hashlib.sha256(b"0123456789" * 20_000).hexdigest()}
    widget.say(attachment_ids=[one["id"] for one in uploaded])
    told = message_polled_until(widget, lambda answer: len(answer.json()["messages"]) == 2).json()["messages"][0]
    assert [one["name"] for one in told["attachments"]] == ["a.txt", "b.pdf", "c.png"]
    assert all(one.get("content_url", "").find("upstream.invalid") == -1 for one in told["attachments"])


def test_a_file_of_a_message_is_had_through_the_proxy(upstream: FakeUpstream, tmp_path: Path) -> None:
    with Proxy(upstream.url, tmp_path / "log", **(DROP_IN | KEYED)) as own:
        widget = proxied(own, upstream)
        widget.start()
        attach(upstream)
        told = message_polled_until(widget, lambda answer: bool(answer.json()["messages"]))
        (file,) = told.json()["messages"][-1]["attachments"]
        assert file["content_url"].startswith(f"{own.url}/v1/files/")
        with own.client(None) as client:
            assert client.get(file["content_url"]).content == content(0, 1000)


def test_a_file_of_another_session_cannot_be_attached(proxy: Proxy, upstream: FakeUpstream) -> None:
    one, other = proxied(proxy, upstream), proxied(proxy, upstream)
    one.start()
    other.start()
    (file,) = one.upload("a.txt").json()["files"]
    assert other.say(attachment_ids=[file["id"]]).json() == {
        "error": "An attachment is not one that was uploaded in this conversation."
    }


@pytest.mark.parametrize(
    ("names", "size"),
    [(["a.txt"], 300_001), (["a.txt", "b.txt"], 300_001), ([f"{n}.txt" for n in range(6)], 10), (["a.txt"], 0)],
    ids=["too large", "one of two too large", "too many", "empty"],
)
def test_files_beyond_the_sites_limits_are_refused(widget: OfficialClient, names: list[str], size: int) -> None:
    refused = widget.upload(*names, content=b"x" * size)
    assert refused.status_code == 400
    assert set(refused.json()) == {"error"}


def test_a_form_that_breaks_off_or_never_ends_is_refused(widget: OfficialClient) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhello'
    field = b'\r\n--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (b"", b"--b--", part, part + field, part + field + b"y" * 9000 + b"\r\n--b--", part + field * 40):
        refused = widget.ask("POST", f"{widget.session}/upload/", content=body, headers=headers)
        assert refused.status_code == 400, body[:80]
        assert set(refused.json()) in ({"error"}, {"detail"})


# Who is let in


def test_a_preflight_allows_what_the_official_widget_sends(widget: OfficialClient) -> None:
    asked = "content-type,x-csrftoken,x-embed-key,x-ocs-widget-version,x-session-token"
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked}
    answer = widget.ask("OPTIONS", "start/", headers=headers)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP_ORIGIN
    allowed = {one.strip().lower() for one in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert set(asked.split(",")) <= allowed
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_browsers_credentials_stay_here(widget: OfficialClient) -> None:
    headers = {"X-Embed-Key": "of the visitor", "Authorization": "Bearer x", "Cookie": "a=b", "X-CSRFToken": "c"}
    widget.ask("POST", "start/", json={"chatbot_id": DEMO_CHATBOT_ID}, headers=headers)
    sent = widget.upstream.requests("start")[-1]["headers"]
    assert sent["x-embed-key"] == EMBED_KEY
    assert not {"authorization", "cookie", "x-csrftoken"} & set(sent)


def test_no_page_of_another_site_with_the_same_chatbot_gets_in(widget: OfficialClient) -> None:
    refused = widget.ask("POST", "start/", json={"chatbot_id": DEMO_CHATBOT_ID}, headers={"Origin": OTHER_ORIGIN})
    assert (refused.status_code, refused.json()) == (403, {"detail": "Origin not allowed"})


def test_where_no_site_turned_it_on_there_is_nothing(own_proxy: Proxy, upstream: FakeUpstream) -> None:
    assert proxied(own_proxy, upstream).start().status_code == 404


def test_whatever_is_asked_of_the_official_paths_is_answered(proxy: Proxy, upstream: FakeUpstream) -> None:
    fuzzer = OfficialFuzzer(proxy, upstream)
    fuzzer.run(300, 1)
    statuses = {status for _, status in fuzzer.answered}
    assert statuses >= {200, 201, 202, 400, 404, 405}, "it got past the door"
