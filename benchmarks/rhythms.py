"""Rhythms: when to ask for an awaited answer, and what a rhythm costs. Pure: no sockets, no clock.

With answer times of density f and survival S, asking at a rate λ(t) costs ∫Sλ polls and makes the answer late by
∫f/(2λ) on average. For a given number of polls the lag is least where λ is proportional to sqrt(f/S), the square root
of the hazard: `HazardRhythm` with the true hazard is the optimum; `proxy_rhythm` is what learning has of it.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist


class Rhythm:
    """Seconds from the send to the first poll (`first`), and from each poll to the next (`next_poll`)."""

    first: float = 0.0

    def next_poll(self, waited: float) -> float:
        """Seconds until the next poll, `waited` seconds after the send."""
        raise NotImplementedError

    def learn(self, empty: float, found: float) -> None:
        """An answer was not there after `empty` seconds, and was after `found`. Most rhythms do not care."""


@dataclass
class Uniform(Rhythm):
    """Always the same interval. The official widget's: 1 s, the first poll at once."""

    interval: float
    first: float

    def next_poll(self, waited: float) -> float:
        return self.interval


@dataclass
class Geometric(Rhythm):
    """An interval that grows with the time already waited, and is never shorter than `shortest`."""

    growth: float
    shortest: float = 0.25

    def __post_init__(self) -> None:
        self.first = self.shortest

    def next_poll(self, waited: float) -> float:
        return max(self.shortest, waited * self.growth)


class HazardRhythm(Rhythm):
    """A rate of `scale` · sqrt(hazard), the hazard being constant within each bin. `edges` are seconds, increasing;
    the last bin has no end. A poll is due whenever the rate's integral has grown by one."""

    def __init__(self, edges: Sequence[float], hazards: Sequence[float], scale: float) -> None:
        self.edges = tuple(edges)
        self.scale = scale
        self.use(hazards)

    def use(self, hazards: Sequence[float]) -> None:
        """Go by these hazards (a second) from now on."""
        self._rates = [self.scale * math.sqrt(one) for one in hazards]
        self.first = self.next_poll(0.0)

    def next_poll(self, waited: float) -> float:
        position = max(0, bisect_right(self.edges, waited) - 1)
        at, left = waited, 1.0
        while position + 1 < len(self.edges):
            gained = (self.edges[position + 1] - at) * self._rates[position]
            if gained >= left:
                break
            left -= gained
            position += 1
            at = self.edges[position]
        return at + left / max(self._rates[position], 1e-9) - waited


@dataclass(frozen=True)
class LogNormal:
    """Answer times: log-normal, `median` in seconds."""

    median: float
    sigma: float

    def hazard(self, waited: float) -> float:
        """Answers a second, among those that have not come after `waited` seconds."""
        z = math.log(waited / self.median) / self.sigma
        survival = 0.5 * math.erfc(z / math.sqrt(2))
        density = math.exp(-z * z / 2) / (waited * self.sigma * math.sqrt(2 * math.pi))
        return density / survival if survival > 1e-200 else max(z, 0.0) / (self.sigma * waited)

    def quantiles(self, count: int) -> list[float]:
        """`count` answer times that stand for all of them: a sample without a sample's noise."""
        normal = NormalDist()
        return [self.median * math.exp(self.sigma * normal.inv_cdf((step + 0.5) / count)) for step in range(count)]

    def optimal(self, scale: float) -> HazardRhythm:
        """The best rhythm there can be for these times."""
        edges = [0.0, *(0.05 * 2 ** (step / 32) for step in range(32 * 14))]
        middles = [(low + high) / 2 for low, high in zip(edges, [*edges[1:], edges[-1] * 1.01], strict=True)]
        return HazardRhythm(edges, [self.hazard(middle) for middle in middles], scale)


@dataclass(frozen=True)
class Played:
    """What a rhythm came to. `lag`: seconds, mean; `polls`: an answer, mean; `worst`: seconds, 95th of 100."""

    lag: float
    polls: float
    worst: float


def ask(rhythm: Rhythm, answer_time: float) -> tuple[float, int]:
    """Await one answer: its lag in seconds, and the polls made. The rhythm learns of it. Polls take no time."""
    empty, at, polls = 0.0, rhythm.first, 1
    while at < answer_time:
        empty, at, polls = at, at + max(rhythm.next_poll(at), 1e-3), polls + 1
    rhythm.learn(empty, at)
    return at - answer_time, polls


def play(make: Callable[[], Rhythm], answer_times: Sequence[float], skip: int = 0) -> Played:
    """Await answer after answer with one rhythm. The first `skip` of them do not count."""
    rhythm = make()
    seen = [ask(rhythm, one) for one in answer_times][skip:]
    lags = sorted(lag for lag, _ in seen)
    return Played(
        lag=sum(lags) / len(lags),
        polls=sum(polls for _, polls in seen) / len(seen),
        worst=lags[math.ceil(0.95 * len(lags)) - 1],
    )
