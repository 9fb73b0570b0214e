"""When an awaited answer is worth a poll. Pure: told how long answers took, it says how long to wait.

With a poll rate λ(t) the mean lag is ∫ f/2λ and the mean cost ∫ S·λ polls an answer, f being the density of answer
times and S the share still awaited. For a given cost the lag is least where λ is in proportion to √(f/S): polls go
where completions are dense. f and S are learned from a site's own answers; `benchmarks/lag.py` draws the curve.

All times are seconds.
"""

import math
from bisect import bisect_right
from itertools import pairwise

FIRST_EDGE = 0.2
EDGE_RATIO = 1.25
LAST_EDGE = 400.0
"""Bins grow with the time, as the spread of answer times does; the last one begins beyond any deadline."""

PRIOR_ANSWERS = 8.0
PRIOR_MEDIAN = 3.0
PRIOR_SIGMA = 1.0
"""What is assumed of a site not yet known: a wide log-normal, worth as much as this many answers."""

FORGETTING = 0.01
"""Weight that each new answer takes from all before it: a changed bot is followed within some hundred answers."""

SPARSEST = 0.15
"""Where no answer was ever seen, polls come at least at this share of the ordinary rate: the past may be wrong."""

GROWTH = 0.03
"""A long answer is late by this share of its time at most, and one that never comes costs few requests."""


class AnswerTimes:
    """A site's answer times: a histogram over bins that grow with the time, recent answers counting more."""

    def __init__(self) -> None:
        self._edges = [0.0, FIRST_EDGE]
        while self._edges[-1] < LAST_EDGE:
            self._edges.append(self._edges[-1] * EDGE_RATIO)
        shares = [_log_normal_share(edge) for edge in self._edges]
        self._counts = [PRIOR_ANSWERS * (after - before) for before, after in pairwise(shares)]
        self._rates = self._relative_rates()

    def record(self, seconds: float) -> None:
        """An answer took this long."""
        self._counts = [count * (1 - FORGETTING) for count in self._counts]
        place = self._bin(seconds)
        # Spread over the neighbours: the moment is known to a poll's interval only.
        for offset, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            self._counts[min(max(place + offset, 0), len(self._counts) - 1)] += weight
        self._rates = self._relative_rates()

    def next_poll(self, waited: float, interval: float, longest: float) -> float:
        """Seconds until the next poll for an answer awaited for `waited` seconds. `interval` is the mean wait where
        answers usually come, `longest` the bound for all."""
        need, moment, place = interval, waited, self._bin(waited)
        while place < len(self._rates):
            rate = self._rates[place]
            room = (self._edges[place + 1] - moment) * rate
            if room >= need:
                break
            need -= room
            place += 1
            moment = self._edges[place]
        rate = self._rates[min(place, len(self._rates) - 1)]
        wait = moment + need / rate - waited
        return min(max(wait, waited * GROWTH), longest)

    def _bin(self, seconds: float) -> int:
        return min(max(bisect_right(self._edges, seconds) - 1, 0), len(self._counts) - 1)

    def _relative_rates(self) -> list[float]:
        """√hazard of each bin, over its mean at the moments when answers come."""
        awaited, roots = 0.0, [0.0] * len(self._counts)
        for place in range(len(self._counts) - 1, -1, -1):
            width = self._edges[place + 1] - self._edges[place]
            at_risk = awaited + self._counts[place] / 2
            roots[place] = math.sqrt(self._counts[place] / max(at_risk, 1e-9) / width)
            awaited += self._counts[place]
        mean = awaited / sum(count / max(root, 1e-6) for count, root in zip(self._counts, roots, strict=True))
        return [max(root / mean, SPARSEST) for root in roots]


def _log_normal_share(seconds: float) -> float:
    """Share of a not yet known site's answers that take no longer than this."""
    if seconds <= 0:
        return 0.0
    return 0.5 * (1 + math.erf(math.log(seconds / PRIOR_MEDIAN) / PRIOR_SIGMA / math.sqrt(2)))
