"""Each call of the Open Chat Studio client, to an upstream that answers with one answer."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
from pydantic import SecretStr

from tests.fault_server import OK
from widget_proxy.config import UpstreamSettings
from widget_proxy.upstream import (
    Credentials,
    EmbedKey,
    Key,
    Upload,
    UpstreamClient,
)

KEY = EmbedKey(SecretStr("marker-key"))
SID = "0b9d8a2e-1111-4222-8333-444455556666"


CREDENTIALS = Credentials(SID, "marker-token", KEY, "https://shop.example.com")


TOKENLESS = Credentials(SID, None, KEY, "https://shop.example.com")


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


async def start(client: UpstreamClient, key: Key = KEY, **more: Any) -> Any:
    return await client.start(
        chatbot_id="c",
        key=key,
        origin="https://shop.example.com",
        page_url="https://shop.example.com/p",
        **more,
    )


MESSAGE = {
    "created_at": "2026-11-20T23:28:16Z",
    "role": "assistant",
    "content": "Hi",
    "metadata": {"x": 1},
    "tags": ["y"],
}


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


def whole(body: bytes, headers: bytes = b"") -> bytes:
    return OK + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body
