"""An hour of mixed load: does anything grow that should not?

    .venv/bin/python -m benchmarks.soak [--minutes 60] [--streams 2000] [--workers 2]

Visitors come, read, ask, go and come back, leave streams unread, and a few ask what fails. They are as many all
the time, so memory, tasks and file descriptors of the proxy should be, too. They are counted at intervals, and once
more when everybody is gone. A slope is that of a straight line through the second half: what is filled once, such as
caches, is filled by then.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from redis import Redis as RedisClient

from benchmarks.processes import Measured, end_cleanly, given_settings, proxy
from benchmarks.results import say, spread, table, write
from benchmarks.visitors import Visitor, client
from tests.servers import METRICS_TOKEN, SHOP_ORIGIN, FakeUpstream, Figures, Redis, client_of

OPENING_PER_SECOND = 50
STAY_SECONDS = (60.0, 600.0)
"""A visitor stays so long; then another comes."""

KINDS = (*("hello",) * 12, "/slow 5", "/slow 20", "/fail", "/unsaved", "/remind 5")
SETTLE_SECONDS = 30.0
"""Time for what is left to go, once everybody is gone: writers, followers, connections kept alive."""

Row = dict[str, float]


class Load:
    """All visitors. `questions` a minute, all together."""

    def __init__(self, url: str, http: aiohttp.ClientSession, streams: int, questions: float, seed: int) -> None:
        self._url = url
        self._http = http
        self._streams = streams
        self._pause = 60 * streams / questions  # between two questions of one visitor, on average
        self._chance = random.Random(seed)
        self.told: Counter[str] = Counter()
        self.late: list[float] = []

    async def run(self) -> None:
        """For ever: as many visitors as there are to be."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._streams):
                group.create_task(self._place(random.Random(self._chance.random())))
                await asyncio.sleep(1 / OPENING_PER_SECOND)

    async def _place(self, chance: random.Random) -> None:
        while True:
            visitor = Visitor(self._http, [self._url], chance)
            await visitor.start()
            self.told["sessions"] += 1
            doings = [self._read(visitor), self._ask(visitor)]
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(chance.uniform(*STAY_SECONDS)):
                        await asyncio.gather(*doings)
            finally:
                self._note(visitor)

    def _note(self, visitor: Visitor) -> None:
        for status, many in Counter(end for ends in visitor.ends.values() for end in ends).items():
            self.told[f"answers {status}"] += many
        for what, many in visitor.refused.items():
            self.told[f"refused: {what}"] += many

    async def _read(self, visitor: Visitor) -> None:
        """Read; now and then go away for a moment and come back to the same conversation."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(visitor.chance.uniform(20, 200)):
                    await visitor.listen()
            self.told["returns"] += 1
            await asyncio.sleep(visitor.chance.random() * 3)

    async def _ask(self, visitor: Visitor) -> None:
        while True:
            await asyncio.sleep(visitor.chance.expovariate(1 / self._pause))
            text = visitor.chance.choice(KINDS)
            if visitor.chance.random() < 0.05:
                await self._stall(visitor)
            began = time.monotonic()
            sent = await visitor.say(f"{text} {visitor.chance.random()}" if text == "hello" else text)
            self.told["messages"] += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(60):
                    while sent.task is not None and sent.task not in visitor.arrived:
                        await asyncio.sleep(0.1)
            if text == "hello":
                self.late.append(time.monotonic() - began)

    async def _stall(self, visitor: Visitor) -> None:
        """A second stream of the conversation that is opened and never read, and gone without a word."""
        host, _, port = self._url.removeprefix("http://").partition(":")
        head = (
            f"GET /v1/session/events HTTP/1.1\r\nHost: {host}\r\nOrigin: {SHOP_ORIGIN}\r\n"
            f"Authorization: Bearer {visitor.handle}\r\n\r\n"
        )
        with suppress(OSError):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(head.encode())
            await asyncio.sleep(2)
            writer.transport.abort()
            self.told["stalled"] += 1


def look(server: Measured, redis: RedisClient, began: float) -> Row:
    """What there is now."""
    memory, figures = server.memory(), Figures(_metrics(server))
    keys = Counter(str(key).split(":")[1] for key in redis.scan_iter(count=1000))
    return {
        "minute": (time.monotonic() - began) / 60,
        "rss_kib": memory.rss,
        "uss_kib": memory.uss,
        "streams": figures("streams_open"),
        "sessions": figures("sessions_followed"),
        "tasks": figures("event_loop_tasks"),
        "files": figures("process_open_files"),
        "awaited": figures("answers_awaited"),
        "loop_lag_ms": 1000 * figures("event_loop_lag_seconds_sum") / max(1, figures("event_loop_lag_seconds_count")),
        "redis_kib": float(redis.info("memory")["used_memory"]) / 1024,
        "redis_keys": sum(keys.values()),
    } | {f"keys_{kind}": float(many) for kind, many in keys.items()}


def _metrics(server: Measured) -> str:
    with client_of(server.url, {"Authorization": f"Bearer {METRICS_TOKEN}"}) as asking:
        asking.timeout = 60
        return asking.get("/metrics").raise_for_status().text


def slope(rows: Sequence[Row], name: str) -> float:
    """How much it grows in a minute, by the second half of these."""
    half = [row for row in rows[len(rows) // 2 :] if name in row]
    if len(half) < 2:
        return 0.0
    return statistics.linear_regression([row["minute"] for row in half], [row[name] for row in half]).slope


async def soak(
    server: Measured, redis: RedisClient, minutes: float, streams: int, questions: float, every: float, seed: int
) -> tuple[list[Row], Row, Row, Load]:
    """The rows; what there was before anybody came, and after everybody went."""
    began = time.monotonic()
    async with client() as http:
        # What is loaded or allocated once shall not count.
        warm = Visitor(http, [server.url], random.Random(seed))
        await warm.start()
        await warm.say("hello")
        before = await asyncio.to_thread(look, server, redis, began)
        load = Load(server.url, http, streams, questions, seed)
        running = asyncio.create_task(load.run())
        await asyncio.sleep(streams / OPENING_PER_SECOND)
        rows: list[Row] = []
        began = time.monotonic()
        while time.monotonic() - began < minutes * 60:
            rows.append(await asyncio.to_thread(look, server, redis, began))
            told = "  ".join(f"{name} {rows[-1][name]:,.0f}" for name in COLUMNS)
            say(f"{rows[-1]['minute']:6.1f} min  {told}")
            await asyncio.wait([running], timeout=every)
            if running.done():
                running.result()
        running.cancel()
        await asyncio.wait([running])
    await asyncio.sleep(SETTLE_SECONDS)
    return rows, before, await asyncio.to_thread(look, server, redis, began), load


COLUMNS = ("rss_kib", "uss_kib", "streams", "sessions", "tasks", "files", "redis_keys", "redis_kib")


def main() -> int:
    """Load, count, write. 1 where something is left that should have gone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--questions", type=float, default=120.0, help="a minute, all visitors together")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two counts")
    parser.add_argument("--budget", default="20000/5m", help="of upstream requests")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the proxy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="soak", help="of the file in benchmarks/results")
    given = parser.parse_args()
    end_cleanly()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Redis(directory / "redis.log") as shared, FakeUpstream(directory / "upstream.log") as upstream:
            settings = {
                "REDIS_URL": shared.url,
                "SERVER__WORKERS": str(given.workers),
                "METRICS_TOKEN": METRICS_TOKEN,
                "PACING__BUDGET": given.budget,
            } | given_settings(given.set)
            log = directory / "proxy.log"
            with (
                proxy(upstream.url, log, settings) as server,
                RedisClient.from_url(shared.url, decode_responses=True) as redis,
            ):
                _wait_for_workers(server, given.workers)
                rows, before, after, load = asyncio.run(
                    soak(server, redis, given.minutes, given.streams, given.questions, given.every, given.seed)
                )
            errors = log.read_text("utf-8", "replace").count("Traceback")
    slopes = {name: round(slope(rows, name), 2) for name in sorted({one for row in rows for one in row} - {"minute"})}
    left = {name: after[name] - before[name] for name in ("streams", "sessions", "tasks", "files", "awaited")}
    middle, end = rows[len(rows) // 2], rows[-1]
    lines = [
        [name, *(f"{row.get(name, 0):,.0f}" for row in (before, middle, end, after)), f"{slopes.get(name, 0):+,.2f}"]
        for name in COLUMNS
    ]
    say("", *table(["", "before", "half-way", "end", "all gone", "slope a minute"], lines))
    say(f"memory, both workers: {slopes['uss_kib']:+.1f} KiB/min of their own in the second half")
    say(f"left when all were gone: {left}; tracebacks in the log: {errors}")
    say(f"visitors: {dict(load.told)}")
    parameters = {
        name: getattr(given, name) for name in ("minutes", "streams", "questions", "workers", "budget", "set", "seed")
    }
    figures: dict[str, Any] = {
        "slope_a_minute": slopes,
        "before": before,
        "half_way": middle,
        "end": end,
        "all_gone": after,
        "left": left,
        "tracebacks": errors,
        "visitors": dict(load.told),
        "answer_seconds": spread(load.late) if load.late else None,
        "rows": [{name: round(value, 2) for name, value in row.items()} for row in rows],
    }
    say(f"written: {write(given.name, parameters, figures)}")
    # A few connections may be kept alive, and a worker's own tasks come and go.
    spare = 10 * given.workers
    return int(errors > 0 or left["streams"] != 0 or left["tasks"] > spare or left["files"] > spare + 64)


def _wait_for_workers(server: Measured, workers: int) -> None:
    deadline = time.monotonic() + 60
    while Figures(_metrics(server))("workers") < workers:
        if time.monotonic() > deadline:
            raise RuntimeError("the workers did not start")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
