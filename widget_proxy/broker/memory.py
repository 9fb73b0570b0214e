"""The broker of a single process, and the readable specification of any other."""

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from widget_proxy.broker import Entry, SendClaim
from widget_proxy.messages import Event

KEPT_EVENTS = 2000
"""Entries a log keeps. A reader that falls further behind is closed and starts over from upstream's history."""

KEPT_SECONDS = 3600.0
"""How long a log nobody reads is kept. After that, upstream's history is read again."""

KEPT_SENDS = 200
"""Idempotency keys remembered per session. One still being sent is never forgotten: others wait for it."""


@dataclass(slots=True)
class _Send:
    fingerprint: str
    result: dict[str, Any] | None = None
    settled: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True)
class _Log:
    epoch: str
    used: float
    first: int = 0  # position of entries[0]
    entries: deque[Entry] = field(default_factory=deque)
    identities: set[str] = field(default_factory=set)
    changed: anyio.Event = field(default_factory=anyio.Event)
    readers: int = 0
    polled: float | None = None
    sends: OrderedDict[str, _Send] = field(default_factory=OrderedDict)

    @property
    def end(self) -> int:
        return self.first + len(self.entries)

    def position_after(self, cursor: str | None) -> int:
        """Position of the first entry after `cursor`; the log's first where it is not ours or too old."""
        epoch, _, number = (cursor or "").partition("-")
        if epoch != self.epoch or not number.isascii() or not number.isdigit() or len(number) > 12:
            return self.first
        position = int(number) + 1
        return position if self.first <= position <= self.end else self.first

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class MemoryBroker:
    """Logs in this process's memory. `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, kept_events: int = KEPT_EVENTS) -> None:
        self._clock = clock
        self._kept_events = kept_events
        self._logs: OrderedDict[str, _Log] = OrderedDict()
        self._closing = False

    async def publish(self, session: str, events: Sequence[Event]) -> None:
        log = self._log(session)
        for event in events:
            if event.identity is not None:
                if event.identity in log.identities:
                    continue
                log.identities.add(event.identity)
            log.entries.append(Entry(f"{log.epoch}-{log.end}", event))
        while len(log.entries) > self._kept_events:
            # Its identity stays known: the hub may learn of the same message once more.
            log.entries.popleft()
            log.first += 1
        log.wake()

    async def is_published(self, session: str, identity: str) -> bool:
        return identity in self._log(session).identities

    @asynccontextmanager
    async def subscribe(self, session: str, after: str | None) -> AsyncIterator["MemorySubscription"]:
        log = self._log(session)
        log.readers += 1
        try:
            yield MemorySubscription(self, log, after)
        finally:
            log.readers -= 1
            log.used = self._clock()

    async def claim_message_poll(self, session: str, interval: float) -> float:
        log = self._log(session)
        now = self._clock()
        if log.polled is not None and now - log.polled < interval:
            return interval - (now - log.polled)
        log.polled = now
        return 0.0

    async def claim_send(self, session: str, key: str, fingerprint: str) -> SendClaim:
        log = self._log(session)
        while (send := log.sends.get(key)) is not None:
            if send.fingerprint != fingerprint:
                return SendClaim("mismatch")
            if send.result is not None:
                return SendClaim("done", send.result)
            await send.settled.wait()
        log.sends[key] = _Send(fingerprint)
        settled = [key for key, send in log.sends.items() if send.result is not None]
        for oldest in settled[: max(0, len(log.sends) - KEPT_SENDS)]:
            del log.sends[oldest]
        return SendClaim("new")

    async def settle_send(self, session: str, key: str, result: dict[str, Any]) -> None:
        if (send := self._log(session).sends.get(key)) is not None:
            send.result = result
            send.settled.set()

    async def release_send(self, session: str, key: str) -> None:
        if (send := self._log(session).sends.pop(key, None)) is not None:
            send.settled.set()

    def close_subscribers(self) -> None:
        self._closing = True
        for log in self._logs.values():
            log.wake()

    @property
    def closing(self) -> bool:
        """Whether the process drains."""
        return self._closing

    def _log(self, session: str) -> _Log:
        now = self._clock()
        if (log := self._logs.get(session)) is None:
            self._drop_unused(now)
            log = self._logs[session] = _Log(epoch=secrets.token_hex(6), used=now)
        log.used = now
        self._logs.move_to_end(session)
        return log

    def _drop_unused(self, now: float) -> None:
        """Oldest first, so that a creation pays for what has fallen due since the last one."""
        for session, log in list(self._logs.items()):
            if now - log.used < KEPT_SECONDS:
                break
            if log.readers == 0:
                del self._logs[session]
            else:
                log.used = now
                self._logs.move_to_end(session)


class MemorySubscription:
    """A place in one log. It holds no copy of what is to come, so a slow reader costs nothing."""

    def __init__(self, broker: MemoryBroker, log: _Log, after: str | None) -> None:
        self._broker = broker
        self._log = log
        self._next = log.end
        self.backlog: Sequence[Entry] = tuple(log.entries)
        self.replay_from = log.position_after(after) - log.first

    async def live(self) -> AsyncIterator[Entry]:
        log = self._log
        while not self._broker.closing:
            if self._next < log.first:
                return
            if self._next < log.end:
                entry = log.entries[self._next - log.first]
                self._next += 1
                yield entry
            else:
                await log.changed.wait()
