"""Whether upstream may be asked now: the budget that all workers share, and upstream's own word on it."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import anyio

from widget_proxy.broker import Allowance, Broker, BrokerUnavailable
from widget_proxy.pacing import Bucket, Budget, Purpose, clamp_retry_after, jittered
from widget_proxy.upstream import UpstreamBusy, UpstreamClient

logger = logging.getLogger(__name__)

SEND_PATIENCE = 3.0
"""Seconds a visitor's send waits for room before it is refused. With the budget spent, its next request is due after
less than that, unless upstream ordered a pause."""

ALONE_SHARE = 0.25
"""Share of the budget that a worker allows itself while it cannot ask the broker what the others spend; less where
there are more than four."""


@dataclass(frozen=True, slots=True)
class Turn:
    """`wait` 0: ask now, it is counted. Else seconds until it may be tried again. `level`: how full the budget is."""

    wait: float
    level: float


class Turns:
    """Gives turns to ask. `clock` is monotonic seconds; `chance` draws a number from 0 up to 1."""

    def __init__(
        self,
        broker: Broker,
        budget: Budget,
        chance: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        workers: int = 1,
    ) -> None:
        self._broker = broker
        self._budget = budget
        self._chance = chance
        self._clock = clock
        self._alone = Budget(max(1, int(budget.requests * min(ALONE_SHARE, 1 / workers))), budget.seconds)
        self._buckets: dict[str, Bucket] = {}
        self._levels: dict[str, float] = {}
        self._looked: dict[str, float] = {}  # when
        self._refused: dict[str, float] = {}  # buckets of sessions and channels, and until when

    def level(self, client: UpstreamClient) -> float:
        """How full the budget was when it was last looked at."""
        return self._levels.get(client.base_url, 1.0)

    def levels(self) -> dict[str, float]:
        """How full the budget of each upstream is, by its address: as it was last looked at, and refilled since. What
        other workers took meanwhile is not in it."""
        now, budget = self._clock(), self._budget
        refill = budget.rate / budget.capacity
        return {host: min(1.0, level + (now - self._looked[host]) * refill) for host, level in self._levels.items()}

    @property
    def rate(self) -> float:
        """Requests a second that the budget allows for ever."""
        return self._budget.rate

    async def take(self, client: UpstreamClient, reserve: float) -> Turn:
        """One request, where it leaves this share of the budget for more urgent ones."""
        host = client.base_url
        try:
            allowance = await self._broker.spend(host, self._budget, reserve)
        except BrokerUnavailable:
            allowance = self._spend_alone(host, reserve)
        self._levels[host] = allowance.level
        self._looked[host] = self._clock()
        return Turn(allowance.wait, allowance.level)

    async def give_back(self, client: UpstreamClient) -> None:
        """What was taken is not asked after all."""
        with suppress(BrokerUnavailable):
            await self._broker.give_back(client.base_url, self._budget)

    async def take_for_send(self, client: UpstreamClient, bucket: str) -> None:
        """A visitor's own request: waits a little for its turn. Raises `UpstreamBusy`."""
        now = self._clock()
        # Not by the headers alone: an instance that does not enforce its limits sends them all the same.
        if (until := self._refused.get(bucket, 0.0)) > now:
            raise UpstreamBusy("upstream allows no more of these just now", until - now, for_all=False)
        while (turn := await self.take(client, Purpose.SEND.value)).wait > 0:
            if self._clock() + turn.wait > now + SEND_PATIENCE:
                logger.warning("the budget of %s for upstream is spent: a visitor has to wait", self._budget)
                raise UpstreamBusy("the budget is spent", turn.wait, for_all=False)
            await anyio.sleep(jittered(turn.wait, self._chance()))

    def standing(self, client: UpstreamClient, session_id: str) -> tuple[int, int, float] | None:
        """A session's own allowance: its limit, how much of it remains, and for how many seconds; None where upstream
        has not said."""
        now = self._clock()
        standing = client.standing(session_id, now)
        return None if standing is None else (standing.limit, standing.remaining, standing.left(now))

    async def note_busy(self, client: UpstreamClient, bucket: str, error: UpstreamBusy) -> float:
        """Upstream asked to wait; seconds that whoever asked should. Everybody does where everybody is meant."""
        seconds, now = clamp_retry_after(error.retry_after, self._chance()), self._clock()
        if not error.for_all:
            self._refused = {one: until for one, until in self._refused.items() if until > now}
            self._refused[bucket] = now + seconds
            return seconds
        with suppress(BrokerUnavailable):
            await self._broker.pause(client.base_url, self._budget, seconds)
        alone = self._buckets.get(client.base_url) or Bucket(self._alone.capacity, now)
        self._buckets[client.base_url] = alone.pause(now, seconds)
        return seconds

    def _spend_alone(self, host: str, reserve: float) -> Allowance:
        now = self._clock()
        bucket = self._buckets.get(host) or Bucket(self._alone.capacity, now)
        bucket, wait = bucket.take(self._alone, reserve, now)
        self._buckets[host] = bucket
        return Allowance(wait, bucket.level(self._alone))
