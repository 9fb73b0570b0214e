"""The broker of several workers. Everything durable is in Redis; `memory` says what each method means.

A session's log is a Redis stream, so that an entry's id is the cursor. Whoever listens reads it from this process's
copy (`log_copies`), which the session's channel rings for.

Keys, after the prefix: `log:S` stream · `seen:S` identities · `about:S` epoch, who polled and when, last activity ·
`send:S:K` idempotency keys · `answers:due|owner|handle` answers in the making · `budget:H` the bucket of a host
· `bearer:N` access tokens, sealed · `bearer-claim:N` who fetches one · `thumbs:S` thumbs by message.
Transcripts are in there as they are; upstream's session ids and tokens are only in sealed handles.
"""

import hashlib
import json
import logging
import secrets
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, cast

import anyio
from anyio.abc import TaskGroup
from redis.asyncio import BlockingConnectionPool, Redis
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
from widget_proxy.broker.log import LogSubscription
from widget_proxy.broker.log_copies import LogCopies
from widget_proxy.broker.redis_entries import entry_of, written
from widget_proxy.broker.thumbs import RedisThumbs, SharedThumbs
from widget_proxy.messages import Event
from widget_proxy.pacing import Budget

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
"""Time for Redis to answer. It stands beside us; a visitor waits no longer for it to come back."""

CONNECTIONS = 32

UNATTENDED_AT_ONCE = 200

_FAILURES = (RedisError, OSError, TimeoutError)


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
        self._copies = LogCopies(self._redis, self._key, kept_events, ANSWER_SECONDS)
        self._group: TaskGroup | None = None
        self._refused = False
        scripts = {name: text for name, text in vars(redis_scripts).items() if name.isupper() and name[0] != "_"}
        self._scripts = {name: self._redis.register_script(text) for name, text in scripts.items()}

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._copies.run)
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
            described += [event.identity or "", written(event), int(event.is_activity)]
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
        return [entry_of(*one) for one in await self._reach(self._redis.xrange(self._key("log", session)))]

    def subscribe(self, session: str, after: str | None) -> AbstractAsyncContextManager[LogSubscription]:
        return self._copies.subscribe(session, after)

    def close_subscribers(self) -> None:
        self._copies.close()

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
            # Not given up with the visitor who caused it: that costs the connection, and may lose it to the pool.
            with anyio.CancelScope(shield=True):
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


__all__ = ["RedisBroker"]
