"""SIGTERM to one of two workers, with a thousand streams open and fifty answers in the making.

    .venv/bin/python -m benchmarks.drain [--streams 1000] [--answers 50]

How long until the process is gone, what is lost, and when is every reader back on the other worker? Answers take
longer than the drain, so each is finished by the worker that stays.
"""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.chaos import verdict_of
from benchmarks.processes import end_cleanly
from benchmarks.visitors import Visitor, client
from tests.servers import FakeUpstream, Proxy, Redis

ANSWER_SECONDS = 12


async def run(leaving: Proxy, staying: Proxy, upstream: FakeUpstream, streams: int, answers: int) -> dict[str, Any]:
    """One drain."""
    async with client() as http:
        visitors = [Visitor(http, [leaving.url, staying.url], random.Random(number)) for number in range(streams)]
        for one in visitors:
            await one.start()
        listening = [asyncio.create_task(one.listen()) for one in visitors]
        await asyncio.gather(*(one.connected.wait() for one in visitors))
        for number, one in enumerate(visitors[:answers]):
            await one.say(f"/slow {ANSWER_SECONDS} v{number}m0")
        began = time.monotonic()
        leaving.signal(signal.SIGTERM)
        gone = asyncio.create_task(asyncio.to_thread(leaving.stop))
        back: list[float] = []

        async def returns(one: Visitor) -> None:
            while not (one.connects > 1 and one.connected.is_set()):
                await asyncio.sleep(0.01)
            back.append(time.monotonic() - began)

        returning = asyncio.gather(*(returns(one) for one in visitors))
        await gone
        seconds = time.monotonic() - began
        await asyncio.wait_for(returning, 60)
        deadline = time.monotonic() + ANSWER_SECONDS + 30
        while any(one.awaited for one in visitors) and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
        await asyncio.sleep(10)  # a look at the history, which has the visitors' own rows
        verdict = await asyncio.to_thread(verdict_of, visitors, upstream)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    return {
        "gone_s": round(seconds, 2),
        "back_s": results.spread(back, 2),
        "first_back_s": round(min(back), 2),
        **verdict.json(),
    }


def main() -> int:
    end_cleanly()
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--streams", type=int, default=1000)
    arguments.add_argument("--answers", type=int, default=50)
    given = arguments.parse_args()
    directory = Path(tempfile.mkdtemp())
    limits = ("--start-limit", "1000000")
    with Redis(directory / "redis.log") as redis, FakeUpstream(directory / "upstream.log", *limits) as upstream:
        overrides = {
            "log_level": "warning",
            "WIDGET_PROXY_REDIS_URL": redis.url,
            "WIDGET_PROXY_PACING__MESSAGE_POLL_SECONDS": "5",
            "WIDGET_PROXY_PACING__ANSWER_POLL_SHORTEST": "0.25",
        }
        leaving = Proxy(upstream.url, directory / "leaving.log", **overrides)
        staying = Proxy(upstream.url, directory / "staying.log", **overrides)
        with leaving, staying:
            figures = asyncio.run(run(leaving, staying, upstream, given.streams, given.answers))
    results.write("drain", {"streams": given.streams, "answers_in_flight": given.answers}, figures)
    broken = (figures["lost"], figures["doubled"], figures["without_exactly_one_done"], figures["gone_s"] > 10)
    return int(any(broken))


if __name__ == "__main__":
    sys.exit(main())
