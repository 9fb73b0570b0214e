"""The broker of a single process, and the readable specification of any other."""

import copy
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import anyio

from widget_proxy.broker import (
    KEPT_EVENTS,
    KEPT_IDENTITIES,
    KEPT_SECONDS,
    KEPT_SEND_SECONDS,
    TAKEOVER_SHARE,
    Allowance,
    Entry,
    MessagePoll,
    PendingAnswer,
    SendClaim,
)
from widget_proxy.broker.bearers import MemoryBearers, SharedBearers
from widget_proxy.broker.log import Log, LogSubscription
from widget_proxy.broker.thumbs import MemoryThumbs, SharedThumbs
from widget_proxy.messages import Event
from widget_proxy.pacing import Bucket, Budget

KEPT_SENDS = 100_000
"""Idempotency keys remembered at most, some 100 MB of them: 2,000 requests in 5 minutes, were they nothing but sends,
make as many in four hours. One still being sent is never forgotten: others wait for it."""


@dataclass(slots=True)
class _Send:
    fingerprint: str
    began: float
    deadline: float
    result: dict[str, Any] | None = None
    settled: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True)
class _Session:
    log: Log
    epoch: str
    used: float
    active: float
    identities: dict[str, None] = field(default_factory=dict)  # in order of arrival
    polled: float | None = None
    polled_by: str | None = None

    def index_after(self, cursor: str | None) -> int:
        """Index of the first kept entry after `cursor`; 0 where it is not ours or too old."""
        epoch, _, number = (cursor or "").partition("-")
        if epoch != self.epoch or not number.isascii() or not number.isdigit() or len(number) > 12:
            return 0
        position = int(number) + 1
        return position - self.log.first if self.log.first <= position <= self.log.end else 0


@dataclass(slots=True)
class _Attended:
    answer: PendingAnswer
    worker: str | None
    until: float


