"""How often somebody may ask for what costs something upstream: a session, a client address, a site.

Counted just before it costs, so that whatever is refused for another reason, and a message told twice, is free. The
narrowest is asked first: who is over it takes nothing from the others behind the same address, or on the same site.

The counting is throttled-py's: one number a name (GCRA), in memory or in Redis. Redis away makes nobody wait and
refuses nobody: this process counts by itself until it is back, and looks for it now and then. A flood then gets as
many times its rate as there are processes, for as long; the budget of upstream requests stands behind it.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, Self, cast

import anyio
from starlette.requests import Request
from throttled.asyncio import MemoryStore, RedisStore, Throttled, rate_limiter
from throttled.exceptions import StoreUnavailableError

from widget_proxy.client_address import visitor_who
from widget_proxy.config import RatesSettings, RedisSettings
from widget_proxy.pacing import Budget
from widget_proxy.problems import Problem

logger = logging.getLogger(__name__)

REDIS_SECONDS = 0.5
"""Time for Redis to count. Without it there is another way, so nobody waits for long."""

AWAY_SECONDS = 5.0
"""After Redis failed to answer it is left alone for so long."""

REDIS_CONNECTIONS = 8

NAMES = 100_000
"""Sessions and addresses counted in memory at once, of some 300 bytes each. Beyond it, whoever asked least recently
is forgotten."""

AT_ONCE = 0.5
"""Share of a rate that may be asked for at one moment. What is left over comes back with the time, so that no window,
wherever it begins, holds more than the rate."""

What = Literal["starts", "messages", "uploads", "downloads", "streams"]

_DETAILS = {
    "session": "This conversation is going too fast.",
    "address": "Too much comes from your network just now.",
    "site": "Too many visitors are chatting just now.",
}


class TooManyRequests(Problem):
    """Somebody is over a rate; `policy` says which, such as `starts-per-address`."""

    def __init__(self, policy: str, rate: Budget, retry_after: float) -> None:
        self.policy = policy
        seconds = max(1, math.ceil(retry_after))
        again = "in a second" if seconds == 1 else f"in {seconds} seconds"
        super().__init__(
            "too_many_requests",
            f"{_DETAILS[policy.rpartition('-')[2]]} Please try again {again}.",
            headers={
                "Retry-After": str(seconds),
                # draft-ietf-httpapi-ratelimit-headers-10: q, as many in a window of w seconds; r, none now, for t.
                "RateLimit-Policy": f'"{policy}";q={rate.requests};w={math.ceil(rate.seconds)}',
                "RateLimit": f'"{policy}";r=0;t={seconds}',
            },
            # Nothing was asked of upstream; a message can be sent again without looking first.
            extra={"fate": "not_sent"} if policy.startswith("messages") else None,
        )


class _Limit:
    """One rate, counted for any number of names."""

    def __init__(self, policy: str, rate: Budget, prefix: str) -> None:
        self.policy = policy
        self.rate = rate
        self._prefix = prefix
        at_once = max(1, math.ceil(rate.requests * AT_ONCE))
        self._quota = rate_limiter.per_duration(
            # It counts whole seconds; a thousand times as many in a thousand times as long is the same.
            timedelta(seconds=round(1000 * rate.seconds)),
            1000 * max(1, rate.requests - at_once),
            burst=at_once,
        )

    def on(self, store: MemoryStore | RedisStore) -> Throttled:
        """Counted in this store."""
        return Throttled(
            using="gcra",
            quota=self._quota,
            store=store,
            key_prefix=f"{self._prefix}:rate:{self.policy}".lstrip(":"),  # it takes none that begins with one
        )


class Rates:
    """All rates. Open it with `async with`. `clock` says when Redis is looked for again; it has `redis_seconds` to
    count."""

    def __init__(
        self,
        settings: RatesSettings,
        redis: RedisSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        redis_seconds: float = REDIS_SECONDS,
    ) -> None:
        self._clock = clock
        self._redis_seconds = redis_seconds
        self._away_until = 0.0
        memory = MemoryStore(options={"MAX_SIZE": NAMES})
        self._redis = None if redis.url is None else _redis_store(redis.url.get_secret_value(), redis_seconds)
        limits = [
            _Limit(name.replace("_", "-"), getattr(settings, name), redis.prefix)
            for name in RatesSettings.model_fields
        ]
        self._rates = {limit.policy: limit.rate for limit in limits}
        self._here = {limit.policy: limit.on(memory) for limit in limits}
        self._shared = {} if self._redis is None else {limit.policy: limit.on(self._redis) for limit in limits}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._redis is not None:
            await _client_of(self._redis).aclose(close_connection_pool=True)

    async def spend(self, what: What, request: Request, site: str, session: str | None = None) -> None:
        """One of `what` is about to be done. Raises `TooManyRequests` where that is over a rate."""
        names = {"session": session, "address": visitor_who(request.scope), "site": site}
        for kind, name in names.items():
            policy = f"{what}-per-{kind}"
            if name is None or policy not in self._rates:
                continue
            limited, retry_after = await self._count(policy, name)
            if limited:
                raise TooManyRequests(policy, self._rates[policy], retry_after)

    async def _count(self, policy: str, name: str) -> tuple[bool, float]:
        if self._shared and self._clock() >= self._away_until:
            try:
                # Given up after a while, and not with the visitor: that may lose the connection to its pool.
                with anyio.CancelScope(shield=True):
                    async with asyncio.timeout(self._redis_seconds):
                        result = await self._shared[policy].limit(name)
            except (StoreUnavailableError, OSError, TimeoutError) as error:
                if self._clock() >= self._away_until:
                    logger.warning(
                        "Redis does not count (%s); rates hold for this process alone until it does",
                        type(error if isinstance(error, TimeoutError) else error.__cause__ or error).__name__,
                    )
                self._away_until = self._clock() + AWAY_SECONDS
            else:
                return result.limited, result.state.retry_after
        result = await self._here[policy].limit(name)
        return result.limited, result.state.retry_after


def _redis_store(url: str, seconds: float) -> RedisStore:
    """On connections of its own: the broker waits for Redis for longer than anybody waits here."""
    connections = {
        "max_connections": REDIS_CONNECTIONS,
        "timeout": seconds,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
    }
    options = {
        "CONNECTION_POOL_CLASS": "redis.asyncio.BlockingConnectionPool",
        "CONNECTION_POOL_KWARGS": connections,
    }
    return RedisStore(url, options)


def _client_of(store: RedisStore) -> Any:
    """throttled-py opens a client and has no word to close it."""
    return cast("Any", store)._backend.get_client()
