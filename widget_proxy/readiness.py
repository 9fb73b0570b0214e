"""Whether this process can serve a visitor, and if not, why. Pure: what is known comes in."""

from collections.abc import Iterable

from widget_proxy.upstream.watch import LastWord

FAILURES = 5
"""Requests in a row that fail, before an upstream counts as out of reach: one miss is nothing."""

FAILED_SECONDS = 30.0
"""So long after the last of them. Who gets no visitors asks nothing, and would never learn that upstream is back."""


def out_of_reach(word: LastWord, now: float) -> bool:
    """Whether the next request to this upstream is likely to fail as well. `now`: Unix time."""
    return word.failures >= FAILURES and now - word.failed < FAILED_SECONDS


def reasons_against(
    *, draining: bool, broker_answers: bool | None, full: bool, upstreams: Iterable[LastWord], now: float
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
    if known and all(out_of_reach(word, now) for word in known):
        reasons.append(f"upstream: the last {FAILURES} requests or more failed")
    return reasons
