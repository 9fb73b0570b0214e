"""The Open Chat Studio client: what it sends, how it reads answers, and every way they can go wrong."""

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.fault_server import OK, FaultServer, closed_port
from widget_proxy.config import UpstreamSettings
from widget_proxy.messages import Attachment
from widget_proxy.upstream import (
    AnswerTooLarge,
    BadAnswer,
    ChatbotUnavailable,
    Complete,
    Credentials,
    CredentialsRefused,
    Failed,
    FileRefused,
    Processing,
    RequestRefused,
    SessionEnded,
    SessionLost,
    Upload,
    UpstreamBusy,
    UpstreamClient,
    UpstreamError,
    UpstreamUnreachable,
)

pytestmark = pytest.mark.anyio

SID = "0b9d8a2e-1111-4222-8333-444455556666"
CREDENTIALS = Credentials(SID, "marker-token", "marker-key", "https://shop.example.com")
TOKENLESS = Credentials(SID, None, "marker-key", "https://shop.example.com")
HASTY = UpstreamSettings(
    connect_seconds=0.2, read_seconds=0.2, send_seconds=0.3, poll_seconds=0.3, answer_bytes=65_536
)
PATIENT = UpstreamSettings(answer_bytes=65_536)
STARTED = {"session_id": SID, "session_token": "t", "chatbot": {"name": "Bot"}, "participant": {"identifier": "anon"}}


