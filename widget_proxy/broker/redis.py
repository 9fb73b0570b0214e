"""The broker of several workers. Everything durable is in Redis; `memory` says what each method means.

A session's log is a Redis stream, so that an entry's id is the cursor. A message on the session's channel is only a
doorbell: whoever hears it reads the stream on from where it stood, so that a missed ring costs nothing. Each session
somebody here listens to has one copy in this process, however many streams read it.

Keys, after the prefix: `log:S` stream · `seen:S` identities · `about:S` epoch, who polled and when, last activity ·
`send:S:K` idempotency keys · `answers:due|owner|handle` answers in the making · `budget:H` the bucket of a host
· `bearer:N` access tokens, sealed · `bearer-claim:N` who fetches one · `thumbs:S` thumbs by message.
Transcripts are in there as they are; upstream's session ids and tokens are only in sealed handles.
"""

import hashlib
import json
import logging
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Self, cast

import anyio
from anyio.abc import TaskGroup
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from widget_proxy.broker import (
    KEPT_EVENTS,
    KEPT_IDENTITIES,
    KEPT_SECONDS,
    KEPT_SEND_SECONDS,
    TAKEOVER_SHARE,
    Allowance,
    BrokerUnavailable,
    Entry,
    MessagePoll,
    PendingAnswer,
    SendClaim,
    redis_scripts,
)
from widget_proxy.broker.bearers import RedisBearers, SharedBearers
from widget_proxy.broker.log import Log, LogSubscription
from widget_proxy.broker.thumbs import RedisThumbs, SharedThumbs
from widget_proxy.messages import Event
from widget_proxy.pacing import Budget, backoff

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
"""Time for Redis to answer. It stands beside us; a visitor waits no longer for it to come back."""

RING_SECONDS = 10.0
"""How often a process rings at its own door. It hears nothing else where nobody says anything."""

CONNECTIONS = 32

UNATTENDED_AT_ONCE = 200

_FAILURES = (RedisError, OSError, TimeoutError)


class _Copy:
    """What this process has read of a session's log."""

    __slots__ = ("epoch", "last", "loaded", "log", "number", "users")

    def __init__(self, kept: int) -> None:
        self.log = Log(kept=kept)
        self.epoch: str | None = None
        self.last = "-"
        self.number = 0
        self.loaded = anyio.Event()
        self.users = 0


