"""A million visitors a day: what is needed, and what gives first? Computed, without network.

    .venv/bin/python -m benchmarks.million [--visitors 1000000] [--shares 0.5 1 1.5 2 3 5]

Each share of visitors who ask something is a day of its own (`day`, which says what is assumed), within what upstream
takes from one address. Machines are worked out from what `streams` and `cost` measured.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from benchmarks import plot, results
from benchmarks.day import Day, Limits, Visitors

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "million.svg"
PEAK_HOURS = (18, 19, 20, 21)
SLOW_SECONDS = 5.0
"""A reply that is later than this, against upstream having it, counts as slow here."""


def measured() -> dict[str, float]:
    """What a stream and a poll cost, from the results beside this."""

    def read(name: str) -> Any:
        return json.loads((results.RESULTS / f"{name}.json").read_text())["figures"]

    streams = read("streams_5000")["ours, 5000 streams"]
    whole = read("cost")["whole proxy"]["httpx-aiohttp"]
    return {
        "kib_a_stream": streams["rss_kib"]["median"],
        "open_cpu_ms": streams["open_cpu_ms"]["median"],
        "idle_cpu_percent_of_5000": streams["idle_cpu_percent"]["median"],
        "poll_cpu_us": whole["cpu_us_per_poll"]["median"],
    }


def told(day: Day) -> dict[str, Any]:
    """A day's figures: of all of it, and of its busiest four hours."""
    peak = [day.hours[one] for one in PEAK_HOURS]
    lags = [lag for hour in peak for lag in hour.lags] or [0.0]
    gaps = [gap for hour in peak for gap in hour.gaps] or [0.0]
    requests = {kind: sum(hour.requests[kind] for hour in day.hours) for hour in day.hours for kind in hour.requests}
    answers = sum(len(hour.lags) for hour in day.hours)
    return {
        "chats": sum(hour.chats for hour in day.hours),
        "answers": answers,
        "requests": requests,
        "requests_a_chat": round(sum(requests.values()) / max(1, requests.get("start", 0)), 1),
        "most_requests_in_5_minutes": day.most_requests,
        "most_starts_in_5_minutes": day.most_starts,
        "open_at_most": max(hour.open_most for hour in day.hours),
        "at_peak": {
            "chats_a_minute": round(sum(hour.chats for hour in peak) / len(peak) / 60, 1),
            "polls_an_answer": round(sum(hour.requests["task_poll"] for hour in peak) / len(lags), 1),
            "lag_s": results.spread(lags, 2),
            "message_poll_gap_s": results.spread(gaps, 0),
            "told_to_wait": sum(hour.told_to_wait for hour in peak),
            "starts_refused": sum(hour.starts_refused for hour in peak),
            "gave_up": sum(hour.given_up for hour in peak),
            "budget_level_least": round(min(hour.level_least for hour in peak), 2),
        },
    }


def carried(one: dict[str, Any]) -> bool:
    """Whether everybody got their answers, and soon."""
    peak = one["at_peak"]
    waits = peak["told_to_wait"] + peak["starts_refused"] + peak["gave_up"]
    return bool(waits == 0 and peak["lag_s"]["p95"] <= SLOW_SECONDS)


def machine_for(one: dict[str, Any], costs: dict[str, float]) -> dict[str, float]:
    """What the proxy itself needs at the peak of this day, on cores like those of the measurements."""
    most, a_second = one["open_at_most"], one["most_requests_in_5_minutes"] / 300
    idle = most / 5000 * costs["idle_cpu_percent_of_5000"] / 100
    opened = one["at_peak"]["chats_a_minute"] / 60 * costs["open_cpu_ms"] / 1000
    return {
        "memory_of_streams_mib": round(most * costs["kib_a_stream"] / 1024, 1),
        "cores": round(a_second * costs["poll_cpu_us"] / 1e6 + idle + opened, 3),
    }


def naive(one: dict[str, Any], visitors: Visitors) -> int:
    """Requests in five minutes of the peak of a proxy that polls as the official widget does: each answer once a
    second, each open chat every 30 s."""
    answer = visitors.answer_median * math.exp(visitors.answer_sigma**2 / 2)
    thinks = visitors.think_median * math.exp(visitors.think_sigma**2 / 2)
    is_open = visitors.questions * (answer + thinks) - thinks + visitors.stays
    a_chat = 1 + visitors.questions * (1 + answer + 1) + is_open / 30
    a_minute: float = one["at_peak"]["chats_a_minute"]
    return round(a_minute * 5 * a_chat)


def draw(days: dict[float, Day]) -> None:
    """Requests a second over the hours, and how late answers are, for each share."""
    panels = [
        plot.Panel(
            "Requests to Open Chat Studio",
            plot.Axis("hour of the day", 24, range(0, 25, 4)),
            plot.Axis("a second", 8, range(0, 9, 2)),
        ),
        plot.Panel(
            "How late an answer is",
            plot.Axis("hour of the day", 24, range(0, 25, 4)),
            plot.Axis("95th percentile, seconds", 8, range(0, 9, 2)),
        ),
    ]
    panels[0].series.append(plot.Series("2,000 in 5 minutes", [(0, 2000 / 300), (24, 2000 / 300)], dashed=True))
    for share, day in days.items():
        label = f"{share:g} % ask"
        asked = [(number + 0.5, hour.requests.total() / 3600) for number, hour in enumerate(day.hours)]
        late = [
            (number + 0.5, results.percentile(hour.lags, 0.95)) for number, hour in enumerate(day.hours) if hour.lags
        ]
        panels[0].series.append(plot.Series(label, asked))
        panels[1].series.append(plot.Series(label, late))
    PICTURE.write_text(plot.svg(panels, "A day of a million visitors, by the share who ask"), "utf-8")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--visitors", type=int, default=1_000_000)
    arguments.add_argument("--shares", type=float, nargs="+", default=[0.5, 1.0, 1.5, 2.0, 3.0])
    arguments.add_argument("--seed", type=int, default=20261121)
    given = arguments.parse_args()
    costs, figures, days = measured(), dict[str, Any](), dict[float, Day]()
    for share in given.shares:
        visitors = Visitors(a_day=given.visitors, ask_share=share / 100)
        days[share] = Day(visitors, Limits(), given.seed).run()
        one = told(days[share])
        one |= {
            "carried": carried(one),
            "machine": machine_for(one, costs),
            "naive_in_5_minutes": naive(one, visitors),
        }
        figures[f"{share:g} % ask"] = one
        results.say(f"{share:g} % ask: {'carried' if one['carried'] else 'not carried'} by one address")
    draw(days)
    assumed = {name: value for name, value in vars(Visitors()).items() if name not in {"a_day", "ask_share"}}
    limits = {"address": str(Limits().budget), "session": "300/5m", "starts": "300/5m", "message_poll_s": 30}
    parameters = {"visitors": given.visitors, "seed": given.seed, "assumed": assumed, "limits": limits}
    results.write("million", {**parameters, "measured": costs}, figures)
    return int(any(one["most_requests_in_5_minutes"] > 2000 for one in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
