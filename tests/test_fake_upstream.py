"""The fake upstream against the contract, statement by statement. A fake that flatters would make every other test lie."""

import asyncio
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from starlette.testclient import TestClient

from widget_proxy.fake_upstream import DEMO_CHATBOT_ID, DEMO_EMBED_KEY, Channel, FakeUpstreamSettings, create_app
from widget_proxy.fake_upstream.bot import answer
from widget_proxy.fake_upstream.limits import Windows
from widget_proxy.fake_upstream.state import moment

ORIGIN = "https://shop.localhost"
START = {"chatbot_id": DEMO_CHATBOT_ID}
KEY = {"X-Embed-Key": DEMO_EMBED_KEY, "Origin": ORIGIN}


class Fake:
    """The fake in this process, on a clock the test sets."""

    def __init__(self, **options: Any) -> None:
        self.now = 1_800_000_000.0
        channel = Channel(allowed_domains=("shop.localhost", "*.example.com"), **options.pop("channel", {}))
        self.settings = FakeUpstreamSettings(
            channels=[channel], clock=lambda: self.now, sleep=self._sleep, think_seconds=2.0, **options
        )
        self.http = TestClient(create_app(self.settings), raise_server_exceptions=False)

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def start(self, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
        return self.http.post("/api/chat/start/", json=START | body, headers=KEY if headers is None else headers)

    def session(self, **body: Any) -> "Chat":
        return Chat(self, self.start(**body).json())


class Chat:
    """One session of it."""

    def __init__(self, fake: Fake, started: dict[str, Any]) -> None:
        self.fake, self.started = fake, started
        self.id = started["session_id"]
        self.headers = {"X-Session-Token": started["session_token"]} if started["session_token"] else KEY
        self.path = f"/api/chat/{self.id}"

    def send(self, message: Any = "hello", **more: Any) -> httpx2.Response:
        return self.fake.http.post(f"{self.path}/message/", json={"message": message} | more, headers=self.headers)

    def poll(self, task: str) -> httpx2.Response:
        return self.fake.http.get(f"{self.path}/{task}/poll/", headers=self.headers)

    def messages(self, **query: Any) -> httpx2.Response:
        return self.fake.http.get(f"{self.path}/poll/", params=query, headers=self.headers)

    def ask(self, message: str, **more: Any) -> Any:
        """Send, wait, and the task's poll."""
        task = self.send(message, **more).json()["task_id"]
        self.fake.now += 3
        return self.poll(task)


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    with made.http:
        yield made


def test_a_start_answers_session_token_chatbot_and_participant(fake: Fake) -> None:
    response = fake.start(participant_remote_id="v-1")
    assert response.status_code == 201
    assert set(response.json()) == {"session_id", "session_token", "chatbot", "participant"}
    assert response.json()["participant"]["remote_id"] == "v-1"
    assert response.headers["Set-Cookie"].startswith("ocs_language=")
    assert {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} <= {*map(_title, response.headers)}


def _title(name: str) -> str:
    return {"x-ratelimit-limit": "X-RateLimit-Limit", "x-ratelimit-remaining": "X-RateLimit-Remaining"}.get(
        name, "X-RateLimit-Reset" if name == "x-ratelimit-reset" else name
    )


STARTS: list[tuple[dict[str, str], dict[str, Any], int, dict[str, Any] | None]] = [
    (KEY | {"X-Embed-Key": "wrong"}, {}, 401, {"detail": "Invalid widget embed key"}),
    (KEY, {"chatbot_id": str(uuid4())}, 401, {"detail": "Invalid widget embed key"}),
    (KEY, {"chatbot_id": "abc"}, 400, {"detail": "chatbot_id must be a valid UUID"}),
    ({"X-Embed-Key": DEMO_EMBED_KEY}, {}, 403, None),
    (KEY | {"Origin": "https://evil.example"}, {}, 403, None),
    (KEY | {"Origin": "null"}, {}, 403, None),
    (KEY | {"Origin": "https://evil.example", "Referer": ORIGIN}, {}, 403, None),
    ({"X-Embed-Key": DEMO_EMBED_KEY, "Referer": f"{ORIGIN}/page"}, {}, 201, None),
    (KEY | {"Origin": "http://a.example.com:8080"}, {}, 201, None),
    (KEY | {"Authorization": "Bearer x"}, {}, 401, None),
    ({}, {}, 201, None),
    (KEY, {"participant_remote_id": ""}, 400, None),
    (KEY, {"participant_name": "x" * 300}, 500, None),
    (KEY, {"session_data": {"page_context": {}}}, 400, None),
]


@pytest.mark.parametrize(("headers", "body", "status", "answered"), STARTS)
def test_a_start_is_let_in_or_refused(
    fake: Fake, headers: dict[str, str], body: dict[str, Any], status: int, answered: dict[str, Any] | None
) -> None:
    response = fake.start(headers, **body)
    assert response.status_code == status
    if answered is not None:
        assert response.json() == answered


def test_a_start_without_a_key_lands_on_another_channel(fake: Fake) -> None:
    fake.start({})
    assert fake.http.get("/_fake/sessions").json()[0]["channel"] == "Team API"


def test_any_authorization_on_a_key_channel_is_refused_with_a_code(fake: Fake) -> None:
    assert fake.start(KEY | {"Authorization": "Bearer x"}).json()["code"] == "chat_access_denied"


def test_with_a_token_neither_key_nor_origin_is_needed(fake: Fake) -> None:
    chat = fake.session()
    assert chat.send().status_code == 202
    chat.headers |= {"X-Embed-Key": DEMO_EMBED_KEY}
    assert chat.send().status_code == 403, "a key sent along brings the origin check back"


def test_tokens_are_required_checked_and_expire(fake: Fake) -> None:
    chat = fake.session()
    token = chat.headers
    for headers, code in (({}, "session_token_required"), ({"X-Session-Token": "x"}, "session_token_invalid")):
        chat.headers = headers
        assert (chat.send().status_code, chat.send().json()["code"]) == (403, code)
    chat.headers = token
    fake.now += 7 * 86_400 + 1
    assert chat.messages().json()["code"] == "session_expired"


def test_a_channel_without_tokens_wants_key_and_origin_each_time() -> None:
    fake = Fake(channel={"mode": "no_tokens"})
    chat = fake.session()
    assert chat.started["session_token"] is None
    assert chat.send().status_code == 202
    chat.headers = {}
    assert chat.send().status_code == 401


def test_an_oauth_channel_takes_a_bearer_at_the_start() -> None:
    fake = Fake(channel={"mode": "oauth"})
    assert fake.start().status_code == 401
    form = {
        "grant_type": "client_credentials",
        "client_id": "demo-client",
        "client_secret": "demo-client-secret-not-a-secret",
    }
    token = fake.http.post("/o/token/", data=form).json()
    assert set(token) == {"access_token", "expires_in", "token_type", "scope"}
    assert fake.start({"Authorization": f"Bearer {token['access_token']}"}).status_code == 201
    assert fake.http.post("/o/token/", data=form | {"client_secret": "x"}).status_code == 401


def test_a_reply_is_in_the_history_just_before_its_task_completes_and_the_two_are_equal(fake: Fake) -> None:
    chat = fake.session()
    response = chat.send("hello")
    assert (response.status_code, response.json()["status"]) == (202, "processing")
    assert chat.messages().json()["messages"] == [], "202 comes before the visitor's row exists"
    fake.now += 0.1
    assert [row["role"] for row in chat.messages().json()["messages"]] == ["user"]
    fake.now += 1.895
    assert chat.poll(response.json()["task_id"]).json()["status"] == "processing"
    assert [row["role"] for row in chat.messages().json()["messages"]] == ["user", "assistant"]
    fake.now += 0.01
    task = chat.poll(response.json()["task_id"]).json()
    assert task["status"] == "complete"
    assert task["message"] == chat.messages().json()["messages"][1]
    assert "trace_info" in task["message"]["metadata"]


def test_progress_is_stamped_with_the_moment_of_the_poll_and_stored_nowhere(fake: Fake) -> None:
    chat = fake.session()
    task = chat.send().json()["task_id"]
    assert chat.poll(task).json() == {"message": None, "status": "processing"}
    fake.now += 0.6
    first = chat.poll(task).json()["message"]
    fake.now += 0.1
    second = chat.poll(task).json()["message"]
    assert first["content"] == second["content"]
    assert first["created_at"] != second["created_at"]
    fake.now += 5
    assert first["content"] not in [row["content"] for row in chat.messages().json()["messages"]]


def test_an_unknown_task_answers_processing_for_ever(fake: Fake) -> None:
    chat = fake.session()
    fake.now += 10_000
    assert chat.poll(str(uuid4())).json() == {"message": None, "status": "processing"}


def test_a_task_of_another_session_is_a_404_in_json(fake: Fake) -> None:
    one, other = fake.session(), fake.session()
    response = one.poll(other.send().json()["task_id"])
    assert (response.status_code, response.json()) == (404, {"detail": "Not found."})


def test_a_failed_task_leaves_an_error_and_an_apology(fake: Fake) -> None:
    chat = fake.session()
    response = chat.ask("/fail")
    assert response.status_code == 500
    assert set(response.json()) == {"error", "status"}
    assert chat.messages().json()["messages"][-1]["content"].startswith("Sorry")


def test_an_answer_that_is_stored_nowhere_has_another_moment_each_time(fake: Fake) -> None:
    chat = fake.session()
    task = chat.send("/unsaved").json()["task_id"]
    fake.now += 3
    first = chat.poll(task).json()
    fake.now += 1
    second = chat.poll(task).json()
    assert first["status"] == second["status"] == "complete"
    assert first["message"]["created_at"] != second["message"]["created_at"]
    assert [row["role"] for row in chat.messages().json()["messages"]] == ["user"]


def test_since_is_exclusive_and_limit_cuts(fake: Fake) -> None:
    chat = fake.session()
    for number in range(60):
        fake.http.post("/_fake/say", json={"session": chat.id, "text": str(number), "created_at": fake.now + number})
    page = chat.messages().json()
    assert (len(page["messages"]), page["has_more"], page["session_status"]) == (50, True, "active")
    rest = chat.messages(since=page["messages"][-1]["created_at"]).json()
    assert [row["content"] for row in rest["messages"]] == [str(number) for number in range(50, 60)]
    assert not rest["has_more"]
    assert len(chat.messages(limit=3).json()["messages"]) == 3


@pytest.mark.parametrize(
    ("query", "status", "html"),
    [
        ({"limit": "zz"}, 500, True),
        ({"since": "zz"}, 400, False),
        ({"since": "2026-01-01T00:00:00 00:00"}, 400, False),
    ],
)
def test_bad_queries_fail_as_they_do_there(fake: Fake, query: dict[str, str], status: int, html: bool) -> None:
    response = fake.session().messages(**query)
    assert response.status_code == status
    assert ("text/html" in response.headers["Content-Type"]) is html


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/api/chat/ABC/poll/", "/api/chat/3D44AB50-59A0-499D-BCD0-EB3EE8D31BC9/poll/", "/api/chat/start"],
)
def test_an_unknown_path_is_a_page(fake: Fake, path: str) -> None:
    response = fake.http.get(path)
    assert response.status_code == 404
    assert "text/html" in response.headers["Content-Type"]


