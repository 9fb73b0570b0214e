"""Access tokens that workers share: one fetches, all use. What lies here is sealed; the names tell nothing either.

A claim is a lease on fetching: whoever has it asks upstream, the others wait for what it keeps, and take over when
the lease runs out.
"""

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from redis.asyncio import Redis


class SharedBearers(Protocol):
    """All raise `BrokerUnavailable`."""

    async def kept(self, name: str) -> str | None:
        """What was kept under this name, if it still is."""
        ...

    async def keep(self, name: str, sealed: str, seconds: float) -> None:
        """Keep it for so long, and end the claim."""
        ...

    async def claim(self, name: str, seconds: float) -> bool:
        """Ask to be the one who fetches, for `seconds`. False: another is."""
        ...

    async def release(self, name: str) -> None:
        """End the claim: nothing came of it, and another may try."""
        ...


class MemoryBearers:
    """Those of one process, and the specification of the others. `clock` is seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[str, float]] = {}
        self._claims: dict[str, float] = {}

    async def kept(self, name: str) -> str | None:
        sealed, until = self._kept.get(name, (None, 0.0))
        return sealed if until > self._clock() else None

    async def keep(self, name: str, sealed: str, seconds: float) -> None:
        now = self._clock()
        self._kept = {one: kept for one, kept in self._kept.items() if kept[1] > now}
        self._kept[name] = (sealed, now + seconds)
        self._claims.pop(name, None)

    async def claim(self, name: str, seconds: float) -> bool:
        now = self._clock()
        if self._claims.get(name, 0.0) > now:
            return False
        self._claims[name] = now + seconds
        return True

    async def release(self, name: str) -> None:
        self._claims.pop(name, None)


class RedisBearers:
    """Those of all workers. `key` makes a key of a kind and a name; `reach` waits for an answer of Redis."""

    def __init__(
        self, redis: "Redis", key: Callable[[str, str], str], reach: Callable[[Awaitable[Any]], Awaitable[Any]]
    ) -> None:
        self._redis = redis
        self._key = key
        self._reach = reach

    async def kept(self, name: str) -> str | None:
        sealed: str | None = await self._reach(self._redis.get(self._key("bearer", name)))
        return sealed

    async def keep(self, name: str, sealed: str, seconds: float) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.set(self._key("bearer", name), sealed, px=max(1, int(seconds * 1000)))
        pipeline.delete(self._key("bearer-claim", name))
        await self._reach(pipeline.execute())

    async def claim(self, name: str, seconds: float) -> bool:
        asked = self._redis.set(self._key("bearer-claim", name), "", px=max(1, int(seconds * 1000)), nx=True)
        return bool(await self._reach(asked))

    async def release(self, name: str) -> None:
        await self._reach(self._redis.delete(self._key("bearer-claim", name)))
