"""When an awaited answer is worth a poll. Pure: told how long answers took, it says how long to wait.

With a poll rate λ(t) the mean lag is ∫ f/2λ and the mean cost ∫ S·λ polls an answer, f being the density of answer
times and S the share still awaited. For a given cost the lag is least where λ is in proportion to √(f/S): polls go
where completions are dense. f and S are learned from a site's own answers; `benchmarks/lag.py` draws the curve.

A histogram takes any shape but learns slowly; a log-normal is known after a few answers but may be the wrong shape.
So the histogram begins as a log-normal that is fitted to the answers as they come, worth `PRIOR_ANSWERS` of them.

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
"""How many answers the fitted log-normal is worth in the histogram."""

PRIOR_MEDIAN = 3.0
PRIOR_SIGMA = 0.8
"""What is assumed of a site not yet known, and for how many answers' worth: where its times lie is learned from the
first ones, how far they spread from some more."""
PRIOR_MEDIAN_WEIGHT = 1.0
PRIOR_SIGMA_WEIGHT = 4.0

PRIOR_WIDE_SHARE = 0.05
PRIOR_WIDE_SIGMA = 1.5
"""A part of the prior is wide, so that a second kind of answers is looked for before one was seen."""

SHORTEST = 0.05
"""No answer is taken for quicker than this: a fit on a logarithmic scale would make far too much of it."""

FORGETTING = 0.01
"""Weight that each new answer takes from all before it: a changed bot is followed within some hundred answers."""

EAGERNESS = 0.6
"""The power of the hazard that the poll rate follows. A half is the optimum where f is known; the histogram blurs it,
and a little more makes up for that."""

SPARSEST = 0.15
"""Where no answer was ever seen, polls come at least at this share of the ordinary rate: the past may be wrong."""

GROWTH = 0.03
"""A long answer is late by this share of its time at most, and one that never comes costs few requests."""


class AnswerTimes:
    """A site's answer times: a histogram over bins that grow with the time, recent answers counting more.

    `mean`: of the answer times, seconds. `polls`: what an answer costs on average at a mean wait of one second.
    """

    mean: float
    polls: float

    def __init__(self) -> None:
        self._edges = [0.0, FIRST_EDGE]
        while self._edges[-1] < LAST_EDGE:
            self._edges.append(self._edges[-1] * EDGE_RATIO)
        self._seen = [0.0] * (len(self._edges) - 1)
        self._median, self._median_weight = math.log(PRIOR_MEDIAN), PRIOR_MEDIAN_WEIGHT
        self._spread, self._spread_weight = PRIOR_SIGMA**2 * PRIOR_SIGMA_WEIGHT, PRIOR_SIGMA_WEIGHT
        self._weigh()

    def record(self, seconds: float) -> None:
        """An answer took this long."""
        seconds = max(seconds, SHORTEST)
        kept = 1 - FORGETTING
        self._seen = [count * kept for count in self._seen]
        place = self._bin(seconds)
        # Spread over the neighbours: the moment is known to a poll's interval only.
        for offset, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            self._seen[min(max(place + offset, 0), len(self._seen) - 1)] += weight
        off = math.log(seconds) - self._median
        self._median_weight = self._median_weight * kept + 1
        self._median += off / self._median_weight
        self._spread_weight = self._spread_weight * kept + 1
        self._spread = self._spread * kept + off * (math.log(seconds) - self._median)
        self._weigh()

    def interval(self, polls: float) -> float:
        """The mean wait, in seconds, at which an answer costs so many polls on average. Half a poll is for the one
        that finds it: it comes after the answer, by half a wait."""
        return self.polls / max(polls - 0.5, 0.25)

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
        return min(max(bisect_right(self._edges, seconds) - 1, 0), len(self._seen) - 1)

    def _weigh(self) -> None:
        """Work out the poll rates from what is known by now: the hazard of each bin to the power of `EAGERNESS`, over
        its mean at the moments when answers come."""
        edges, sigma = self._edges, math.sqrt(self._spread / self._spread_weight)
        fitted = pairwise(_log_normal_share(edge, self._median, sigma) for edge in edges)
        wide = pairwise(_log_normal_share(edge, self._median, PRIOR_WIDE_SIGMA) for edge in edges)
        counts = [
            seen + PRIOR_ANSWERS * ((1 - PRIOR_WIDE_SHARE) * (to - of) + PRIOR_WIDE_SHARE * (wide_to - wide_of))
            for seen, (of, to), (wide_of, wide_to) in zip(self._seen, fitted, wide, strict=True)
        ]
        widths = [after - before for before, after in pairwise(edges)]
        at_risk, later = [0.0] * len(counts), 0.0
        for place in range(len(counts) - 1, -1, -1):
            at_risk[place] = later + counts[place] / 2
            later += counts[place]
        eager: list[float] = [
            (count / max(risk, 1e-9) / width) ** EAGERNESS
            for count, risk, width in zip(counts, at_risk, widths, strict=True)
        ]
        mean = later / sum(count / max(one, 1e-6) for count, one in zip(counts, eager, strict=True))
        self._rates = [max(one / mean, SPARSEST) for one in eager]
        self.polls = sum(risk * width * rate for risk, width, rate in zip(at_risk, widths, self._rates, strict=True))
        self.polls /= later
        self.mean = sum(risk * width for risk, width in zip(at_risk, widths, strict=True)) / later


def _log_normal_share(seconds: float, log_median: float, sigma: float) -> float:
    """Share of log-normal times that are no longer than this."""
    if seconds <= 0:
        return 0.0
    return 0.5 * (1 + math.erf((math.log(seconds) - log_median) / sigma / math.sqrt(2)))