def test_an_unknown_session_is_a_403(fake: Fake) -> None:
    response = fake.http.get(f"/api/chat/{uuid4()}/poll/")
    assert (response.status_code, response.json()) == (403, {"detail": "Session does not exist"})


MESSAGES: list[tuple[dict[str, Any], int]] = [
    ({"message": ""}, 400),
    ({"message": None}, 400),
    ({"message": 7}, 400),
    ({"message": "x", "context": None}, 400),
    ({"message": "x", "context": []}, 400),
    ({"message": "x", "attachment_ids": [99]}, 400),
    ({"message": "x", "context": {}}, 202),
]


@pytest.mark.parametrize(("body", "status"), MESSAGES)
def test_a_bad_message_is_refused(fake: Fake, body: dict[str, Any], status: int) -> None:
    assert fake.session().send(**body).status_code == status


def test_an_ended_session_refuses_messages_and_answers_polls(fake: Fake) -> None:
    chat = fake.session()
    chat.ask("/end")
    response = chat.send()
    assert (response.status_code, response.json()) == (400, {"error": "Session has ended"})
    assert chat.messages().json()["session_status"] == "ended"


def test_a_channel_switched_off_refuses_the_start_with_its_own_words(fake: Fake) -> None:
    chat = fake.session()
    fake.http.post("/_fake/channel", json={"enabled": False, "text": "On holiday"})
    assert (fake.start().status_code, fake.start().json()) == (403, {"error": "On holiday"})
    assert (chat.send().status_code, chat.send().json()) == (500, {"error": "Unknown error"})