class RedisBroker:
    """Open it with `async with`. `url` as redis-py takes it: `redis://`, `rediss://`, `unix://`."""

    def __init__(self, url: str, *, prefix: str = "widget-proxy", kept_events: int = KEPT_EVENTS) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            health_check_interval=15,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),  # whoever asks decides whether to ask again
        )
        self._redis = Redis.from_pool(pool)
        self._prefix = prefix
        self._kept_events = kept_events
        self._worker = secrets.token_hex(8)
        self.bearers: SharedBearers = RedisBearers(self._redis, self._key, self._reach)
        self.thumbs: SharedThumbs = RedisThumbs(self._redis, self._key, self._reach)
        self._copies: dict[str, _Copy] = {}
        self._pubsub: PubSub | None = None
        self._group: TaskGroup | None = None
        self._closing = False
        self._refused = False
        scripts = {name: text for name, text in vars(redis_scripts).items() if name.isupper() and name[0] != "_"}
        self._scripts = {name: self._redis.register_script(text) for name, text in scripts.items()}

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._listen)
        self._group.start_soon(self._look_at_eviction)
        return self

    async def __aexit__(self, *exception: Any) -> bool | None:
        self.close_subscribers()
        if self._group is None:
            return None
        self._group.cancel_scope.cancel()
        try:
            return await self._group.__aexit__(*exception)
        finally:
            with anyio.CancelScope(shield=True):
                await self._redis.aclose()

    async def look(self) -> None:
        await self._reach(self._redis.ping())

    # The log

    async def publish(self, session: str, events: Sequence[Event]) -> None:
        if not events:
            return
        described: list[str | int] = []
        for event in events:
            described += [event.identity or "", _written(event), int(event.is_activity)]
        await self._script(
            "PUBLISH",
            [self._key("log", session), self._key("seen", session), self._key("about", session)],
            [
                self._kept_events,
                KEPT_IDENTITIES,
                int(KEPT_SECONDS),
                secrets.token_hex(6),
                self._key("bell", session),
                *described,
            ],
        )

    async def is_published(self, session: str, identity: str) -> bool:
        return await self._reach(self._redis.zscore(self._key("seen", session), identity)) is not None

    async def entries(self, session: str) -> Sequence[Entry]:
        return [_entry(*one) for one in await self._reach(self._redis.xrange(self._key("log", session)))]

    @asynccontextmanager
    async def subscribe(self, session: str, after: str | None) -> AsyncIterator[LogSubscription]:
        copy = self._copies.get(session)
        if copy is None:
            copy = self._copies[session] = _Copy(self._kept_events)
        copy.users += 1
        try:
            if not copy.loaded.is_set():
                await self._hear(session)
                with anyio.move_on_after(ANSWER_SECONDS):
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
                with anyio.move_on_after(ANSWER_SECONDS, shield=True):
                    await self._hear_no_more(session)

    def close_subscribers(self) -> None:
        self._closing = True
        for copy in self._copies.values():
            copy.log.close()

    # Who polls the message list

    async def claim_message_poll(self, session: str, interval: float, *, ask_only: bool = False) -> MessagePoll:
        keys = [self._key("about", session), self._key("log", session), self._key("seen", session)]
        arguments = [self._worker, interval, TAKEOVER_SHARE, int(KEPT_SECONDS), int(ask_only)]
        wait, quiet = await self._script("CLAIM_MESSAGE_POLL", keys, arguments)
        return MessagePoll(float(wait), float(quiet))

    # Who polls for an answer

    async def attend_answer(self, session: str, answer: PendingAnswer, seconds: float) -> bool:
        keys = [*self._answers("due", "owner", "handle"), self._key("about", session)]
        arguments = [answer.ref, answer.handle, self._worker, seconds, int(KEPT_SECONDS)]
        return bool(await self._script("ATTEND_ANSWER", keys, arguments))

    async def keep_answer(self, ref: str, seconds: float) -> bool:
        return bool(await self._script("KEEP_ANSWER", self._answers("due", "owner"), [ref, self._worker, seconds]))

    async def leave_answer(self, ref: str) -> None:
        await self._script("LEAVE_ANSWER", self._answers("due", "owner"), [ref, self._worker])

    async def finish_answer(self, ref: str) -> None:
        due, owner, handle = self._answers("due", "owner", "handle")
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zrem(due, ref)
        pipeline.hdel(owner, ref)
        pipeline.hdel(handle, ref)
        await self._reach(pipeline.execute())

    async def unattended_answers(self) -> Sequence[PendingAnswer]:
        told = await self._script("UNATTENDED_ANSWERS", self._answers("due", "handle"), [UNATTENDED_AT_ONCE])
        return [PendingAnswer(ref, handle) for ref, handle in zip(told[::2], told[1::2], strict=True)]

    # Sends

    async def claim_send(self, session: str, key: str, fingerprint: str, seconds: float) -> SendClaim:
        keys = [self._send(session, key), self._key("about", session)]
        arguments = [fingerprint, seconds, int(KEPT_SEND_SECONDS * 1000), int(KEPT_SECONDS)]
        while True:
            state, told = await self._script("CLAIM_SEND", keys, arguments)
            if state != "wait":
                return SendClaim(state, json.loads(told) if state == "done" else None)
            await anyio.sleep(min(float(told), 0.1))

    async def settle_send(self, session: str, key: str, result: dict[str, Any]) -> None:
        await self._script("SETTLE_SEND", [self._send(session, key)], [json.dumps(result)])

    async def release_send(self, session: str, key: str) -> None:
        await self._reach(self._redis.delete(self._send(session, key)))

    # The budget

    async def spend(self, upstream: str, budget: Budget, reserve: float) -> Allowance:
        arguments = [budget.capacity, budget.rate, reserve, int(budget.seconds) + 600]
        wait, level = await self._script("SPEND", [self._key("budget", upstream)], arguments)
        return Allowance(float(wait), float(level))

    async def give_back(self, upstream: str, budget: Budget) -> None:
        await self._script("GIVE_BACK", [self._key("budget", upstream)], [budget.capacity])

    async def pause(self, upstream: str, budget: Budget, seconds: float) -> None:
        await self._script("PAUSE", [self._key("budget", upstream)], [seconds, int(budget.seconds) + 600])

    # Doorbells

    async def _listen(self) -> None:
        """Keeps the connection on which doorbells come, and reads on where one rang."""
        failures = 0
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    # Whoever came while there was no connection is in `_copies`; the acknowledgement loads the copy.
                    asked = ["", *self._copies]
                    await pubsub.subscribe(*(self._key("bell", one) for one in asked))
                    self._pubsub = pubsub
                    for late in [one for one in self._copies if one not in asked]:
                        await pubsub.subscribe(self._key("bell", late))
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
            finally:
                self._pubsub = None
            await anyio.sleep(backoff(failures, random.random(), base=0.2, longest=2.0))  # noqa: S311 # jitter

    async def _attend_doors(self, pubsub: PubSub) -> None:
        """Until the connection fails. Silence may be a dead one, which nobody tells: this process rings at its own
        door now and then, and has to hear it."""
        heard = rang = anyio.current_time()
        while True:
            if await self._answer_doors(pubsub):
                heard = anyio.current_time()
            elif anyio.current_time() - heard > 3 * RING_SECONDS:
                raise TimeoutError
            if anyio.current_time() - rang > RING_SECONDS:
                rang = anyio.current_time()
                await self._redis.publish(self._key("bell", ""), "")

    async def _answer_doors(self, pubsub: PubSub) -> bool:
        """Take all rings there are, then read each session's log on, in one round trip. Whether there were any."""
        rung: set[str] = set()
        message = await pubsub.get_message(timeout=RING_SECONDS / 2)
        while message is not None:
            # An acknowledged subscription counts as a ring: it may be a new connection that missed some.
            if message["type"] in {"message", "subscribe"}:
                rung.add(message["channel"].removeprefix(self._key("bell", "")))
            message = await pubsub.get_message(timeout=0) if len(rung) < 500 else None
        copies = [(session, copy) for session in rung if (copy := self._copies.get(session)) is not None]
        if not copies:
            return bool(rung)
        pipeline = self._redis.pipeline(transaction=True)
        for session, copy in copies:
            pipeline.hget(self._key("about", session), "epoch")
            pipeline.xrange(self._key("log", session), "-" if copy.last == "-" else f"({copy.last}")
        told = await pipeline.execute()
        for (session, copy), epoch, rows in zip(copies, told[::2], told[1::2], strict=True):
            # Entries are numbered from 1 in each epoch: a gap means that some were trimmed before they were read.
            missed = copy.loaded.is_set() and rows and int(rows[0][1]["n"]) != copy.number + 1
            if missed or (copy.epoch is not None and epoch != copy.epoch):
                await self._begin_anew(session, copy)
            else:
                self._read_on(copy, epoch, rows)
        return True

    def _read_on(self, copy: _Copy, epoch: str | None, rows: list[tuple[str, dict[str, str]]]) -> None:
        copy.epoch = epoch
        if rows:
            copy.last, copy.number = rows[-1][0], int(rows[-1][1]["n"])
            copy.log.append(_entry(*one) for one in rows)
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

    async def _hear(self, session: str) -> None:
        # Without a connection the listener will subscribe, and the copy is loaded then.
        if self._pubsub is not None:
            await self._reach(self._pubsub.subscribe(self._key("bell", session)))

    async def _hear_no_more(self, session: str) -> None:
        try:
            if self._pubsub is not None:
                await self._reach(self._pubsub.unsubscribe(self._key("bell", session)))
            if session in self._copies:  # somebody came meanwhile
                await self._hear(session)
        except BrokerUnavailable:
            pass  # there is no connection any more, and so no subscription

    async def _look_at_eviction(self) -> None:
        """Once: what Redis evicts for room is lost in the middle of its use."""
        try:
            told = await self._redis.info("memory")
        except _FAILURES:
            return  # it is not there, which is told elsewhere, or does not answer everybody this
        policy = str(told.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction" and told.get("maxmemory"):
            logger.warning(
                "Redis may evict what is shared here, idempotency keys and the budget too: a message could be sent "
                "twice. Set maxmemory-policy to noeviction instead of %s",
                policy,
            )

    # Small things

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}:{kind}:{name}"

    def _answers(self, *fields: str) -> list[str]:
        return [self._key("answers", field) for field in fields]

    def _send(self, session: str, key: str) -> str:
        return self._key("send", f"{session}:{hashlib.sha256(key.encode()).hexdigest()[:32]}")

    async def _script(self, name: str, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        return await self._reach(self._scripts[name](keys=list(keys), args=cast("list[str]", list(arguments))))

    async def _reach(self, answer: Awaitable[Any]) -> Any:
        try:
            told = await answer
        except _FAILURES as error:
            if not self._refused:
                self._refused = True
                logger.warning("Redis does not do what it is asked: %s: %s", type(error).__name__, error)
            raise BrokerUnavailable(f"Redis does not answer: {type(error).__name__}") from error
        if self._refused:
            self._refused = False
            logger.warning("Redis does what it is asked again")
        return told


def _entry(cursor: str, fields: dict[str, str]) -> Entry:
    name, data, identity, at, *more = json.loads(fields["e"])
    moment = None if at is None else datetime.fromtimestamp(at, UTC)
    return Entry(cursor, Event(name, data, identity, moment, *more))


def _written(event: Event) -> str:
    at = None if event.at is None else event.at.timestamp()
    # Few events have a `reply`, and none that was written before there were any.
    parts = [event.name, event.data, event.identity, at, *([event.reply] if event.reply else [])]
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))


def _index_after(log: Log, cursor: str | None) -> int:
    """Index of the first entry after `cursor`; 0 where the log does not have it."""
    if cursor:
        for index in range(len(log.entries) - 1, -1, -1):
            if log.entries[index].cursor == cursor:
                return index + 1
    return 0


__all__ = ["RedisBroker"]
