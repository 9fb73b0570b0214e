"""What this process has read of the sessions' logs in Redis, kept up to date by doorbells.

A message on a session's channel is only a doorbell: whoever hears it reads the log on from where it stood, so that a
missed ring costs nothing. Each session somebody here listens to has one copy, however many streams read it.

One connection hears all bells, and one task uses it. Visitors never touch it: they say which session they want and
wait for its copy. A command that is cancelled with its visitor would take the connection down for all, and a
subscription asked for while it closes would take another from the pool for ever.
"""

import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from widget_proxy.broker import BrokerUnavailable
from widget_proxy.broker.log import Log, LogSubscription
from widget_proxy.broker.redis_entries import Rows, entry_of
from widget_proxy.pacing import backoff

logger = logging.getLogger(__name__)

RING_SECONDS = 10.0
"""How often a process rings at its own door. It hears nothing else where nobody says anything."""

RINGS_AT_ONCE = 500

_FAILURES = (RedisError, OSError, TimeoutError)


class _Copy:
    """What was read of one session's log. `number` counts its entries in this epoch, `last` is the newest's id."""

    __slots__ = ("epoch", "last", "loaded", "log", "number", "users")

    def __init__(self, kept: int) -> None:
        self.log = Log(kept=kept)
        self.epoch: str | None = None
        self.last = "-"
        self.number = 0
        self.loaded = anyio.Event()
        self.users = 0


