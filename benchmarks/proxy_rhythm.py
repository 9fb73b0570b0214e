"""The proxy's own rhythm as one that can be played. The only place here that knows `widget_proxy.answer_times`."""

import math
import random

from benchmarks.rhythms import Rhythm
from widget_proxy.answer_times import AnswerTimes
from widget_proxy.config import PacingSettings

PACING = PacingSettings()


class ProxyRhythm(Rhythm):
    """As the hub uses it. `interval`: seconds; by default the settings', which is the one with room in the budget."""

    def __init__(self, interval: float = PACING.answer_poll_shortest) -> None:
        self._times = AnswerTimes()
        self._interval = interval
        self.first = self.next_poll(0.0)

    def next_poll(self, waited: float) -> float:
        return self._times.next_poll(waited, self._interval, PACING.answer_poll_longest)

    def learn(self, empty: float, found: float) -> None:
        self._times.record((empty + found) / 2)
        self.first = self.next_poll(0.0)


def equal_interval(median: float, sigma: float, answers: int = 1000) -> float:
    """The proxy's interval, in seconds, at which an answer costs as many polls as the official widget's rhythm needs
    for it: one at once and one a second. For a site whose log-normal answer times are known."""
    chance = random.Random(0)
    times = AnswerTimes()
    drawn = [median * math.exp(sigma * chance.gauss(0, 1)) for _ in range(answers)]
    for one in drawn[:200]:
        times.record(one)
    return times.interval(sum(math.ceil(one) + 1 for one in drawn) / answers)