class MemoryBroker:
    """Everything in this process's memory. `clock` gives seconds that only grow."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        kept_events: int = KEPT_EVENTS,
        kept_sends: int = KEPT_SENDS,
    ) -> None:
        self._clock = clock
        self.bearers: SharedBearers = MemoryBearers(clock)
        self.thumbs: SharedThumbs = MemoryThumbs(clock)
        self._kept_sends = kept_sends
        self._kept_events = kept_events
        self._worker = "this"
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._answers: dict[str, _Attended] = {}
        self._sends: OrderedDict[tuple[str, str], _Send] = OrderedDict()  # in order of their beginning
        self._buckets: dict[str, Bucket] = {}
        self._closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: Any) -> None:
        self.close_subscribers()

    def beside(self, worker: str) -> "MemoryBroker":
        """The same broker as another worker would see it."""
        other = copy.copy(self)
        other._worker = worker
        return other

    async def look(self) -> None:
        pass

    # The log

    async def publish(self, session: str, events: Sequence[Event]) -> None:
        state = self._session(session)
        fresh: list[Entry] = []
        for event in events:
            if event.identity is not None:
                if event.identity in state.identities:
                    continue
                state.identities[event.identity] = None
            if event.is_activity:
                state.active = self._clock()
            fresh.append(Entry(f"{state.epoch}-{state.log.end + len(fresh)}", event))
        while len(state.identities) > KEPT_IDENTITIES:
            del state.identities[next(iter(state.identities))]
        if fresh:
            state.log.append(fresh)

    async def is_published(self, session: str, identity: str) -> bool:
        return identity in self._session(session).identities

    async def entries(self, session: str) -> Sequence[Entry]:
        return tuple(self._session(session).log.entries)

    @asynccontextmanager
    async def subscribe(self, session: str, after: str | None) -> AsyncIterator[LogSubscription]:
        state = self._session(session)
        subscription = state.log.subscribe(state.index_after(after))
        try:
            yield subscription
        finally:
            state.log.unsubscribe(subscription)
            state.used = self._clock()

    def close_subscribers(self) -> None:
        self._closing = True
        for state in self._sessions.values():
            state.log.close()

    # Who polls the message list

    async def claim_message_poll(self, session: str, interval: float, *, ask_only: bool = False) -> MessagePoll:
        state, now = self._session(session), self._clock()
        quiet = now - state.active
        if state.polled is not None:
            due = state.polled + interval
            if state.polled_by not in {None, self._worker}:
                due += interval * TAKEOVER_SHARE
            if now < due:
                return MessagePoll(due - now, quiet)
        if not ask_only:
            state.polled, state.polled_by = now, self._worker
        return MessagePoll(0.0, quiet)

    # Who polls for an answer

    async def attend_answer(self, session: str, answer: PendingAnswer, seconds: float) -> bool:
        attended = self._answers.setdefault(answer.ref, _Attended(answer, None, 0.0))
        if attended.worker not in {None, self._worker} and attended.until > self._clock():
            return False
        attended.worker, attended.until = self._worker, self._clock() + seconds
        self._session(session).active = self._clock()
        return True

    async def keep_answer(self, ref: str, seconds: float) -> bool:
        attended = self._answers.get(ref)
        if attended is None or attended.worker != self._worker:
            return False
        attended.until = self._clock() + seconds
        return True

    async def leave_answer(self, ref: str) -> None:
        attended = self._answers.get(ref)
        if attended is not None and attended.worker == self._worker:
            attended.worker = None

    async def finish_answer(self, ref: str) -> None:
        self._answers.pop(ref, None)

    async def unattended_answers(self) -> Sequence[PendingAnswer]:
        now = self._clock()
        free = [one for one in self._answers.values() if one.worker is None or one.until <= now]
        return [one.answer for one in sorted(free, key=lambda one: one.until)]

    # Sends

    async def claim_send(self, session: str, key: str, fingerprint: str, seconds: float) -> SendClaim:
        self._drop_old_sends()
        while (send := self._sends.get((session, key))) is not None:
            if send.fingerprint != fingerprint:
                return SendClaim("mismatch")
            if send.result is not None:
                return SendClaim("done", send.result)
            with anyio.move_on_after(send.deadline - self._clock()):
                await send.settled.wait()
            if not send.settled.is_set() and self._clock() >= send.deadline:
                return SendClaim("lost")
        # Whatever becomes of it: whoever is not told looks for it in the transcript.
        now = self._session(session).active = self._clock()
        self._sends[session, key] = _Send(fingerprint, now, now + seconds)
        return SendClaim("new")

    async def settle_send(self, session: str, key: str, result: dict[str, Any]) -> None:
        if (send := self._sends.get((session, key))) is not None:
            send.result = result
            send.settled.set()

    async def release_send(self, session: str, key: str) -> None:
        if (send := self._sends.pop((session, key), None)) is not None:
            send.settled.set()

    def _drop_old_sends(self) -> None:
        """Oldest first, up to one that has to be kept."""
        now = self._clock()
        while self._sends:
            oldest, send = next(iter(self._sends.items()))
            due = now - send.began >= KEPT_SEND_SECONDS or len(self._sends) > self._kept_sends
            if not due or (send.result is None and now < send.deadline):
                break
            del self._sends[oldest]

    # The budget

    async def spend(self, upstream: str, budget: Budget, reserve: float) -> Allowance:
        now = self._clock()
        bucket = self._buckets.get(upstream) or Bucket(budget.capacity, now)
        bucket, wait = bucket.take(budget, reserve, now)
        self._buckets[upstream] = bucket
        return Allowance(wait, bucket.level(budget))

    async def give_back(self, upstream: str, budget: Budget) -> None:
        if (bucket := self._buckets.get(upstream)) is not None:
            self._buckets[upstream] = bucket.give_back(budget)

    async def pause(self, upstream: str, budget: Budget, seconds: float) -> None:
        now = self._clock()
        bucket = self._buckets.get(upstream) or Bucket(budget.capacity, now)
        self._buckets[upstream] = bucket.pause(now, seconds)

    # Sessions

    def _session(self, session: str) -> _Session:
        now = self._clock()
        if (state := self._sessions.get(session)) is None:
            self._drop_unused(now)
            state = self._sessions[session] = _Session(Log(kept=self._kept_events), secrets.token_hex(6), now, now)
            state.log.closed = self._closing
        state.used = now
        self._sessions.move_to_end(session)
        return state

    def _drop_unused(self, now: float) -> None:
        """Oldest first, so that a creation pays for what has fallen due since the last one."""
        for session, state in list(self._sessions.items()):
            if now - state.used < KEPT_SECONDS:
                break
            if state.log.readers == 0:
                del self._sessions[session]
            else:
                state.used = now
                self._sessions.move_to_end(session)