class LogCopies:
    """Run `run` as long as there are subscribers. `key(kind, name)` names a key; a subscriber waits `patience`
    seconds for its copy."""

    def __init__(self, redis: Redis, key: Callable[[str, str], str], kept_events: int, patience: float) -> None:
        self._redis = redis
        self._key = key
        self._kept_events = kept_events
        self._patience = patience
        self._copies: dict[str, _Copy] = {}
        self._closing = False
        self._wanted: set[str] = set()
        self._left: set[str] = set()
        self._reading = anyio.CancelScope()

    @asynccontextmanager
    async def subscribe(self, session: str, after: str | None) -> AsyncIterator[LogSubscription]:
        """A reader of this session's log, from the entry after the cursor on. Raises `BrokerUnavailable`."""
        copy = self._copies.get(session)
        if copy is None:
            copy = self._copies[session] = _Copy(self._kept_events)
            self._wanted.add(session)
            self._reading.cancel()
        copy.users += 1
        try:
            if not copy.loaded.is_set():
                with anyio.move_on_after(self._patience):
                    await copy.loaded.wait()
                if not copy.loaded.is_set():
                    raise BrokerUnavailable("Redis did not tell the log in time")
            log = copy.log
            subscription = log.subscribe(_index_after(log, after))
            try:
                yield subscription
            finally:
                log.unsubscribe(subscription)
        finally:
            copy.users -= 1
            if not copy.users and self._copies.get(session) is copy:
                del self._copies[session]
                self._left.add(session)
                self._reading.cancel()

    def close(self) -> None:
        """Every reader ends, and whoever still comes."""
        self._closing = True
        for copy in self._copies.values():
            copy.log.close()

    async def run(self) -> None:
        """For ever: keeps the connection on which doorbells come, and reads on where one rang."""
        failures = 0
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    # Whoever came while there was no connection is in `_copies`; the acknowledgement loads the copy.
                    self._wanted = {"", *self._copies}
                    self._left.clear()
                    await self._follow_visitors(pubsub)
                    if failures:
                        logger.warning("Redis can be reached again")
                    failures = 0
                    await self._attend_doors(pubsub)
            except _FAILURES as error:
                failures += 1
                if failures == 1:
                    logger.error(  # noqa: TRY400 # a refused connection needs no traceback
                        "Redis cannot be reached (%s). Open streams stay open and go on when it is back; "
                        "check WIDGET_PROXY_REDIS_URL and the Redis server",
                        type(error).__name__,
                    )
                # Idle connections to a server that went are found dead one by one, each by a failed request.
                with suppress(*_FAILURES):
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
            await anyio.sleep(backoff(failures, random.random(), base=0.2, longest=2.0))  # noqa: S311 # jitter

    async def _follow_visitors(self, pubsub: PubSub) -> None:
        """Subscribe to whom somebody came for, and leave whom everybody left, all that there are at once."""
        # Somebody who came again after all had left has a new copy, which only an acknowledgement loads.
        wanted = [self._key("bell", one) for one in self._wanted if not one or one in self._copies]
        left = [self._key("bell", one) for one in self._left if one not in self._copies]
        self._wanted.clear()
        self._left.clear()
        if wanted:
            await pubsub.subscribe(*wanted)
        if left:
            await pubsub.unsubscribe(*left)

    async def _attend_doors(self, pubsub: PubSub) -> None:
        """Until the connection fails. Silence may be a dead one, which nobody tells: this process rings at its own
        door now and then, and has to hear it."""
        heard = rang = anyio.current_time()
        while True:
            await self._follow_visitors(pubsub)
            if await self._answer_doors(pubsub):
                heard = anyio.current_time()
            elif anyio.current_time() - heard > 3 * RING_SECONDS:
                raise TimeoutError
            if anyio.current_time() - rang > RING_SECONDS:
                rang = anyio.current_time()
                await self._redis.publish(self._key("bell", ""), "")

    async def _answer_doors(self, pubsub: PubSub) -> bool:
        """Take all rings there are, then read each session's log on, in one round trip. Whether there were any. It is
        over before the first ring where visitors came or left."""
        rung: set[str] = set()
        message = None
        with anyio.CancelScope() as self._reading:
            if not (self._wanted or self._left):
                message = await pubsub.get_message(timeout=RING_SECONDS / 2)
        while message is not None:
            # An acknowledged subscription counts as a ring: it may be a new connection that missed some.
            if message["type"] in {"message", "subscribe"}:
                rung.add(message["channel"].removeprefix(self._key("bell", "")))
            message = await pubsub.get_message(timeout=0) if len(rung) < RINGS_AT_ONCE else None
        copies = [(session, copy) for session in rung if (copy := self._copies.get(session)) is not None]
        if not copies:
            return bool(rung)
        pipeline = self._redis.pipeline(transaction=True)
        for session, copy in copies:
            pipeline.hget(self._key("about", session), "epoch")
            pipeline.xrange(self._key("log", session), "-" if copy.last == "-" else f"({copy.last}")
        told = await pipeline.execute()
        for (session, copy), epoch, rows in zip(copies, told[::2], told[1::2], strict=True):
            try:
                # Entries are numbered from 1 in each epoch: a gap means that some were trimmed before they were read.
                missed = copy.loaded.is_set() and rows and int(rows[0][1]["n"]) != copy.number + 1
                if missed or (copy.epoch is not None and epoch != copy.epoch):
                    await self._begin_anew(session, copy)
                else:
                    self._read_on(copy, epoch, rows)
            except (ValueError, KeyError, TypeError):
                logger.exception("session %s: its log in Redis is not as it was written; delete its keys", session)
                copy.log.close()
        return True

    def _read_on(self, copy: _Copy, epoch: str | None, rows: Rows) -> None:
        copy.epoch = epoch
        if rows:
            copy.last, copy.number = rows[-1][0], int(rows[-1][1]["n"])
            copy.log.append(entry_of(*one) for one in rows)
        copy.log.closed = copy.log.closed or self._closing
        copy.loaded.set()

    async def _begin_anew(self, session: str, copy: _Copy) -> None:
        """Redis has another log, or more of it than was read here: whoever reads this copy starts over."""
        copy.log.close()
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hget(self._key("about", session), "epoch")
        pipeline.xrange(self._key("log", session))
        epoch, rows = await pipeline.execute()
        copy.log, copy.last = Log(kept=self._kept_events), "-"
        self._read_on(copy, epoch, rows)


def _index_after(log: Log, cursor: str | None) -> int:
    """Index of the first entry after `cursor`; 0 where the log does not have it."""
    if cursor:
        for index in range(len(log.entries) - 1, -1, -1):
            if log.entries[index].cursor == cursor:
                return index + 1
    return 0