class Upstream:
    """Answers every request with one answer, and keeps the requests."""

    def __init__(self, status: int = 200, body: Any = None, headers: dict[str, str] | None = None) -> None:
        self.requests: list[httpx.Request] = []
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        default = {"Content-Type": "application/json", "Set-Cookie": "ocs_language=en"}

        def answer(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return httpx.Response(status, stream=httpx.ByteStream(content), headers=default | (headers or {}))

        self.client = UpstreamClient("http://upstream.test", UpstreamSettings(), httpx.MockTransport(answer))


async def start(client: UpstreamClient, **more: Any) -> Any:
    return await client.start(
        chatbot_id="c",
        embed_key="marker-key",
        origin="https://shop.example.com",
        page_url="https://shop.example.com/p",
        **more,
    )


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


MESSAGE = {
    "created_at": "2026-11-20T23:28:16Z",
    "role": "assistant",
    "content": "Hi",
    "metadata": {"x": 1},
    "tags": ["y"],
}

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


async def test_files_are_handed_over() -> None:
    upstream = Upstream(201, {"files": [{"id": 3, "name": "a.txt", "size": 2, "content_type": "text/plain"}]})
    file = await upstream.client.upload(CREDENTIALS, Upload("a.txt", "text/plain", pieces(b"h", b"i"), 4))
    assert (file.id, file.name) == (3, "a.txt")
    (request,) = upstream.requests
    boundary = request.headers["Content-Type"].removeprefix("multipart/form-data; boundary=")
    assert request.content.decode() == (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n'
        f"Content-Type: text/plain\r\n\r\nhi\r\n--{boundary}--\r\n"
    )
    assert request.headers["Content-Length"] == str(len(request.content)), "said before all of it was there"
    assert "Transfer-Encoding" not in request.headers


@pytest.mark.parametrize("said", [2, 3, 4, 40])
async def test_a_file_shorter_than_was_said_is_followed_by_what_nobody_reads(said: int) -> None:
    upstream = Upstream(201, {"files": [{"id": 3, "name": "a.txt"}]})
    await upstream.client.upload(CREDENTIALS, Upload("a.txt", "text/plain", pieces(b"hi"), said))
    (request,) = upstream.requests
    assert request.headers["Content-Length"] == str(len(request.content))
    form = request.content.partition(b"\r\n\r\n")[2]
    assert re.fullmatch(rb"hi\r\n--[0-9a-f]{32}--[\r\n]*", form)


async def test_a_file_longer_than_was_said_is_a_mistake_of_ours() -> None:
    upstream = Upstream(201, {"files": [{"id": 3, "name": "a.txt"}]})
    with pytest.raises(ValueError, match="longer than 1 bytes"):
        await upstream.client.upload(CREDENTIALS, Upload("a.txt", "text/plain", pieces(b"hi"), 1))


async def test_a_name_breaks_out_of_no_header() -> None:
    upstream = Upstream(201, {"files": [{"id": 3, "name": "a.txt"}]})
    await upstream.client.upload(CREDENTIALS, Upload('a"\r\nX: y.txt', "text/plain", pieces(b"hi"), 2))
    assert b'filename="a%22%0D%0AX: y.txt"\r\n' in upstream.requests[0].content


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


Call = Callable[[UpstreamClient], Any]
CALLS: dict[str, Call] = {
    "start": start,
    "send": lambda client: client.send(CREDENTIALS, "hi"),
    "poll_task": lambda client: client.poll_task(CREDENTIALS, "t-1"),
    "poll_messages": lambda client: client.poll_messages(CREDENTIALS, None, 50),
    "upload": lambda client: client.upload(CREDENTIALS, Upload("a", "text/plain", pieces(b"x"), 1)),
}
HTML = (b"<h1>Not Found</h1>", {"Content-Type": "text/html"})

ERRORS: list[tuple[str, int, Any, type[UpstreamError]]] = [
    ("start", 401, {"detail": "Invalid widget embed key"}, CredentialsRefused),
    ("start", 403, {"detail": "Origin not allowed"}, CredentialsRefused),
    ("start", 401, {"detail": "no", "code": "chat_access_denied"}, CredentialsRefused),
    ("start", 403, {"error": "On holiday"}, ChatbotUnavailable),
    ("start", 400, {"detail": "chatbot_id must be a valid UUID"}, RequestRefused),
    ("start", 400, {"participant_name": ["too long"]}, RequestRefused),
    ("start", 201, {"session_id": "../../x"}, BadAnswer),
    ("start", 201, STARTED | {"session_token": "a\r\nb"}, BadAnswer),
    ("start", 200, STARTED, BadAnswer),
    ("send", 403, {"error": "x", "code": "session_token_required"}, SessionLost),
    ("send", 403, {"error": "x", "code": "session_token_invalid"}, SessionLost),
    ("send", 403, {"error": "x", "code": "session_expired"}, SessionLost),
    ("send", 403, {"detail": "Session does not exist"}, SessionLost),
    ("send", 401, {"detail": "Invalid widget embed key"}, CredentialsRefused),
    ("send", 400, {"error": "Session has ended"}, SessionEnded),
    ("send", 400, {"message": ["This field may not be blank."]}, RequestRefused),
    ("send", 400, {"error": "One or more file IDs are invalid"}, FileRefused),
    ("send", 500, {"error": "Unknown error"}, BadAnswer),
    ("send", 202, {"task_id": "a/b"}, BadAnswer),
    ("send", 202, {"task_id": 7}, BadAnswer),
    ("poll_task", 404, {"detail": "Not found."}, RequestRefused),
    ("poll_task", 403, {"error": "x", "code": "session_expired"}, SessionLost),
    ("poll_task", 500, {"error": "Unknown error"}, BadAnswer),
    ("poll_task", 200, {"status": "odd"}, BadAnswer),
    ("poll_task", 200, {"status": "complete", "message": {"role": "robot"}}, BadAnswer),
    ("poll_messages", 400, {"error": "Invalid 'since' parameter format"}, RequestRefused),
    ("poll_messages", 200, {"messages": {}}, BadAnswer),
    ("poll_messages", 200, [], BadAnswer),
    ("upload", 400, {"error": "No files provided"}, RequestRefused),
    ("upload", 400, {"error": "File type '.exe' is not supported. Allowed types: .txt"}, FileRefused),
    ("upload", 400, {"error": "File 'a' exceeds maximum size of 50MB"}, FileRefused),
    ("upload", 400, {"error": "Total file size exceeds maximum of 50MB"}, FileRefused),
    ("upload", 413, {"detail": "Request body too large."}, FileRefused),
    ("upload", 400, {"error": "Session has ended"}, SessionEnded),
    ("upload", 403, {"error": "x", "code": "session_expired"}, SessionLost),
    ("upload", 201, {"files": []}, BadAnswer),
    ("upload", 201, {"files": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}, BadAnswer),
    ("upload", 201, {"files": [{"id": "../1", "name": "a"}]}, BadAnswer),
]


@pytest.mark.parametrize(("call", "status", "body", "kind"), ERRORS)
async def test_each_error_answer_is_its_own_kind(
    call: str, status: int, body: Any, kind: type[UpstreamError]
) -> None:
    with pytest.raises(kind) as error:
        await CALLS[call](Upstream(status, body).client)
    assert type(error.value) is kind
    assert error.value.fate == ("unknown" if kind is BadAnswer else "not_sent"), (
        "only a refusal says nothing happened"
    )


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [200, 201, 202, 400, 403, 404, 500, 502, 503, 504])
async def test_html_is_never_an_answer(call: str, status: int) -> None:
    with pytest.raises((BadAnswer, CredentialsRefused)) as error:
        await CALLS[call](Upstream(status, *HTML).client)
    assert "<h1>" not in str(error.value)


