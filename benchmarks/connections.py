"""Visitors for benchmarks: HTTP and Server-Sent Events over bare asyncio streams, so that they cost little."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.processes import HOST, SHOP_ORIGIN

SHOP = {"Origin": SHOP_ORIGIN}


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event as it came. `at` is wall time in seconds."""

    name: str
    data: Any
    at: float


class Connection:
    """One connection that is kept, for one request after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None
    ) -> tuple[int, Any]:
        """The status and the JSON of an answer (None where it has none)."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        writer.write(request(method, path, headers, body))
        status, head = await _head(reader)
        if "transfer-encoding" in head:
            content = b"".join([chunk async for chunk in _chunks(reader)])
        else:
            content = await reader.readexactly(int(head.get("content-length", "0")))
        if head.get("connection") == "close":
            self.close()
        return status, json.loads(content) if content else None

    def close(self) -> None:
        """Let it go."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def call(
    port: int, method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None
) -> Any:
    """One request on a connection of its own; its JSON. Raises `RuntimeError` for any status but 2xx."""
    connection = Connection(port)
    try:
        status, answer = await connection.call(method, path, headers, body)
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise RuntimeError(f"{method} {path} answered {status}: {answer}")
    return answer


async def stream(port: int, path: str, headers: Mapping[str, str]) -> AsyncIterator[Arrived]:
    """Events of a stream as they come, until the server ends it or the caller does."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request("GET", path, headers))
        status, _ = await _head(reader)
        if status != 200:
            raise RuntimeError(f"GET {path} answered {status}")
        text = b""
        async for chunk in _chunks(reader):
            at = time.time()
            text += chunk
            *blocks, text = text.split(b"\n\n")
            for block in blocks:
                if (arrived := _event(block, at)) is not None:
                    yield arrived
    finally:
        writer.close()


def request(method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None) -> bytes:
    """The bytes of a request; `body` becomes JSON."""
    content = b"" if body is None else json.dumps(body).encode()
    told = {"Host": HOST} | dict(headers or {})
    if body is not None or method != "GET":
        told |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs}


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)


def _event(block: bytes, at: float) -> Arrived | None:
    name, data = "message", []
    for line in block.decode().split("\n"):
        key, _, value = line.partition(":")
        if key == "event":
            name = value.strip()
        elif key == "data":
            data.append(value.removeprefix(" "))
    return Arrived(name, json.loads("\n".join(data)), at) if data else None
