"""A thousand open panels and a hundred replies a minute, before an upstream that enforces its limits.

    .venv/bin/python -m benchmarks.budget [--panels 1000] [--replies 100] [--seconds 600]

2,000 requests in 5 minutes for the address, 300 for a session. Beside it, in the same run, a naive proxy: it polls
each awaited answer every second and each session's messages every 30 seconds, and knows of no budget. All times are
a fifth of those named here. The thousand starts happen before; the limits are counted from there.
"""

import argparse
import asyncio
import math
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import results
from benchmarks.processes import end_cleanly
from benchmarks.visitors import Visitor, client
from tests.servers import EMBED_KEY, SHOP_ORIGIN, FakeUpstream, Proxy
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID

SCALE = 5.0
WINDOW_SECONDS = 300 / SCALE
OPENING_SECONDS = 120.0
"""Within this time all panels have their stream, or something refuses them."""
ANSWER_MEDIAN, ANSWER_SIGMA = 3.0 / SCALE, 0.5


def upstream_for(directory: Path, name: str) -> FakeUpstream:
    """One that enforces its limits; starts are not what is measured."""
    limits = ("--enforce-limits", "--window-seconds", str(WINDOW_SECONDS), "--start-limit", "1000000")
    return FakeUpstream(directory / f"{name}.log", *limits)


async def speak(upstream: FakeUpstream, session: str, chance: random.Random) -> None:
    """Order the next answer's time for a session."""
    delay = ANSWER_MEDIAN * math.exp(ANSWER_SIGMA * chance.gauss(0, 1))
    await asyncio.to_thread(upstream.order, "answers", text="An answer.", delay=delay, session=session)


async def ours(proxy: Proxy, upstream: FakeUpstream, panels: int, a_second: float, seconds: float) -> dict[str, Any]:
    """The proxy, with a stream a panel."""
    chance = random.Random(1)
    async with client() as http:
        visitors = [Visitor(http, [proxy.url], random.Random(number)) for number in range(panels)]
        for one in visitors:
            await one.start()
        sessions = [session["id"] for session in upstream.ask("sessions")]
        listening = [asyncio.create_task(one.listen()) for one in visitors]
        async with asyncio.timeout(OPENING_SECONDS):
            await asyncio.gather(*(one.connected.wait() for one in visitors))
        upstream.clear("limits")
        upstream.clear("requests")
        asked: list[asyncio.Task[Any]] = []
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            await asyncio.sleep(chance.expovariate(a_second))
            number = chance.randrange(panels)
            if visitors[number].awaited:
                continue
            await speak(upstream, sessions[number], chance)
            asked.append(asyncio.create_task(visitors[number].say(f"question {len(asked)}")))
        await asyncio.sleep(30)
        answered: dict[str, list[float]] = {}
        for told in upstream.ask("answered"):
            answered.setdefault(told["session"], []).append(told["ready_at"])
        lags = []
        for session, visitor in zip(sessions, visitors, strict=True):
            for sent, ready in zip(visitor.sent, answered.get(session, []), strict=False):
                if sent.task in visitor.arrived:
                    lags.append((visitor.arrived[sent.task] - ready) * SCALE)
        for task in (*listening, *asked):
            task.cancel()
        await asyncio.gather(*listening, *asked, return_exceptions=True)
        refused = sum((one.refused for one in visitors), Counter[str]())
    counts = upstream.ask("counts")["kinds"]
    return {
        "questions": len(asked),
        "failed": len(asked) - len(lags),
        "refused": dict(refused),
        "upstream_429": sum(one["status"] == 429 for one in upstream.requests()),
        "requests": counts,
        "polls_per_answer": round(counts["task_poll"] / max(1, len(lags)), 2),
        "lag_s": results.spread(lags),
    }


