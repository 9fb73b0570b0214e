"""Workers are killed while two hundred visitors chat: what is lost, what is shown twice?

    .venv/bin/python -m benchmarks.chaos [--chats 200] [--kills 20] [--only redis|memory] [--planted]

Once with two workers that share Redis, a random one of which is killed with -9 each time; once with one worker and
the memory broker, killed and started again on the same port. `--planted` lets every visitor forget one message in
fifty: the count has to notice.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.processes import end_cleanly
from benchmarks.verdict import BROKEN, Noted, Verdict, judge
from benchmarks.visitors import Visitor, client
from tests.servers import FakeUpstream, Proxy, Redis

MESSAGES = 5
KINDS = ("question", "question", "question", "/slow 4 {}", "/fail {}", "/unsaved {}", "/remind 2 {}")
SETTLE_SECONDS = 60.0
MESSAGE_POLL_SECONDS = "3"  # stands for 30; upstream's windows are scaled as well


async def chat(visitor: Visitor, number: int, seconds: float) -> None:
    """One visitor: comes some time, says several things, stays."""
    await asyncio.sleep(visitor.chance.random() * seconds / 3)
    await visitor.start()
    listening = asyncio.create_task(visitor.listen())
    try:
        for position in range(MESSAGES):
            kind = visitor.chance.choice(KINDS)
            await visitor.say(f"{kind.format('')} v{number}m{position}" if "{}" in kind else f"v{number}m{position}")
            await asyncio.sleep(visitor.chance.random() * seconds / MESSAGES)
        await asyncio.Event().wait()
    finally:
        listening.cancel()


def verdict_of(visitors: list[Visitor], upstream: FakeUpstream) -> Verdict:
    """All visitors against all that upstream stored. A session is known by the first thing said in it."""
    stored: dict[str, list[dict[str, Any]]] = {}
    for session in upstream.ask("sessions"):
        rows = upstream.ask(f"sessions/{session['id']}/messages")
        for row in rows:
            if row["role"] == "user":
                stored.setdefault(row["content"].rpartition("v")[2].partition("m")[0], rows)
    total = Verdict()
    for number, visitor in enumerate(visitors):
        sent = [(one.text, one.task) for one in visitor.sent if one.accepted]
        noted = Noted(
            sent, visitor.shown, visitor.ends, visitor.repeated, visitor.connects, visitor.repeated_on_one_stream
        )
        total += judge(noted, stored.get(str(number), []))
    return total


async def run(
    chats: int, kills: int, seed: int, proxy: Proxy, upstream: FakeUpstream, workers: int, planted: bool
) -> dict[str, Any]:
    """One run; the figures."""
    chance = random.Random(seed)
    seconds = kills * 2.5
    async with client() as http:
        visitors = [Visitor(http, [proxy.url], random.Random(seed + number)) for number in range(chats)]
        tasks = [asyncio.create_task(chat(one, number, seconds)) for number, one in enumerate(visitors)]
        killed = 0
        while killed < kills:
            await asyncio.sleep(chance.uniform(1.0, 3.5))
            if workers > 1:
                victims = [pid for pid in proxy.children() if is_worker(pid)]
                if len(victims) < workers:
                    continue  # the last one killed is not back yet
                os.kill(chance.choice(victims), signal.SIGKILL)
            else:
                await asyncio.to_thread(proxy.kill)
                await asyncio.to_thread(proxy.start)
            killed += 1
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            await asyncio.sleep(2)
            if planted:
                for one in visitors:
                    one.shown = [row for row in one.shown if hash(row["key"]) % 50]
            ready = all(len(one.sent) == MESSAGES and not one.awaited for one in visitors)
            verdict = await asyncio.to_thread(verdict_of, visitors, upstream)
            if (ready and verdict.clean) or time.monotonic() > deadline:
                break
        refused: dict[str, int] = {}
        for one in visitors:
            for what, count in one.refused.items():
                refused[what] = refused.get(what, 0) + count
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {"workers": workers, "chats": chats, "kills": killed, **verdict.json(), "refused": refused}


def is_worker(pid: int) -> bool:
    """Whether this process is a worker of a supervisor."""
    try:
        return "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def main() -> int:
    end_cleanly()
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--chats", type=int, default=200)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=20261121)
    arguments.add_argument("--only", choices=["redis", "memory"])
    arguments.add_argument("--planted", action="store_true")
    given = arguments.parse_args()
    figures: dict[str, Any] = {}
    directory = Path(tempfile.mkdtemp())
    with Redis(directory / "redis.log") as redis:
        for name in ("redis", "memory"):
            if given.only not in {None, name}:
                continue
            with FakeUpstream(
                directory / f"{name}-upstream.log", "--think", "1.5", "--window-seconds", "30"
            ) as upstream:
                overrides = {
                    "log_level": "warning",
                    "WIDGET_PROXY_PACING__MESSAGE_POLL_SECONDS": MESSAGE_POLL_SECONDS,
                }
                overrides["WIDGET_PROXY_PACING__ANSWER_POLL_SHORTEST"] = "0.25"
                if name == "redis":
                    overrides |= {"WIDGET_PROXY_REDIS_URL": redis.url, "WIDGET_PROXY_SERVER__WORKERS": "2"}
                proxy = Proxy(upstream.url, directory / f"{name}-proxy.log", **overrides)
                with proxy:
                    figures[name] = asyncio.run(
                        run(
                            given.chats,
                            given.kills,
                            given.seed,
                            proxy,
                            upstream,
                            2 if name == "redis" else 1,
                            given.planted,
                        )
                    )
    if given.planted:
        sys.stdout.write(f"{figures}\n")
        return 0 if all(one["lost"] for one in figures.values()) else 1
    results.write("chaos", {"seed": given.seed, "message_poll_s": MESSAGE_POLL_SECONDS}, figures)
    return int(any(one[what] for one in figures.values() for what in BROKEN))


if __name__ == "__main__":
    sys.exit(main())
