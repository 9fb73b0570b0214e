"""When to ask upstream next. Pure: given times it answers times; it has no clock and draws no random number itself.

All times are seconds. `chance` is a number from 0 up to 1 that the caller drew.
"""

from dataclasses import dataclass

RETRY_AFTER_SHORTEST = 1.0
RETRY_AFTER_LONGEST = 300.0
"""Upstream's windows are five minutes long: nobody has to wait longer for the next one."""


@dataclass(frozen=True, slots=True)
class AnswerRhythm:
    """How often to ask for an awaited answer: the wait grows with the time already waited, so that the answer is
    late by a bounded share of it, and a long answer costs few requests more than a short one."""

    shortest: float
    longest: float
    growth: float

    def next_poll(self, waited: float) -> float:
        """Seconds until the next poll for an answer awaited for `waited` seconds."""
        return min(max(waited * self.growth, self.shortest), self.longest)


def next_message_poll(interval: float, chance: float) -> float:
    """Seconds until the next look at the message list: `interval`, and up to a tenth more, so that sessions which
    began together do not stay together. Never less: the interval is upstream's minimum."""
    return interval * (1 + 0.1 * chance)


def backoff(attempt: int, chance: float, *, base: float = 0.5, longest: float = 15.0) -> float:
    """Seconds to wait after the `attempt`-th failure in a row (from 1). Clamped first, then jittered: the other way
    round everybody at the ceiling would wait exactly as long. Never less than half, so that it does slow down."""
    ceiling = min(longest, base * 2.0 ** min(attempt - 1, 20))
    return ceiling * (0.5 + 0.5 * chance)


def clamp_retry_after(seconds: float | None, chance: float) -> float:
    """How long to pause after a 429: what upstream said, within reason, plus up to a tenth; 30 s where it said
    nothing."""
    told = 30.0 if seconds is None else min(max(seconds, RETRY_AFTER_SHORTEST), RETRY_AFTER_LONGEST)
    return told * (1 + 0.1 * chance)


class Throttle:
    """A pause that upstream ordered for everybody who shares our address."""

    def __init__(self) -> None:
        self._until = 0.0

    def pause(self, now: float, seconds: float) -> None:
        """Ask nothing before `now + seconds`. A shorter order does not undo a longer one."""
        self._until = max(self._until, now + seconds)

    def wait(self, now: float) -> float:
        """Seconds until asking is allowed again; 0 when it is."""
        return max(0.0, self._until - now)
