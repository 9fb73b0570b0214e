"""When to ask upstream next, and whether there is room to. Pure: given times it answers times; it has no clock and
draws no random number itself.

All times are seconds. `chance` is a number from 0 up to 1 that the caller drew.

Everybody draws from one bucket of requests for an upstream host. `level` is how full it is, from 0 to 1: the price of
a request, which every worker sees. Sends go as long as there is one left, awaited answers are polled slower as it
falls, and message polls stretch first.
"""

import re
from dataclasses import dataclass
from enum import Enum

RETRY_AFTER_SHORTEST = 1.0
WINDOW_SECONDS = 300.0
"""Length of upstream's windows."""

RETRY_AFTER_LONGEST = WINDOW_SECONDS
"""Nobody has to wait longer for the next window."""

KEPT_FOR_SENDS = 0.05
"""Share of a session's own allowance that is not spent on polls but left for what its visitor sends."""

THINKING_SECONDS = 10.0
"""What a visitor is assumed to read, think and type from an answer to the next question, until it is known better."""
THINKING_LONGEST = 60.0
THINKING_WEIGHT = 0.07

BURST = 0.1
"""Share of the budget that may go at once. The bucket refills with the rest, so that no window, wherever it begins,
holds more requests than the budget."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many requests an upstream host takes from us in a window of `seconds`."""

    requests: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """`2000/5m`: a number of requests, and a duration in s, m or h. Raises `ValueError`."""
        matched = re.fullmatch(r"(\d{1,9})/(\d{0,6}(?:\.\d{1,3})?)([smh])", text.strip())
        seconds = float(matched[2] or 1) * {"s": 1, "m": 60, "h": 3600}[matched[3]] if matched else 0.0
        if matched is None or int(matched[1]) < 1 or seconds <= 0:
            raise ValueError(f"{text!r} is not a number of requests over a time. Write it as 2000/5m")
        return cls(int(matched[1]), seconds)

    @property
    def capacity(self) -> float:
        """Most requests at once."""
        return max(1.0, self.requests * BURST)

    @property
    def rate(self) -> float:
        """Requests a second for ever."""
        return max(self.requests - self.capacity, 0.5) / self.seconds

    def __str__(self) -> str:
        for seconds, letter in ((3600, "h"), (60, "m")):
            if self.seconds % seconds == 0:
                return f"{self.requests}/{self.seconds / seconds:g}{letter}"
        return f"{self.requests}/{self.seconds:g}s"


class Purpose(Enum):
    """What a request is for. The value is the share of the bucket that it leaves for the more urgent ones."""

    SEND = 0.0
    ANSWER = 0.05
    TRANSCRIPT = 0.35
    MESSAGES = 0.5


@dataclass(frozen=True, slots=True)
class Bucket:
    """The budget as it stands: `tokens` at moment `at`, and nothing before `paused_until`."""

    tokens: float
    at: float
    paused_until: float = 0.0

    def take(self, budget: Budget, reserve: float, now: float) -> tuple["Bucket", float]:
        """Take one request and leave at least the share `reserve`: the bucket then, and 0; or as it is, and the
        seconds until there will be one."""
        if now < self.paused_until:
            return self, self.paused_until - now
        tokens = min(budget.capacity, self.tokens + max(0.0, now - self.at) * budget.rate)
        refilled = Bucket(tokens, now, self.paused_until)
        needed = 1.0 + reserve * (budget.capacity - 1.0)
        if tokens < needed - 1e-9:
            return refilled, (needed - tokens) / budget.rate
        return Bucket(tokens - 1.0, now, self.paused_until), 0.0

    def give_back(self, budget: Budget) -> "Bucket":
        """One request that was taken is not made after all."""
        return Bucket(min(budget.capacity, self.tokens + 1.0), self.at, self.paused_until)

    def pause(self, now: float, seconds: float) -> "Bucket":
        """Upstream ordered a pause for everybody who shares our address. A shorter order does not undo a longer one,
        and afterwards everybody begins slowly: somebody had counted wrong."""
        until = max(self.paused_until, now + seconds)
        return Bucket(0.0, until, until)

    def level(self, budget: Budget) -> float:
        """How full it is, from 0 to 1."""
        return self.tokens / budget.capacity


