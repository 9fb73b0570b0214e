"""The proxy's own rhythm as one that can be played. The only place here that knows `widget_proxy.answer_times`."""

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
