"""How late an answer is against how often upstream is asked for it, computed for rhythms of several kinds."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import plot
from benchmarks.proxy_rhythm import ProxyRhythm
from benchmarks.results import table
from benchmarks.rhythms import Geometric, LogNormal, Played, Rhythm, Uniform, play

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "lag-curve.svg"

ANSWERS = 4000
LEARNING = 200
"""Answers after which what is learned has settled. What happens before is told apart from the curve."""

OFFICIAL = "official widget: each second"
PROXY = "this proxy, with room in the budget"
UNIFORM = "each n seconds"
GEOMETRIC = "a share of the time waited, 0.25 s or more"
OPTIMAL = "rate ∝ √hazard, true hazard (the optimum)"
LEARNED = "rate ∝ √hazard, learned: this proxy, by its interval"

INTERVALS = (0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0)
GROWTHS = (0.03, 0.045, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)
SCALES = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0)


def single_rhythms() -> dict[str, Callable[[], Rhythm]]:
    """Rhythms that are as they are. A further one of the proxy's belongs here."""
    return {OFFICIAL: partial(Uniform, 1.0, 0.0), PROXY: ProxyRhythm}


def families(answers: LogNormal) -> dict[str, list[Callable[[], Rhythm]]]:
    """Rhythms with a number to choose: one curve each."""
    return {
        UNIFORM: [partial(Uniform, one, one) for one in INTERVALS],
        GEOMETRIC: [partial(Geometric, one, min(0.25, 2 * one)) for one in GROWTHS],
        OPTIMAL: [partial(answers.optimal, one) for one in SCALES],
        LEARNED: [partial(ProxyRhythm, one) for one in INTERVALS],
    }


def compute(median: float, sigma: float) -> dict[str, list[dict[str, float]]]:
    """Every rhythm for one distribution of answer times: mean lag, its 95th, mean polls."""
    answers = LogNormal(median, sigma)
    times = answers.quantiles(ANSWERS)
    random.Random(1).shuffle(times)

    def told(make: Callable[[], Rhythm]) -> dict[str, float]:
        return _told(play(make, times, skip=LEARNING))

    curves = {name: [told(make)] for name, make in single_rhythms().items()}
    curves |= {name: [told(make) for make in makes] for name, makes in families(answers).items()}
    curves["this proxy, its first 20 answers"] = [_told(play(ProxyRhythm, times[:20]))]
    return curves


def draw(medians: Sequence[float], sigma: float) -> dict[str, Any]:
    """Compute all, and draw it to `PICTURE`."""
    computed = {f"answers of {median:g} s": compute(median, sigma) for median in medians}
    panels = []
    for name, curves in computed.items():
        panel = plot.Panel(
            f"Log-normal {name.replace('of', 'with a median of')}",
            plot.Axis("task polls an answer", 20, range(0, 21, 4)),
            plot.Axis("mean lag, seconds", 0.8, (0, 0.2, 0.4, 0.6, 0.8)),
        )
        for label in (UNIFORM, GEOMETRIC, LEARNED, OPTIMAL, OFFICIAL, PROXY):
            points = sorted((one["polls_per_answer"], one["lag_mean_s"]) for one in curves[label])
            panel.series.append(plot.Series(label, points, marks=len(points) == 1, dashed=label == OPTIMAL))
        panels.append(panel)
    PICTURE.write_text(plot.svg(panels, "Mean lag of an answer against polls for it, by rhythm"), "utf-8")
    return computed


def summary(computed: dict[str, Any]) -> list[str]:
    """For each kind of rhythm, the lag it would have with as many polls as the official widget makes."""
    rows = []
    for answers, curves in computed.items():
        polls = curves[OFFICIAL][0]["polls_per_answer"]
        for label, points in curves.items():
            single = len(points) == 1
            lag = points[0]["lag_mean_s"] if single else _lag_at(points, polls)
            rows.append(
                [
                    f"{answers}: {label}",
                    f"{points[0]['polls_per_answer'] if single else polls:.2f}",
                    "–" if lag is None else f"{lag:.3f}",
                ]
            )
    return ["Computed, curves at the official widget's number of polls", *table(["", "polls", "mean lag"], rows)]


def _lag_at(points: list[dict[str, float]], polls: float) -> float | None:
    ordered = sorted((one["polls_per_answer"], one["lag_mean_s"]) for one in points)
    for (x0, y0), (x1, y1) in pairwise(ordered):
        if x0 <= polls <= x1:
            return y0 + (y1 - y0) * (polls - x0) / (x1 - x0)
    return None


def _told(played: Played) -> dict[str, float]:
    return {
        "polls_per_answer": round(played.polls, 3),
        "lag_mean_s": round(played.lag, 4),
        "lag_p95_s": round(played.worst, 4),
    }
