"""How far apart are two message polls of one session, whatever comes and goes?

    .venv/bin/python -m benchmarks.poll_discipline [--sessions 100] [--tabs 10] [--seconds 60]

Two workers that share Redis, each session open in ten tabs; tabs come and go, workers are killed and stopped in order
meanwhile. The fake upstream counts. Three seconds stand for upstream's thirty.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.chaos import is_worker
from benchmarks.processes import end_cleanly
from benchmarks.visitors import Visitor, client
from tests.servers import FakeUpstream, Proxy, Redis

SCALE = 10.0
SHORTEST_SECONDS = 30.0 / SCALE


async def tab(first: Visitor, chance: random.Random) -> None:
    """One tab of a session: opened, closed, opened again."""
    while True:
        await asyncio.sleep(chance.random() * 5)
        one = Visitor(first.http, first.urls, chance, handle=first.handle, cursor=first.cursor)
        listening = asyncio.create_task(one.listen())
        try:
            await asyncio.sleep(1 + chance.random() * 15)
        finally:
            listening.cancel()


async def run(proxy: Proxy, sessions: int, tabs: int, seconds: float, seed: int) -> int:
    """The workers that went."""
    chance = random.Random(seed)
    async with client() as http:
        visitors = [Visitor(http, [proxy.url], random.Random(seed + number)) for number in range(sessions)]
        await asyncio.gather(*(one.start() for one in visitors))
        tasks = [
            asyncio.create_task(tab(one, random.Random(seed * number + other)))
            for number, one in enumerate(visitors, 1)
            for other in range(tabs)
        ]
        ends = asyncio.get_running_loop().time() + seconds
        gone = 0
        while asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(seconds / 8)
            workers = [pid for pid in proxy.children() if is_worker(pid)]
            if len(workers) == 2:
                os.kill(chance.choice(workers), (signal.SIGKILL, signal.SIGTERM)[gone % 2])
                gone += 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return gone


def shortest_gaps(requests: list[dict[str, Any]]) -> list[float]:
    """The shortest gap of each session, in seconds."""
    moments: dict[str, list[float]] = defaultdict(list)
    for one in requests:
        moments[one["session"]].append(one["at"])
    several = [times for times in moments.values() if len(times) > 1]
    return [min(later - earlier for earlier, later in pairwise(times)) for times in several]


def main() -> int:
    end_cleanly()
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sessions", type=int, default=100)
    arguments.add_argument("--tabs", type=int, default=10)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=20261121)
    given = arguments.parse_args()
    directory = Path(tempfile.mkdtemp())
    with Redis(directory / "redis.log") as redis, FakeUpstream(directory / "upstream.log") as upstream:
        proxy = Proxy(
            upstream.url,
            directory / "proxy.log",
            log_level="warning",
            WIDGET_PROXY_REDIS_URL=redis.url,
            WIDGET_PROXY_SERVER__WORKERS="2",
            WIDGET_PROXY_PACING__MESSAGE_POLL_SECONDS=str(SHORTEST_SECONDS),
        )
        with proxy:
            gone = asyncio.run(run(proxy, given.sessions, given.tabs, given.seconds, given.seed))
            polls = upstream.requests("message_poll")
    gaps = shortest_gaps(polls)
    figures = {
        "workers_gone": gone,
        "message_polls": len(polls),
        "shortest_gap_s": round(min(gaps) * SCALE, 2),
        "shortest_gap_of_a_session_s": results.spread([gap * SCALE for gap in gaps], 2),
    }
    parameters = {"sessions": given.sessions, "tabs": given.tabs, "workers": 2, "scale": SCALE, "seed": given.seed}
    results.write("poll_discipline", parameters, figures)
    # Its own clock counts a request when it is answered; the answer may be some milliseconds early or late.
    return int(min(gaps) < SHORTEST_SECONDS - 0.02)


if __name__ == "__main__":
    sys.exit(main())
