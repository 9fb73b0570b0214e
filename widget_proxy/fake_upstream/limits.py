"""Upstream's rate limits: fixed windows aligned to the clock, one bucket a session, one a channel for starts, and one
a client address for everything."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """A bucket after a request was counted. `reset` in seconds."""

    limit: int
    remaining: int
    reset: int
    exceeded: bool
    told: bool = True
    """Whether its headers are sent. The edge before the service, which counts by address, sends none."""

    def headers(self) -> dict[str, str]:
        """What every answer carries."""
        if not self.told:
            return {"Retry-After": str(self.reset)}
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }
        return headers | ({"Retry-After": str(self.reset)} if self.exceeded else {})


class Windows:
    """Counts requests by bucket within the present window."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._window = -1
        self._counts: dict[str, int] = {}

    def count(self, bucket: str, limit: int, now: float) -> Standing:
        """Count one request; where the bucket stands then."""
        window = int(now // self._seconds)
        if window != self._window:
            self._window = window
            self._counts.clear()
        used = self._counts[bucket] = self._counts.get(bucket, 0) + 1
        reset = max(1, math.ceil((window + 1) * self._seconds - now))
        return Standing(limit, max(0, limit - used), reset, used > limit)

    def reset(self) -> None:
        """Begin anew, in the present window."""
        self._counts.clear()