def test_a_message_the_bot_sends_on_its_own_appears(fake: Fake) -> None:
    chat = fake.session()
    chat.ask("/remind 60")
    assert len(chat.messages().json()["messages"]) == 2
    fake.now += 60
    assert len(chat.messages().json()["messages"]) == 3


def test_a_seed_message_is_a_task_of_the_start() -> None:
    fake = Fake(channel={"seed_message": "Welcome"})
    chat = fake.session()
    fake.now += 3
    assert chat.poll(chat.started["seed_message_task_id"]).json()["message"]["content"] == "Welcome"


def test_the_bot_answers_from_the_page(fake: Fake) -> None:
    chat = fake.session(
        page_context={"product_name": "Aurora", "price": "89.00", "currency": "EUR", "in_stock": True}
    )
    assert (
        "**Aurora** costs **€89.00** and is in stock" in chat.ask("What does it cost?").json()["message"]["content"]
    )
    later = chat.ask("price?", context={"product_name": "Birk", "price": "5", "currency": "USD", "in_stock": False})
    assert "**Birk** costs **$5** and is out of stock" in later.json()["message"]["content"]
    assert "Birk" in chat.ask("price?", context={}).json()["message"]["content"], "an empty context keeps the old one"


def test_an_instance_can_drop_the_starts_page_context() -> None:
    fake = Fake(channel={"drops_page_context": True})
    chat = fake.session(page_context={"product_name": "Aurora"})
    assert "Aurora" not in chat.ask("price?").json()["message"]["content"]


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("a.pdf", "application/pdf", 201),
        ("a.exe", "application/x-msdownload", 400),
        ("a.weird", "text/plain", 201),
        ("a.exe", "text/plain", 201),
    ],
)
def test_an_upload_is_checked_by_what_the_client_claims(fake: Fake, name: str, kind: str, status: int) -> None:
    chat = fake.session()
    response = fake.http.post(f"{chat.path}/upload/", files=[("files", (name, b"hi", kind))], headers=chat.headers)
    assert response.status_code == status
    if status == 201:
        (file,) = response.json()["files"]
        assert set(file) == {"id", "name", "size", "content_type"}
        assert chat.send(attachment_ids=[file["id"]]).status_code == 202
        assert fake.http.get(f"/api/files/{file['id']}/content", headers=chat.headers).status_code == 401
        allowed = fake.http.get(f"/api/files/{file['id']}/content", headers={"X-api-key": fake.settings.api_key})
        assert (allowed.status_code, len(allowed.content)) == (200, 2)
    assert fake.http.post(f"{chat.path}/upload/", headers=chat.headers, data={}).json() == {
        "error": "No files provided"
    }


