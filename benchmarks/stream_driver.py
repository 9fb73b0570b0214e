"""Thousands of open streams in one process: non-blocking sockets under epoll, and no more parsing than needed."""

import errno
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.processes import HOST

SOURCES = [f"127.0.0.{number}" for number in range(2, 34)]
"""Streams come from several loopback addresses: one address has fewer ports than may be wanted, with those of
earlier rounds still waiting to be free."""

READ_BYTES = 65_536
LOOK_SECONDS = 0.02
"""How often to look who has what; the moments themselves are noted as they come."""

_NO_PORT_YET = 24  # IP_BIND_ADDRESS_NO_PORT, which the socket module does not name


class Connection:
    """One connection. `mark` is what it waits for; `seen` is when that came (`perf_counter`), 0 before."""

    __slots__ = ("closed", "mark", "outgoing", "seen", "socket", "status", "tail")

    def __init__(self, source: str, address: tuple[str, int], request: bytes, mark: bytes) -> None:
        self.outgoing = request
        self.mark = mark
        self.seen = 0.0
        self.status = 0
        self.tail = b""
        self.closed = False
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_IP, _NO_PORT_YET, 1)
        self.socket.bind((source, 0))
        if self.socket.connect_ex(address) not in {0, errno.EINPROGRESS}:
            raise OSError("a connection was refused")

    def await_mark(self, mark: bytes) -> None:
        """Wait for this from now on."""
        self.mark, self.seen, self.tail = mark, 0.0, b""

    def received(self, data: bytes, now: float) -> None:
        """Look for the status, then for the mark."""
        text = self.tail + data
        if not self.status and len(text) >= 12:
            self.status = int(text[9:12])
        if not self.seen and self.mark in text:
            self.seen = now
        # Enough that a mark cut in two is found; and the head, until its status was read.
        self.tail = b"" if self.seen and self.status else text[-max(len(self.mark), 12) :]


@dataclass(frozen=True)
class Opened:
    """How it went to open streams. `seconds` from the first connection to the last stream's mark."""

    seconds: float
    statuses: dict[int, int]


@dataclass(frozen=True)
class FannedOut:
    """How an event came to all streams. Seconds from the first order given to the first and to the last stream."""

    first: float
    last: float
    missing: int


class StreamDriver:
    """Connections to one server. Close it, and all of them are closed."""

    def __init__(self, port: int) -> None:
        self._address = (HOST, port)
        self._selector = selectors.DefaultSelector()
        self._made = 0
        self.streams: list[Connection] = []

    def open(self, requests: Sequence[bytes], mark: bytes, *, at_once: int, seconds: float) -> Opened:
        """Open a stream for each request. Each counts as open when `mark` was read from it; `at_once` are on their
        way at a time. Those that were answered otherwise are not kept."""
        began = time.perf_counter()
        opened = self._exchange(requests, mark, at_once=at_once, seconds=seconds)
        took = max((one.seen for one in opened), default=began) - began
        for one in opened:
            if one.closed or one.status != 200 or not one.seen:
                self._drop(one)
            else:
                self.streams.append(one)
        return Opened(took, dict(Counter(one.status if one.seen or one.status != 200 else 0 for one in opened)))

    def fan_out(self, orders: Sequence[bytes], mark: bytes, *, at_once: int, seconds: float) -> FannedOut:
        """Give the orders, `at_once` at a time, until every stream has had `mark`."""
        for one in self.streams:
            one.await_mark(mark)
        began = time.perf_counter()
        for one in self._exchange(orders, b"HTTP/1.1 2", at_once=at_once, seconds=seconds):
            self._drop(one)
        waiting = [one for one in self.streams if not one.seen]
        while waiting and time.perf_counter() - began < seconds:
            self.idle(LOOK_SECONDS)
            waiting = [one for one in waiting if not one.seen and not one.closed]
        moments = [one.seen - began for one in self.streams if one.seen]
        return FannedOut(min(moments, default=0.0), max(moments, default=0.0), len(self.streams) - len(moments))

    def ask(self, requests: Sequence[bytes], *, at_once: int, seconds: float) -> None:
        """Send requests and wait for the answers' heads. Raises `RuntimeError` where one is no 2xx."""
        asked = self._exchange(requests, b"HTTP/1.1 ", at_once=at_once, seconds=seconds)
        refused = Counter(one.status for one in asked if not 200 <= one.status < 300)
        for one in asked:
            self._drop(one)
        if refused:
            raise RuntimeError(f"of {len(requests)} requests, so many were answered with: {dict(refused)}")

    def idle(self, seconds: float) -> None:
        """Read and wait."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self._turn(min(left, 0.5))

    def close_streams(self) -> int:
        """Close what is open; how many of them the server had closed before."""
        gone = sum(one.closed for one in self.streams)
        for one in self.streams:
            self._drop(one)
        self.streams.clear()
        return gone

    def close(self) -> None:
        """Close everything."""
        self.close_streams()
        self._selector.close()

    def _exchange(self, requests: Iterable[bytes], mark: bytes, *, at_once: int, seconds: float) -> list[Connection]:
        """Make a connection for each request; all of them, once each has its mark, was closed, or time is up."""
        made: list[Connection] = []
        waiting: deque[Connection] = deque()
        end = time.perf_counter() + seconds
        for request in requests:
            self._turn_until(lambda: len(waiting) < at_once, waiting, end)
            one = Connection(SOURCES[self._made % len(SOURCES)], self._address, request, mark)
            self._made += 1
            self._selector.register(one.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, one)
            waiting.append(one)
            made.append(one)
            if time.perf_counter() > end:
                break
        self._turn_until(lambda: not waiting, waiting, end)
        return made

    def _turn_until(self, enough: Callable[[], bool], waiting: deque[Connection], end: float) -> None:
        while not enough() and time.perf_counter() < end:
            self._turn(0.05)
            for _ in range(len(waiting)):
                one = waiting.popleft()
                if not one.seen and not one.closed:
                    waiting.append(one)

    def _turn(self, seconds: float) -> None:
        for key, events in self._selector.select(seconds):
            one: Connection = key.data
            if events & selectors.EVENT_WRITE:
                self._write(one)
            if events & selectors.EVENT_READ:
                self._read(one)

    def _write(self, one: Connection) -> None:
        try:
            sent = one.socket.send(one.outgoing)
        except BlockingIOError:
            return
        except OSError:
            one.closed = True
            self._selector.unregister(one.socket)
            return
        one.outgoing = one.outgoing[sent:]
        if not one.outgoing:
            self._selector.modify(one.socket, selectors.EVENT_READ, one)

    def _read(self, one: Connection) -> None:
        try:
            data = one.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            one.received(data, time.perf_counter())
        else:
            one.closed = True
            self._selector.unregister(one.socket)

    def _drop(self, one: Connection) -> None:
        if one.socket.fileno() >= 0:
            if not one.closed:
                self._selector.unregister(one.socket)
            one.socket.close()
        one.closed = True
