"""What upstream says of its own limits, on each answer and on a refusal."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx

KEPT_STANDINGS = 10_000
"""Buckets whose standing is remembered, the ones heard of longest ago going first."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one of upstream's buckets stands: `remaining` requests of `limit`, for `reset` seconds from `heard`."""

    limit: int
    remaining: int
    reset: float
    heard: float

    def left(self, now: float) -> float:
        """Seconds until the bucket is full again; 0 where it is by now."""
        return max(0.0, self.heard + self.reset - now)


class Standings:
    """The last standing of each bucket: a session's, or for starts a channel's."""

    def __init__(self) -> None:
        self._standings: OrderedDict[str, Standing] = OrderedDict()

    def note(self, bucket: str, headers: httpx.Headers, now: float) -> None:
        """An answer came with these headers."""
        limit, remaining, reset = (
            _number(headers, f"X-RateLimit-{name}") for name in ("Limit", "Remaining", "Reset")
        )
        if limit is None or remaining is None or reset is None or limit < 1:
            return
        self._standings[bucket] = Standing(int(limit), int(remaining), reset, now)
        self._standings.move_to_end(bucket)
        # Those heard of longest ago come first, and most of them are of sessions that are over.
        while self._standings and (len(self) > KEPT_STANDINGS or next(iter(self._standings.values())).left(now) == 0):
            self._standings.popitem(last=False)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._standings)

    def get(self, bucket: str, now: float) -> Standing | None:
        """Where the bucket stands, if that is known and still true."""
        standing = self._standings.get(bucket)
        return standing if standing is not None and standing.left(now) > 0 else None


def retry_after(headers: httpx.Headers) -> float | None:
    """How long a refusal asks to wait, in seconds: what `Retry-After` says, or until the bucket is full again. Where
    both are said, and the bucket is empty, the longer of them: what comes sooner is refused by one or the other."""
    told, reset = _retry_after(headers), _number(headers, "X-RateLimit-Reset")
    if told is None or reset is None:
        return reset if told is None else told
    return max(told, reset) if is_of_one_bucket(headers) else told


def _retry_after(headers: httpx.Headers) -> float | None:
    """`Retry-After`: a number or a date."""
    if (number := _number(headers, "Retry-After")) is not None:
        return number
    if value := headers.get("Retry-After", "").strip():
        try:
            until = parsedate_to_datetime(value)
            since = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(until.tzinfo)
            return max(0.0, (until - since).total_seconds())
        except (ValueError, TypeError, OverflowError):
            pass
    return None


def is_of_one_bucket(headers: httpx.Headers) -> bool:
    """Whether a refusal is about a session's or a channel's own bucket. The hosted service's edge, which counts by
    address and so for all visitors together, sends no such headers."""
    return _number(headers, "X-RateLimit-Remaining") == 0


def _number(headers: httpx.Headers, name: str) -> float | None:
    value = headers.get(name, "").strip()
    return float(value[:9]) if value.isascii() and value.isdigit() else None