def test_a_file_goes_with_a_message_once_and_only_its_sessions() -> None:
    fake = Fake()
    chat, other = fake.session(), fake.session()
    file = [("files", ("a.txt", b"hi", "text/plain"))]
    (one,) = fake.http.post(f"{chat.path}/upload/", files=file, headers=chat.headers).json()["files"]
    for attachments in ([one["id"], one["id"]], [one["id"], one["id"] + 1]):
        refused = chat.send(attachment_ids=attachments)
        assert (refused.status_code, refused.json()) == (400, {"error": "One or more file IDs are invalid"})
    assert other.send(attachment_ids=[one["id"]]).status_code == 400
    assert chat.send(attachment_ids=[one["id"]]).status_code == 202


def test_an_upload_of_unsaid_length_is_none() -> None:
    fake = Fake()
    chat = fake.session()
    form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhi\r\n--x--\r\n'
    headers = chat.headers | {"Content-Type": "multipart/form-data; boundary=x"}
    unsaid = fake.http.post(f"{chat.path}/upload/", content=iter([form]), headers=headers)
    assert (unsaid.status_code, unsaid.json()) == (400, {"error": "No files provided"})
    behind = fake.http.post(f"{chat.path}/upload/", content=form + b"\r\n" * 9, headers=headers)
    assert behind.status_code == 201, "what is behind a form is nothing"


