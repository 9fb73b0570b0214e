"""Which thumb stands under which message: upstream's tags are of a whole session, so that only all thumbs together
say which tag still holds."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEPT_THUMBS_SECONDS = 7 * 24 * 3600.0
"""As long as a handle is good, from the last thumb."""

KEPT_RATED_SESSIONS = 10_000
"""Sessions with thumbs that one process remembers, some 1 kB each; those rated least recently go first."""


class SharedThumbs(Protocol):
    """All raise `BrokerUnavailable`. `session` is a log key, `key` a message's."""

    async def standing(self, session: str) -> dict[str, str]:
        """The thumbs of a session, by message."""
        ...

    async def note(self, session: str, key: str, value: str | None) -> None:
        """This one stands from now on; None: none does."""
        ...


class MemoryThumbs:
    """Those of one process, and the specification of the others. `clock` is seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, kept: int = KEPT_RATED_SESSIONS) -> None:
        self._clock = clock
        self._kept = kept
        self._sessions: OrderedDict[str, tuple[float, dict[str, str]]] = OrderedDict()

    async def standing(self, session: str) -> dict[str, str]:
        until, thumbs = self._sessions.get(session, (0.0, {}))
        return dict(thumbs) if until > self._clock() else {}

    async def note(self, session: str, key: str, value: str | None) -> None:
        thumbs = await self.standing(session)
        thumbs.pop(key, None)
        if value is not None:
            thumbs[key] = value
        self._sessions[session] = (self._clock() + KEPT_THUMBS_SECONDS, thumbs)
        self._sessions.move_to_end(session)
        while len(self._sessions) > self._kept:
            self._sessions.popitem(last=False)


class RedisThumbs:
    """Those of all workers. `key` makes a key of a kind and a name; `reach` waits for an answer of Redis."""

    def __init__(
        self, redis: "Redis", key: Callable[[str, str], str], reach: Callable[[Awaitable[Any]], Awaitable[Any]]
    ) -> None:
        self._redis = redis
        self._key = key
        self._reach = reach

    async def standing(self, session: str) -> dict[str, str]:
        thumbs: dict[str, str] = await self._reach(self._redis.hgetall(self._key("thumbs", session)))
        return thumbs

    async def note(self, session: str, key: str, value: str | None) -> None:
        name = self._key("thumbs", session)
        pipeline = self._redis.pipeline(transaction=True)
        if value is None:
            pipeline.hdel(name, key)
        else:
            pipeline.hset(name, key, value)
        pipeline.expire(name, int(KEPT_THUMBS_SECONDS))
        await self._reach(pipeline.execute())