async def naive(upstream: FakeUpstream, panels: int, a_second: float, seconds: float) -> dict[str, Any]:
    """Fixed rhythms, and no budget."""
    chance, failed, refused = random.Random(1), 0, Counter[str]()

    async def call(http: aiohttp.ClientSession, kind: str, path: str, token: str, body: Any = None) -> Any:
        headers = {"X-Session-Token": token}
        method = "GET" if body is None else "POST"
        async with http.request(method, f"{upstream.url}/api/chat/{path}/", json=body, headers=headers) as answer:
            if answer.status == 429:
                refused[kind] += 1
                return None
            return await answer.json()

    async def listen(http: aiohttp.ClientSession, session: str, token: str) -> None:
        await asyncio.sleep(chance.random() * 30 / SCALE)
        while True:
            await call(http, "message_poll", f"{session}/poll", token)
            await asyncio.sleep(30 / SCALE)

    async def ask(http: aiohttp.ClientSession, session: str, token: str) -> None:
        nonlocal failed
        await speak(upstream, session, chance)
        sent = await call(http, "message", f"{session}/message", token, {"message": "A question."})
        if sent is None:
            failed += 1
            return
        for _ in range(120):
            state = await call(http, "task_poll", f"{session}/{sent['task_id']}/poll", token)
            if state is not None and state["status"] == "complete":
                arrived[sent["task_id"]] = time.time()
                return
            await asyncio.sleep(1 / SCALE)
        failed += 1

    arrived: dict[str, float] = {}
    async with client() as http:
        sessions = []
        headers = {"X-Embed-Key": EMBED_KEY, "Origin": SHOP_ORIGIN}
        for number in range(panels):
            if number % 1500 == 0:
                upstream.clear("limits")
            start = f"{upstream.url}/api/chat/start/"
            async with http.post(start, json={"chatbot_id": DEMO_CHATBOT_ID}, headers=headers) as answer:
                told = await answer.json()
                sessions.append((told["session_id"], told["session_token"]))
        upstream.clear("limits")
        upstream.clear("requests")
        tasks = [asyncio.create_task(listen(http, *one)) for one in sessions]
        asked: list[asyncio.Task[None]] = []
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            await asyncio.sleep(chance.expovariate(a_second))
            asked.append(asyncio.create_task(ask(http, *chance.choice(sessions))))
        await asyncio.wait(asked, timeout=30)
        for one in (*tasks, *asked):
            one.cancel()
        await asyncio.gather(*tasks, *asked, return_exceptions=True)
    ready = {one["task"]: one["ready_at"] for one in upstream.ask("answered")}
    lags = [(moment - ready[task]) * SCALE for task, moment in arrived.items()]
    return {
        "questions": len(asked),
        "failed": failed,
        "upstream_429": sum(refused.values()),
        "refused": dict(refused),
        "lag_s": results.spread(lags),
    }


def main() -> int:
    end_cleanly()
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--panels", type=int, default=1000)
    arguments.add_argument("--replies", type=float, default=100, help="a minute")
    arguments.add_argument("--seconds", type=float, default=600)
    given = arguments.parse_args()
    directory = Path(tempfile.mkdtemp())
    a_second, seconds = given.replies / 60 * SCALE, given.seconds / SCALE
    with upstream_for(directory, "ours") as upstream:
        proxy = Proxy(
            upstream.url,
            directory / "proxy.log",
            log_level="warning",
            WIDGET_PROXY_PACING__BUDGET=f"2000/{WINDOW_SECONDS:g}s",
            WIDGET_PROXY_PACING__MESSAGE_POLL_SECONDS=f"{30 / SCALE:g}",
            WIDGET_PROXY_PACING__ANSWER_POLL_SHORTEST=f"{0.25 / SCALE:g}",
        )
        with proxy:
            with_budget = asyncio.run(ours(proxy, upstream, given.panels, a_second, seconds))
    with upstream_for(directory, "naive") as upstream:
        without = asyncio.run(naive(upstream, given.panels, a_second, seconds))
    figures = {"panels": given.panels, "replies_a_minute": given.replies, "scale": SCALE}
    results.write("budget", figures, {"ours": with_budget, "naive": without})
    return int(with_budget["upstream_429"] > 0 or with_budget["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