def test_limits_are_a_sessions_and_a_channels() -> None:
    fake = Fake(enforce_limits=True, session_limit=3, start_limit=2)
    chat = fake.session()
    for _ in range(3):
        assert chat.messages().status_code == 200
    refused = chat.messages()
    assert refused.status_code == 429
    assert refused.json() == {"detail": "Rate limit exceeded.", "available_in": int(refused.headers["Retry-After"])}
    assert fake.session().messages().status_code == 200
    assert fake.start().status_code == 429, "all visitors share the starts"
    fake.now += 300
    assert chat.messages().status_code == 200


def test_windows_are_aligned_to_the_clock() -> None:
    windows = Windows(300)
    standing = windows.count("x", 2, 590.0)
    assert (standing.remaining, standing.reset, standing.exceeded) == (1, 10, False)
    windows.count("x", 2, 599.0)
    assert windows.count("x", 2, 599.9).exceeded
    assert not windows.count("x", 2, 600.0).exceeded


def test_a_deprecated_widget_is_told_so() -> None:
    fake = Fake(deprecated_widget_versions=("0.4.7",))
    headers = fake.start(KEY | {"x-ocs-widget-version": "0.4.7"}).headers
    assert headers["Deprecation"] == "true"
    assert 'rel="successor-version"' in headers["Link"]
    assert "Deprecation" not in fake.start().headers


def test_a_moments_fraction_is_missing_when_it_is_zero() -> None:
    assert moment(1_800_000_000.0) == "2027-01-15T08:00:00Z"
    assert moment(1_800_000_000.5) == "2027-01-15T08:00:00.500000Z"
    assert datetime.fromisoformat(moment(1.000001)).microsecond == 1


def test_every_request_is_counted_by_session_and_kind(fake: Fake) -> None:
    chat = fake.session()
    chat.ask("hello")
    chat.messages()
    counts = fake.http.get("/_fake/counts").json()
    assert counts["kinds"] == {"start": 1, "message": 1, "task_poll": 1, "message_poll": 1}
    assert counts["sessions"] == {chat.id: {"message": 1, "task_poll": 1, "message_poll": 1}}
    requests = fake.http.get("/_fake/requests").json()
    assert requests[1]["body"] == {"message": "hello"}
    assert requests[1]["status"] == 202
    fake.http.post("/_fake/reset")
    assert fake.http.get("/_fake/requests").json() == []


def test_a_fault_strikes_as_often_as_it_was_ordered(fake: Fake) -> None:
    fake.http.post("/_fake/faults", json={"kind": "start", "fault": "status", "status": 503, "times": 2})
    assert [fake.start().status_code for _ in range(3)] == [503, 503, 201]
    fake.http.post("/_fake/faults", json={"kind": "any", "fault": "malformed", "times": None})
    with pytest.raises(ValueError, match="Unterminated"):
        fake.start().json()
    fake.http.delete("/_fake/faults")
    assert fake.start().status_code == 201


def test_a_request_can_be_acted_on_and_never_answered(fake: Fake) -> None:
    chat = fake.session()
    fake.http.post("/_fake/faults", json={"kind": "message", "fault": "close_after_accept"})
    chat.send("did it arrive?")
    fake.now += 5
    assert next(row["content"] for row in chat.messages().json()["messages"]) == "did it arrive?"