async def test_a_413_is_about_the_file_whoever_says_it() -> None:
    with pytest.raises(FileRefused) as error:
        await CALLS["upload"](Upstream(413, *HTML).client)
    assert error.value.reason == "size"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "60"}, 60.0),
        ({"Retry-After": "Fri, 20 Nov 2026 12:00:30 GMT", "Date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"Retry-After": "soon", "X-RateLimit-Reset": "12"}, 12.0),
        ({"X-RateLimit-Reset": "12"}, 12.0),
        ({"Retry-After": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"}, 12.0),
        ({"Retry-After": "60", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"}, 60.0),
        ({"Retry-After": "5", "X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "12"}, 5.0),
        ({"Retry-After": "5", "X-RateLimit-Reset": "12"}, 5.0),
        ({}, None),
        ({"Retry-After": "-1"}, None),
    ],
)
async def test_a_429_says_how_long_to_wait(call: str, headers: dict[str, str], wait: float | None) -> None:
    with pytest.raises(UpstreamBusy) as error:
        await CALLS[call](Upstream(429, {"detail": "Rate limit exceeded.", "available_in": 60}, headers).client)
    assert error.value.retry_after == wait
    assert error.value.fate == "not_sent"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    upstream = Upstream(status, b"", {"Location": "https://evil.example/"})
    with pytest.raises(BadAnswer):
        await upstream.client.send(CREDENTIALS, "hi")
    assert len(upstream.requests) == 1


# Over real sockets, through the real transport


def whole(body: bytes, headers: bytes = b"") -> bytes:
    return OK + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


DEEP = b"[" * 100_000
FAULTS: dict[str, tuple[tuple[object, ...], type[UpstreamError], str]] = {
    "silence": ((1.0,), UpstreamUnreachable, "unknown"),
    "a drip": (tuple(item for byte in OK for item in (bytes([byte]), 0.05)), UpstreamUnreachable, "unknown"),
    "a body that drips": ((OK + b"Content-Length: 100\r\n\r\n", *[item for _ in range(20) for item in (b" ", 0.05)]), UpstreamUnreachable, "unknown"),
    "a reset before the answer": ((FaultServer.RESET,), UpstreamUnreachable, "unknown"),
    "a reset within the body": ((OK + b"Content-Length: 100\r\n\r\n{", FaultServer.RESET), UpstreamUnreachable, "unknown"),
    "an end without an answer": ((), UpstreamUnreachable, "unknown"),
    "a body cut short": ((OK + b"Content-Length: 100\r\n\r\n{}",), UpstreamUnreachable, "unknown"),
    "a status line that is none": ((b"HELLO\r\n\r\n",), BadAnswer, "unknown"),
    "malformed JSON": ((whole(b'{"task_id": '),), BadAnswer, "unknown"),
    "deep JSON": ((whole(b'{"status": ' + DEEP[:60_000]),), BadAnswer, "unknown"),
    "half a surrogate": ((whole(b'{"status": "complete", "message": {"role": "assistant", "content": "\\ud800"}}'),), BadAnswer, "unknown"),
    "a body announced too large": ((OK + b"Content-Length: 1000000000\r\n\r\n",), AnswerTooLarge, "unknown"),
    "a body too large": ((OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b" " * 65_536 + b"\r\n" + b"10000\r\n" + b" " * 65_536,), AnswerTooLarge, "unknown"),
    "a gzip bomb": ((whole(gzip.compress(b"0" * 10_000_000), b"Content-Encoding: gzip\r\n"),), BadAnswer, "unknown"),
    "headers without end": ((b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000,), BadAnswer, "unknown"),
    "a redirect to another host": ((b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2/\r\nContent-Length: 0\r\n\r\n",), BadAnswer, "not_sent"),
}  # fmt: skip


@pytest.mark.parametrize(("script", "kind", "fate"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_on_the_wire_is_an_error_of_ours(
    script: tuple[object, ...], kind: type[UpstreamError], fate: str
) -> None:
    # Only what never ends has to be cut short; the rest may take its time on a busy machine.
    endless = any(isinstance(step, float) for step in script)
    with FaultServer(*script) as server:
        async with UpstreamClient(server.url, HASTY if endless else PATIENT) as client:
            with pytest.raises(UpstreamError) as error:
                await client.poll_task(CREDENTIALS, "t-1")
    assert type(error.value) is kind
    assert error.value.fate == fate
    assert "marker" not in str(error.value)


async def test_where_no_connection_was_made_nothing_was_sent() -> None:
    async with UpstreamClient(f"http://127.0.0.1:{closed_port()}", PATIENT) as client:
        with pytest.raises(UpstreamUnreachable) as error:
            await client.send(CREDENTIALS, "hi")
    assert error.value.fate == "not_sent"


async def test_a_name_nobody_knows_is_unreachable() -> None:
    async with UpstreamClient("http://nowhere.invalid", HASTY.model_copy(update={"send_seconds": 5.0})) as client:
        with pytest.raises(UpstreamUnreachable):
            await client.send(CREDENTIALS, "hi")


async def test_a_send_is_never_tried_twice() -> None:
    with FaultServer(FaultServer.RESET) as server:
        async with UpstreamClient(server.url, PATIENT) as client:
            with pytest.raises(UpstreamUnreachable):
                await client.send(CREDENTIALS, "hi")
        assert len(server.received) == 1


async def test_a_connection_is_used_again() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(whole(b'{"message": null, "status": "processing"}', b"Set-Cookie: ocs_language=en\r\n"))
            await writer.drain()

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with UpstreamClient(f"http://127.0.0.1:{port}", PATIENT) as client:
            for _ in range(5):
                assert await client.poll_task(CREDENTIALS, "t-1") == Processing(None)
    assert connections == 1


# What must stay between one visitor and upstream


async def test_no_cookie_that_upstream_sets_is_ever_sent_back() -> None:
    """The client serves every visitor: what one is given, no other may send."""
    bearing = {"Set-Cookie": "sessionid=marker-visitor-a; Path=/"}
    upstream = Upstream(202, {"task_id": "t-1"}, bearing)
    for _ in range(3):
        await upstream.client.send(CREDENTIALS, "hi")
    assert not [request for request in upstream.requests if "cookie" in request.headers]


async def test_no_cookie_is_sent_back_over_the_wire_either() -> None:
    answer = whole(b'{"status": "processing"}', b"Set-Cookie: sessionid=marker-visitor-a; Path=/\r\n")
    with FaultServer(answer, FaultServer.NEXT, answer) as server:
        async with UpstreamClient(server.url, PATIENT) as client:
            for _ in range(2):
                await client.poll_task(CREDENTIALS, "t-1")
    assert len(server.received) == 2
    assert b"marker-visitor-a" not in b"".join(server.received)


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


@pytest.mark.parametrize(
    "status", [b"301 Moved Permanently", b"302 Found", b"307 Temporary Redirect", b"308 Permanent Redirect"]
)
@pytest.mark.parametrize("call", CALLS)
async def test_nothing_is_sent_to_where_a_redirect_points(call: str, status: bytes) -> None:
    with FaultServer(whole(b"{}")) as elsewhere:
        redirect = b"HTTP/1.1 %s\r\nLocation: %s/\r\nContent-Length: 0\r\n\r\n" % (status, elsewhere.url.encode())
        with FaultServer(redirect) as server:
            async with UpstreamClient(server.url, PATIENT) as client:
                with pytest.raises(BadAnswer, match="redirect"):
                    await CALLS[call](client)
    assert elsewhere.received == []


async def test_nothing_is_said_to_whom_no_certificate_vouches_for() -> None:
    with FaultServer(whole(b"{}"), tls=True) as server:
        async with UpstreamClient(server.url, PATIENT) as client:
            with pytest.raises(UpstreamUnreachable) as error:
                await start(client)
    assert error.value.fate == "not_sent"
    assert b"marker" not in b"".join(server.received)


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(whole(b"{}")) as proxy, FaultServer(whole(b'{"status": "processing"}')) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with UpstreamClient(server.url, PATIENT) as client:
            assert await client.poll_task(CREDENTIALS, "t-1") == Processing(None)
    assert proxy.received == []


@pytest.mark.parametrize("call", ["poll_task", "send"])
async def test_a_connection_lost_between_two_calls_is_never_a_send_tried_twice(call: str) -> None:
    """A poll may be asked again, unseen; a send on a connection that upstream had closed may have been read."""
    answer = whole(b'{"status": "processing"}')
    with FaultServer(answer, FaultServer.NEXT, FaultServer.RESET) as server:
        async with UpstreamClient(server.url, PATIENT) as client:
            await client.poll_task(CREDENTIALS, "t-1")
            if call == "send":
                with pytest.raises(UpstreamUnreachable) as error:
                    await client.send(CREDENTIALS, "marker-message")
                assert error.value.fate == "unknown"
                assert b"".join(server.received).count(b"marker-message") == 1
            else:
                assert await client.poll_task(CREDENTIALS, "t-1") == Processing(None)


@pytest.mark.parametrize("call", ["send", "start"])
@pytest.mark.parametrize(
    "fault", [name for name, (script, _, _) in FAULTS.items() if not any(isinstance(step, float) for step in script)]
)
async def test_the_same_faults_when_something_is_sent(call: str, fault: str) -> None:
    script, kind, fate = FAULTS[fault]
    with FaultServer(*script) as server:
        async with UpstreamClient(server.url, PATIENT) as client:
            with pytest.raises(UpstreamError) as error:
                await CALLS[call](client)
        assert len(server.received) == 1, "tried once"
    # On 200 where 201 or 202 was due, a body is not even read as JSON; the kind is the same.
    assert type(error.value) is kind
    assert error.value.fate == fate


MORE_FAULTS: dict[str, bytes] = {
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length below nothing": OK + b"Content-Length: -5\r\n\r\n{}",
    "a length beyond counting": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "a chunk that is none": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a header of binary": OK + b"X: \xff\x00\r\nContent-Length: 2\r\n\r\n{}",
    "an encoding nobody knows": whole(b"{}", b"Content-Encoding: marker\r\n"),
    "a switch of protocols": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a status beyond all": b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    "NaN": whole(b'{"status": "complete", "message": {"role": "assistant", "attachments": [{"size": NaN}]}}'),
    "infinity": whole(b'{"status": "complete", "message": {"role": "assistant", "attachments": [{"size": 1e999}]}}'),
    "a number for a text": whole(b'{"status": "complete", "message": {"role": "assistant", "content": 7}}'),
    "a list for a text": whole(b'{"status": "complete", "message": {"role": "assistant", "content": ["x"]}}'),
    "a text for a message": whole(b'{"status": "complete", "message": "x"}'),
    "two answers in one": whole(b'{"status": "processing"}{"status": "processing"}'),
    "an empty body": whole(b""),
    "bytes that are no text": whole(b'{"status": "\xff\xfe"}'),
    "another media type": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 24\r\n\r\n" + b'{"status": "processing"}',
    "no media type": b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n" + b'{"status": "processing"}',
}  # fmt: skip


@pytest.mark.parametrize("answer", MORE_FAULTS.values(), ids=MORE_FAULTS)
async def test_what_cannot_be_read_is_a_bad_answer_and_tells_nothing(answer: bytes) -> None:
    with FaultServer(answer) as server:
        async with UpstreamClient(server.url, PATIENT) as client:
            with pytest.raises(BadAnswer) as error:
                await client.poll_task(CREDENTIALS, "t-1")
    assert error.value.fate == "unknown"
    for secret in (SID, "marker", server.url, "\\x", "zz"):
        assert secret not in str(error.value), "the log is no place for upstream's ids and bytes"


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_puts_upstreams_session_id_into_the_log(fault: str) -> None:
    script, _, _ = FAULTS[fault]
    endless = any(isinstance(step, float) for step in script)
    with FaultServer(*script) as server:
        async with UpstreamClient(server.url, HASTY if endless else PATIENT) as client:
            with pytest.raises(UpstreamError) as error:
                await client.send(CREDENTIALS, "hi")
    assert SID not in str(error.value)
    assert str(error.value).isprintable()


async def test_odd_but_readable_answers_are_read() -> None:
    odd = [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + whole(b'{"status": "processing"}'), Processing(None)),
        (whole(b'{"status": "processing", "status": "complete", "message": null}'), Complete(None)),
        (whole(b' \n{"status": "processing", "unknown": {"deep": [1]}}\n'), Processing(None)),
        (whole(b'{"status": "complete"}', b"Content-Encoding: identity\r\n"), Complete(None)),
    ]
    for answer, state in odd:
        with FaultServer(answer) as server:
            async with UpstreamClient(server.url, PATIENT) as client:
                assert await client.poll_task(CREDENTIALS, "t-1") == state


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "", "yesterday", None])
async def test_a_moment_that_cannot_be_read_costs_no_message(moment: str | None) -> None:
    upstream = Upstream(200, {"status": "complete", "message": MESSAGE | {"created_at": moment}})
    state = await upstream.client.poll_task(CREDENTIALS, "t-1")
    assert isinstance(state, Complete)
    assert state.message is not None
    assert (state.message.created_at, state.message.content) == (None, "Hi")


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        (b"Retry-After: 7\r\n", 7.0),
        (b"Retry-After: Fri, 20 Nov 2026 12:00:30 GMT\r\nDate: Fri, 20 Nov 2026 12:00:00 GMT\r\n", 30.0),
        (b"Retry-After: Fri, 20 Nov 2026 11:00:00 GMT\r\nDate: Fri, 20 Nov 2026 12:00:00 GMT\r\n", 0.0),
        (b"Retry-After: Fri, 99 Nov 99999 12:00:30 GMT\r\nDate: x\r\n", None),
        (b"Retry-After: Fri, 20 Nov 2026 12:00:30 GMT\r\nDate: Fri, 20 Nov 2026 12:00:00 -0000\r\n", None),
        (b"Retry-After: 99999999999999999999\r\n", 999_999_999.0),
        (b"Retry-After: \xb2\r\nX-RateLimit-Reset: 5\r\n", 5.0),
        (b"", None),
    ],
)
@pytest.mark.parametrize("call", ["send", "poll_messages"])
async def test_a_429_over_the_wire_says_how_long_to_wait(call: str, headers: bytes, wait: float | None) -> None:
    answer = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/html\r\n" + headers + b"Content-Length: 0\r\n\r\n"
    with FaultServer(answer) as server:
        async with UpstreamClient(server.url, PATIENT) as client:
            with pytest.raises(UpstreamBusy) as error:
                await CALLS[call](client)
    assert (error.value.retry_after, error.value.fate) == (wait, "not_sent")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("call", CALLS)
async def test_a_server_error_leaves_the_fate_open(call: str, status: int) -> None:
    for answer in ((b"<h1>Oops</h1>", {"Content-Type": "text/html"}), ({"detail": "Oops"}, None), (b"", None)):
        with pytest.raises(BadAnswer) as error:
            await CALLS[call](Upstream(status, *answer).client)
        assert error.value.fate == "unknown"


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
