"""The calls of the Open Chat Studio client: what each sends, and what it makes of the answer."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.fault_server import FaultServer
from tests.upstream_calls import CREDENTIALS, MESSAGE, PATIENT, SID, STARTED, TOKENLESS, Upstream, start, whole
from widget_proxy.messages import Attachment
from widget_proxy.upstream import (
    Complete,
    Failed,
    Processing,
    UpstreamClient,
)

pytestmark = pytest.mark.anyio


async def test_the_start_carries_key_origin_page_and_context() -> None:
    upstream = Upstream(201, STARTED | {"seed_message_task_id": "seed-1", "unknown": 1})
    started = await start(
        upstream.client,
        page_context={"price": 1},
        participant_id="p",
        participant_name="P",
        session_data={"a": 1},
    )
    (request,) = upstream.requests
    assert request.headers["X-Embed-Key"] == "marker-key"
    assert request.headers["Origin"] == "https://shop.example.com"
    assert request.headers["Referer"] == "https://shop.example.com/p"
    assert request.headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in request.headers
    assert json.loads(request.content) == {
        "chatbot_id": "c",
        "page_context": {"price": 1},
        "participant_remote_id": "p",
        "participant_name": "P",
        "session_data": {"a": 1},
    }
    assert (started.session_id, started.token, started.chatbot_name, started.seed_task_id) == (
        SID,
        "t",
        "Bot",
        "seed-1",
    )


async def test_a_plain_start_sends_no_empty_fields() -> None:
    upstream = Upstream(201, STARTED | {"session_token": None})
    assert (await start(upstream.client, page_context={}, participant_id="")).token is None
    assert json.loads(upstream.requests[0].content) == {"chatbot_id": "c"}


async def test_with_a_token_neither_key_nor_origin_is_sent_and_no_cookie_is_kept() -> None:
    upstream = Upstream(202, {"task_id": "t-1", "status": "processing"})
    for _ in range(2):
        assert await upstream.client.send(CREDENTIALS, "hi", context={"a": 1}, attachment_ids=[4]) == "t-1"
    for request in upstream.requests:
        assert request.headers["X-Session-Token"] == "marker-token"
        assert not {"x-embed-key", "origin", "referer"} & set(request.headers)
        assert json.loads(request.content) == {"message": "hi", "context": {"a": 1}, "attachment_ids": [4]}


async def test_without_a_token_key_and_origin_go_along() -> None:
    upstream = Upstream(200, {"message": None, "status": "processing"})
    await upstream.client.poll_task(TOKENLESS, "t-1")
    assert upstream.requests[0].headers["X-Embed-Key"] == "marker-key"
    assert upstream.requests[0].headers["Origin"] == "https://shop.example.com"
    assert "marker" not in repr(TOKENLESS)


TASKS: list[tuple[int, Any, type, str | None]] = [
    (200, {"message": None, "status": "processing"}, Processing, None),
    (200, {"message": MESSAGE, "status": "processing"}, Processing, "Hi"),
    (200, {"message": MESSAGE, "status": "complete"}, Complete, "Hi"),
    (200, {"message": None, "status": "complete"}, Complete, None),
    (500, {"error": "boom", "status": "error"}, Failed, None),
    (400, {"error": "No such file", "status": "error"}, Failed, "No such file"),
    (200, {"error": "odd", "status": "error"}, Failed, None),
]


@pytest.mark.parametrize(("status", "body", "kind", "text"), TASKS)
async def test_a_task_poll_is_read(status: int, body: Any, kind: type, text: str | None) -> None:
    state = await Upstream(status, body).client.poll_task(CREDENTIALS, "t-1")
    assert isinstance(state, kind)
    match state:
        case Processing(progress=found) | Failed(for_visitor=found):
            assert found == text
        case Complete(message=message):
            assert (message.content if message else None) == text


async def test_a_page_of_messages_is_read() -> None:
    attachment = {
        "name": "a.pdf",
        "content_type": "application/pdf",
        "size": 7,
        "content_url": "http://evil.example/api/files/12/content",
    }
    rows = [MESSAGE | {"attachments": [attachment]}, {"role": "user", "content": None, "created_at": "nonsense"}]
    upstream = Upstream(200, {"messages": rows, "has_more": True, "session_status": "ended"})
    page = await upstream.client.poll_messages(CREDENTIALS, datetime(2026, 1, 2, 3, 4, 5, 6, UTC), 50)
    assert (page.has_more, page.ended) == (True, True)
    assert page.messages[0].created_at == datetime(2026, 11, 20, 23, 28, 16, tzinfo=UTC)
    assert page.messages[0].attachments == (Attachment("a.pdf", "application/pdf", 7, "12"),), "only the id is taken"
    assert (page.messages[1].created_at, page.messages[1].content) == (None, "")
    assert upstream.requests[0].url.params["since"] == "2026-01-02T03:04:05.000006Z"
    assert upstream.requests[0].url.params["limit"] == "50"


async def test_the_key_is_on_the_wire_at_the_start_and_the_token_after_it() -> None:
    started = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    body = json.dumps(STARTED | {"session_token": "marker-token"}).encode()
    polled = whole(b'{"status": "processing"}')
    with FaultServer(started % (len(body), body), FaultServer.NEXT, polled, FaultServer.NEXT, polled) as server:
        async with UpstreamClient(server.url, PATIENT) as client:
            assert (await start(client)).token == "marker-token"
            await client.poll_task(CREDENTIALS, "t-1")
            await client.poll_task(TOKENLESS, "t-1")
    first, second, third = server.received
    assert (b"marker-key" in first, b"marker-token" in first) == (True, False)
    assert (b"marker-key" in second, b"marker-token" in second) == (False, True)
    assert (b"marker-key" in third, b"marker-token" in third) == (True, False)
    for request in server.received:
        names = {line.split(b":")[0].lower() for line in request.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]}
        assert not names & {b"cookie", b"authorization", b"x-forwarded-for", b"forwarded"}


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "", "yesterday", None])
async def test_a_moment_that_cannot_be_read_costs_no_message(moment: str | None) -> None:
    upstream = Upstream(200, {"status": "complete", "message": MESSAGE | {"created_at": moment}})
    state = await upstream.client.poll_task(CREDENTIALS, "t-1")
    assert isinstance(state, Complete)
    assert state.message is not None
    assert (state.message.created_at, state.message.content) == (None, "Hi")


@pytest.mark.parametrize(
    ("url", "file_id"),
    [
        ("https://ocs.example.com/api/files/12/content", "12"),
        ("/api/files/12/content/", "12"),
        ("https://evil.example/api/files/../../x/content", None),
        ("https://ocs.example.com/api/files/12/content/more", None),
        ("https://ocs.example.com/api/files/1%2f2/content", None),
        ("http://[", None),
        ("", None),
    ],
)
async def test_of_an_attachments_address_only_the_id_is_taken(url: str, file_id: str | None) -> None:
    message = MESSAGE | {"attachments": [{"name": "n" * 999, "content_url": url}]}
    state = await Upstream(200, {"status": "complete", "message": message}).client.poll_task(CREDENTIALS, "t-1")
    assert isinstance(state, Complete)
    assert state.message is not None
    (attachment,) = state.message.attachments
    assert (attachment.file_id, len(attachment.name)) == (file_id, 255)
