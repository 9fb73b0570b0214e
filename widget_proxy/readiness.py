"""Whether this process can serve a visitor, and if not, why. Pure: what is known comes in."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from widget_proxy.upstream.watch import LastWord

FAILURES = 5
"""Requests in a row that fail, before an upstream counts as out of reach: one miss is nothing."""

FAILED_SECONDS = 30.0
"""So long after the last of them. Who gets no visitors asks nothing, and would never learn that upstream is back."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """One upstream, by its host, and its last word."""

    host: str
    last_word: LastWord

    def out_of_reach(self, now: float) -> bool:
        """Whether it is to be expected that the next request fails as well. `now`: Unix time."""
        return self.last_word.failures >= FAILURES and now - self.last_word.failed < FAILED_SECONDS

    def told(self, now: float) -> dict[str, Any]:
        """For JSON: how many seconds ago it last answered and failed, None where it never did."""
        word = self.last_word
        return {
            "host": self.host,
            "answered_seconds_ago": _ago(word.answered, now),
            "failed_seconds_ago": _ago(word.failed, now),
            "failures_in_a_row": word.failures,
        }


def reasons_against(
    *, draining: bool, broker_answers: bool | None, full: bool, upstreams: Iterable[Upstream], now: float
) -> list[str]:
    """Why visitors should go elsewhere; none: they are welcome. `broker_answers` None: it is not known yet.

    Upstream is a reason only where none is in reach: one site's must not take the others with it.
    """
    reasons = []
    if draining:
        reasons.append("draining: this process was told to exit")
    if broker_answers is None:
        reasons.append("starting: the broker was not asked yet")
    elif not broker_answers:
        reasons.append("broker: it cannot be reached")
    if full:
        reasons.append("streams: as many are open as are allowed")
    known = list(upstreams)
    if known and all(one.out_of_reach(now) for one in known):
        reasons.append(f"upstream: the last {FAILURES} requests or more failed")
    return reasons


def _ago(moment: float, now: float) -> float | None:
    return round(max(0.0, now - moment), 1) if moment else None
