"""From upstream having an answer to its text standing in the page, in a real browser; and what that cost upstream.

    .venv/bin/python -m benchmarks.page_lag [answers]

Beside it, for the very same answer times, the rhythm of Open Chat Studio's own widget: a poll at once, then one each
second. That one is computed, without the time its answer takes to the page, so it is flattered.
"""

import json
import math
import os
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser import ARGUMENTS, Stage, visiting

MEDIAN_SECONDS = 1.5  # of the answer times, log-normal: whole seconds would flatter a rhythm of whole seconds
SIGMA = 0.5

NOTE_ARRIVALS = """() => {
    window.arrived = {};
    const log = document.querySelector("chat-widget").shadowRoot.querySelector("[role=log]");
    new MutationObserver(() => {
        for (const bubble of log.querySelectorAll(".bot")) arrived[bubble.innerText.trim()] ??= Date.now() / 1000;
    }).observe(log, {childList: true, subtree: true});
}"""


def main(answers: int) -> None:
    chance = random.Random(20261121)
    delays = [MEDIAN_SECONDS * math.exp(SIGMA * chance.gauss(0, 1)) for _ in range(answers)]
    stage = Stage(
        Path(tempfile.mkdtemp()),
        WIDGET_PROXY_PACING__MESSAGE_POLL_SECONDS="30",
        WIDGET_PROXY_PACING__ANSWER_POLL_SHORTEST="0.25",
    )
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with stage.upstream, stage.proxy, stage.shop, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        with visiting(browser, stage) as visitor:
            visitor.go()
            visitor.open_chat()
            visitor.page.evaluate(NOTE_ARRIVALS)
            for number, delay in enumerate(delays):
                stage.upstream.order("answers", text=f"answer {number}.", delay=delay)
                visitor.say(f"question {number}")
                visitor.answer(f"answer {number}.")
            arrived: dict[str, float] = visitor.page.evaluate("arrived")
        browser.close()
        ready = [task["ready_at"] for task in stage.upstream.ask("answered")]
        counts: dict[str, int] = stage.upstream.ask("counts")["kinds"]
    lags = [arrived[f"answer {number}."] - moment for number, moment in enumerate(ready)]
    official = [math.ceil(delay) - delay for delay in delays]
    result = {
        "answers": answers,
        "answer_time_median_s": round(statistics.median(delays), 2),
        "ours": _spread(lags) | {"polls_per_answer": round(counts["task_poll"] / answers, 2), "requests": counts},
        "official_rhythm_computed": _spread(official)
        | {"polls_per_answer": round(statistics.mean(math.ceil(delay) + 1 for delay in delays), 2)},
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median_s": round(statistics.median(ordered), 3),
        "p95_s": round(ordered[math.ceil(0.95 * len(ordered)) - 1], 3),
        "worst_s": round(ordered[-1], 3),
    }


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