@pytest.mark.parametrize(
    "text", ["/fail", "/slow 8", "/remind 5", "/end", "/lost", "/unsaved", "/markdown", "/nonsense", "a /fail"]
)
def test_directives_are_only_at_the_beginning(text: str) -> None:
    plan = answer(text, {}, 1.0)
    ordinary = text in {"/nonsense", "a /fail"}
    assert (re.match("I do not know", plan.text) is not None) is ordinary


TEAM = {"X-api-key": "demo-api-key-not-a-secret"}


def team_call(fake: Fake, method: str, session: str, call: str, body: Any = None, **headers: str) -> httpx2.Response:
    return fake.http.request(method, f"/api/sessions/{session}/{call}/", json=body, headers=headers or TEAM)


TEAM_CALLS: list[tuple[str, str, Any]] = [
    ("POST", "end_experiment_session", None),
    ("POST", "tags", {"tags": ["a"]}),
    ("DELETE", "tags", {"tags": ["a"]}),
    ("PATCH", "update_state", {"state": {"a": 1}}),
]


@pytest.mark.parametrize(("method", "call", "body"), TEAM_CALLS)
def test_the_teams_calls_take_a_key_or_a_bearer_and_nothing_of_a_visitors(
    fake: Fake, method: str, call: str, body: Any
) -> None:
    chat = fake.session()
    for headers in (chat.headers, KEY, {"X-api-key": "wrong"}, {"Authorization": "Bearer wrong"}):
        assert team_call(fake, method, chat.id, call, body, **headers).status_code == 401
    form = {"grant_type": "client_credentials", "client_id": "demo-client"}
    secret = {"client_secret": "demo-client-secret-not-a-secret"}
    bearer = fake.http.post("/o/token/", data=form | secret).json()["access_token"]
    for good in (TEAM, {"Authorization": f"Bearer {bearer}"}):
        assert team_call(fake, method, chat.id, call, body, **good).status_code == 200
    unknown = team_call(fake, method, str(uuid4()), call, body)
    assert unknown.status_code == 404
    assert unknown.json()["error"].startswith("Session not found")


def test_a_session_that_its_team_ended_is_answered_without_a_body_and_goes_on(fake: Fake) -> None:
    chat = fake.session()
    assert team_call(fake, "POST", chat.id, "end_experiment_session").content == b""
    assert chat.messages().json()["session_status"] == "active"
    assert chat.send("still there?").status_code == 202
    (told,) = fake.http.get("/_fake/sessions").json()
    assert told["closed"] is True


def test_tags_are_added_and_removed_once_each(fake: Fake) -> None:
    chat = fake.session()
    steps = [("POST", ["a", "b", "a"], ["a", "b"]), ("POST", ["a"], ["b", "a"]), ("DELETE", ["b", "x"], ["a"])]
    for method, given, left in steps:
        assert team_call(fake, method, chat.id, "tags", {"tags": given}).json() == {"tags": left}
    wrong: list[Any] = [{}, {"tags": []}, {"tags": "a"}, {"tags": ["", "a"]}, {"tags": ["  "]}, {"tags": [1]}]
    for body in wrong:
        refused = team_call(fake, "POST", chat.id, "tags", body)
        assert (refused.status_code, "'tags'" in refused.json()["error"]) == (400, True)


def test_state_is_replaced_and_the_reserved_key_refused(fake: Fake) -> None:
    chat = fake.session(page_context={"a": 1})
    assert team_call(fake, "PATCH", chat.id, "update_state", {"state": {"b": 2}}).json() == {
        "success": True, "state": {"b": 2},
    }  # fmt: skip
    (told,) = fake.http.get("/_fake/sessions").json()
    assert told["state"] == {"b": 2}
    wrong: list[Any] = [{}, {"state": {}}, {"state": [1]}, {"state": {"page_context": {}}}]
    for body in wrong:
        assert team_call(fake, "PATCH", chat.id, "update_state", body).status_code == 400
