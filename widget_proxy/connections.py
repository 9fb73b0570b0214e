"""What one connection may cost before there is a request on it: how many there are, how long a head takes, how large
it is. uvicorn waits for ever for half a head, keeps any number of header lines, and takes as many connections as
there are file descriptors; a head of 26 MB cost it as much memory.

Of a request under way the application itself bounds what it reads (`bodies`, `form_file`) and writes
(`stream_writers`).
"""

import asyncio
import logging
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from widget_proxy.client_address import Network, is_trusted, parse_address, shortened, visitor_of

logger = logging.getLogger(__name__)

HEADER_LINES = 100
"""Browsers send some twenty."""

TELL_SECONDS = 60.0
"""How often it is told that somebody has too many connections."""


@dataclass(slots=True)
class Connections:
    """The connections of this process, by visitor. `head_seconds` and `head_bytes` bound the head of a request."""

    most_per_address: int
    head_seconds: float
    head_bytes: int
    trusted: Sequence[Network]
    clock: Callable[[], float] = time.monotonic
    open: Counter[str] = field(default_factory=Counter)
    told: float = float("-inf")

    def admit(self, peer: str | None, already: int) -> str | None:
        """Whom to count a new connection from `peer` for, None for a proxy's. `already`: connections there are.
        Raises `ConnectionRefusedError` where it is one too many."""
        if already > _room():
            raise self._refusal("as many as file descriptors allow", peer)
        visitor = visitor_of(peer)
        if visitor is None or is_trusted(parse_address(peer or ""), self.trusted):
            return None
        if self.open[visitor] >= self.most_per_address:
            raise self._refusal(f"{self.open[visitor]} from one address", peer)
        self.open[visitor] += 1
        return visitor

    def leave(self, visitor: str) -> None:
        """Undoes `admit`."""
        self.open[visitor] -= 1
        if not self.open[visitor]:
            del self.open[visitor]

    def _refusal(self, how_many: str, peer: str | None) -> ConnectionRefusedError:
        if self.clock() - self.told >= TELL_SECONDS:
            self.told = self.clock()
            logger.warning(
                "too many connections: %s; refused one from %s, and more for now", how_many, shortened(peer)
            )
        return ConnectionRefusedError(how_many)


def _room() -> int:
    """Nine tenths of the file descriptors; the rest is for upstream and Redis."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft * 9 // 10


class _HeadRefusedError(Exception):
    """Ends the parsing of a head."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with bounds. Its `config` has them, as `connections`."""

    def __init__(self, config: Any, *arguments: Any, **more: Any) -> None:
        super().__init__(config, *arguments, **more)
        self._bounds: Connections = config.connections
        self._visitor: str | None = None
        self._late: asyncio.TimerHandle | None = None
        self._heard = False
        self._in_head = True
        self._began = False
        self._head_bytes = 0  # read since its first bytes
        self._counted = 0  # of it, what the parser has told
        self._answer = 400

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        try:
            self._visitor = self._bounds.admit(self.client[0] if self.client else None, len(self.connections))
        except ConnectionRefusedError:
            transport.abort()
            return
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        if self._visitor is not None:
            self._bounds.leave(self._visitor)
            self._visitor = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._late is None and self._is_idle():
            # A next request, or what is left of the last one's body: both are waited for, and not for ever.
            self._wait_for_head()
        self._heard, self._began = True, False
        super().data_received(data)
        if self._in_head and not self._began:
            # A line that does not end is told by no callback. Where the head begins in these bytes is not known
            # either, so they are let pass: one read of the socket.
            self._head_bytes += len(data)
            if self._head_bytes > self._bounds.head_bytes:
                self._refuse(431)

    # What the parser finds

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._began = True
        self._head_bytes = self._counted = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)
        if len(self.headers) > HEADER_LINES:
            self._answer = 431
            raise _HeadRefusedError

    def on_headers_complete(self) -> None:
        self._heard = self._in_head = False
        self._wait_no_more()
        super().on_headers_complete()

    def _count(self, read: int) -> None:
        self._counted += read
        if self._counted > self._bounds.head_bytes:
            self._answer = 431
            raise _HeadRefusedError

    # Closing

    def send_400_response(self, msg: str) -> None:
        """uvicorn's way out of what cannot be parsed, or is refused within its parser."""
        self._refuse(self._answer)

    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _wait_for_head(self) -> None:
        self._late = self.loop.call_later(self._bounds.head_seconds, self._refuse, 408)

    def _wait_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, status: int) -> None:
        """Close, with a word where the client has begun to ask and nothing else is being answered. A browser opens
        connections it has no question for yet; it would take the word for the next one's answer."""
        self._wait_no_more()
        if self.transport.is_closing():
            return
        if self._heard and self._is_idle():
            self.transport.write(STATUS_LINE[status] + b"connection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()