def answer_stretch(level: float) -> float:
    """How many times longer than usual an awaited answer's polls are apart: 1 with room, 10 at the bottom. Smooth, so
    that it settles where as many are asked for as there are."""
    missing = min(max((0.7 - level) / 0.6, 0.0), 1.0)
    return 1.0 + 9.0 * missing**2


def message_stretch(level: float) -> float:
    """How many times longer than usual message polls are apart. They give way before answers do: 1 with the bucket
    nearly full, 20 where it holds only what is kept for the others. A transcript's first reading does not stretch,
    but waits for a level at which answers are slowed already: a thousand readers that come back at once must not
    make those wait who asked something."""
    room = (level - Purpose.MESSAGES.value) / (0.9 - Purpose.MESSAGES.value)
    return 1.0 / min(max(room, 0.2236), 1.0) ** 2


def message_reserve(overdue: float, active: bool, shortest: float) -> float:
    """The share of the bucket that a message poll leaves for the more urgent ones, when it has been refused for
    `overdue` seconds. It grows more urgent, so that it comes late instead of never: soon in a session in which
    something was just said, whose visitor may look whether it arrived, and after minutes in a silent one."""
    patience = shortest / 2 if active else 10 * shortest
    return max(Purpose.MESSAGES.value * patience / (patience + overdue), Purpose.ANSWER.value)


def message_interval(shortest: float, quiet: float) -> float:
    """Seconds between two message polls of a session in which nothing was said for `quiet` seconds. `shortest` is
    upstream's minimum, 30 s; after 2 minutes it is doubled, after 5 doubled again."""
    if quiet < 4 * shortest:
        return shortest
    return 2 * shortest if quiet < 10 * shortest else 4 * shortest


def jittered(interval: float, chance: float) -> float:
    """`interval` and up to a tenth more, so that sessions which began together do not stay together. Never less: an
    interval may be upstream's minimum."""
    return interval * (1 + 0.1 * chance)


def answer_polls(limit: int, remaining: int, reset: float, cycle: float) -> float:
    """How many polls an awaited answer may cost, of the session's own allowance as upstream told it: `remaining` of
    `limit` for the next `reset` seconds. It is shared among the answers that can still come in that time, one each
    `cycle` seconds; the last of them gets what is left. Always more than none."""
    spare = max(remaining - limit * KEPT_FOR_SENDS * min(1.0, reset / WINDOW_SECONDS), 0.5)
    return spare / max(1.0, reset / cycle)


def thinking(before: float, seconds: float) -> float:
    """How long a visitor thinks from an answer to the next question: `before` was believed, and now it took so many
    seconds. Somebody who asks and asks must not run out of polls."""
    return before + (min(max(seconds, 0.0), THINKING_LONGEST) - before) * THINKING_WEIGHT


def message_pause(limit: int, remaining: int, reset: float) -> float:
    """Seconds that a session's message polls wait because of its own allowance: until it is full again where only
    what is kept for sends is left."""
    return reset if remaining <= limit * KEPT_FOR_SENDS else 0.0


def backoff(attempt: int, chance: float, *, base: float = 0.5, longest: float = 15.0) -> float:
    """Seconds to wait after the `attempt`-th failure in a row (from 1). Clamped first, then jittered: the other way
    round everybody at the ceiling would wait exactly as long. Never less than half, so that it does slow down."""
    ceiling = min(longest, base * 2.0 ** min(attempt - 1, 20))
    return ceiling * (0.5 + 0.5 * chance)


def clamp_retry_after(seconds: float | None, chance: float) -> float:
    """How long to pause after a 429: what upstream said, within reason, plus up to a tenth; 30 s where it said
    nothing."""
    told = 30.0 if seconds is None else min(max(seconds, RETRY_AFTER_SHORTEST), RETRY_AFTER_LONGEST)
    return jittered(told, chance)
