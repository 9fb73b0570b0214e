"""The connections to upstream over real sockets, and every way they can go wrong."""

import asyncio
import contextlib
import gzip

import pytest

from tests.fault_server import OK, FaultServer, closed_port
from tests.upstream_calls import (
    CALLS,
    CREDENTIALS,
    HASTY,
    PATIENT,
    SID,
    Upstream,
    start,
    whole,
)
from widget_proxy.upstream import (
    AnswerTooLarge,
    BadAnswer,
    Processing,
    UpstreamBusy,
    UpstreamClient,
    UpstreamError,
    UpstreamUnreachable,
)

pytestmark = pytest.mark.anyio


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
