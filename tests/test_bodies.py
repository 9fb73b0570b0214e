"""Bodies that come slowly, or not at all."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from tests.virtual_time import ANYIO_OPTIONS, elapsed
from widget_proxy.bodies import BODY_SECONDS, MessageBody, read_body
from widget_proxy.problems import Problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


def request(*chunks: bytes, gap: float = 0.0, headers: dict[str, str] | None = None) -> Request:
    left = list(chunks)

    async def receive() -> Message:
        await asyncio.sleep(gap)
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    named = {"content-type": "application/json"} | (headers or {})
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


async def test_a_body_may_come_in_pieces() -> None:
    body, raw = await read_body(request(b'{"mess', b'age": "hi"}'), MessageBody, 1000)
    assert body.message == "hi"
    assert raw == b'{"message": "hi"}'


async def test_a_body_that_does_not_come_is_given_up() -> None:
    with pytest.raises(Problem) as refused:
        await read_body(request(*[b" "] * 100, gap=1.0), MessageBody, 1000)
    assert refused.value.status == 408
    assert elapsed() == BODY_SECONDS


async def test_a_body_that_grows_too_large_is_refused_before_it_is_whole() -> None:
    chunks = [b" " * 100] * 1000
    with pytest.raises(Problem) as refused:
        await read_body(request(*chunks, gap=0.01), MessageBody, 1000)
    assert refused.value.status == 413
    assert elapsed() < 0.2


async def test_every_mistake_is_named() -> None:
    with pytest.raises(Problem) as refused:
        await read_body(request(b'{"mesage": 1, "attachments": "x"}'), MessageBody, 1000)
    assert "message is missing." in refused.value.detail
    assert "There is no field 'mesage'." in refused.value.detail
    assert "attachments" in refused.value.detail
