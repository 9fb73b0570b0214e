"""What the official widget costs upstream: ten answered messages in three tabs over five minutes, straight and
through the proxy.

    .venv/bin/python -m benchmarks.drop_in

Each tab keeps the widget's rhythms: messages at once and every 30 seconds, an awaited answer at once and every
second. Everything runs in one process on a clock that jumps, with all intervals and limits as they are; the fake
upstream counts.
"""

import argparse
import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.types import ASGIApp

from benchmarks import results
from tests.virtual_time import VirtualTimeLoop, now
from tests.world import ORIGIN, World, world
from widget_proxy.attention import Attention
from widget_proxy.browser_gate import BrowserGate
from widget_proxy.config import CurrentSettings, Settings
from widget_proxy.drain import Drain
from widget_proxy.drop_in import DropIn, doors
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID, DEMO_EMBED_KEY
from widget_proxy.fake_upstream.state import Plan
from widget_proxy.files import Files
from widget_proxy.handles import Handles
from widget_proxy.rates import Rates

TABS = 3
MESSAGES = 10
SECONDS = 300.0
MESSAGE_POLL_SECONDS = 30.0
TASK_POLL_SECONDS = 1.0


@dataclass
class Tabs:
    """The tabs of one visitor, who share a session as the widget's do."""

    http: httpx.AsyncClient
    headers: dict[str, str]
    session: str = ""
    lags: list[float] = field(default_factory=list)
    polls: int = 0

    async def start(self) -> None:
        """Start the session."""
        answer = await self.http.post("/api/chat/start/", json={"chatbot_id": DEMO_CHATBOT_ID}, headers=self.headers)
        started = answer.raise_for_status().json()
        self.session = started["session_id"]
        self.headers = {"Origin": ORIGIN, "X-Session-Token": started["session_token"]}

    async def ask(self, path: str) -> Any:
        """One poll."""
        self.polls += 1
        answer = await self.http.get(f"/api/chat/{self.session}/{path}", headers=self.headers)
        return answer.raise_for_status().json()

    async def tab(self, opens: float, asks: list[tuple[float, float]]) -> None:
        """One tab: when it opens, and when it asks what takes how long to answer."""
        await asyncio.sleep(opens)
        clock = asyncio.get_running_loop().time
        waiting = list(asks)
        await self.ask("poll/")
        due = clock() + MESSAGE_POLL_SECONDS
        while clock() < SECONDS:
            moment, takes = waiting[0] if waiting else (SECONDS, 0.0)
            await asyncio.sleep(max(0.0, min(moment, due, SECONDS) - clock()))
            if waiting and clock() >= moment:
                waiting.pop(0)
                await self.answered(takes)
                due = clock()
            if clock() >= due:
                await self.ask("poll/")
                due = clock() + MESSAGE_POLL_SECONDS

    async def answered(self, takes: float) -> None:
        """Send a message, and look for its answer every second."""
        path = f"/api/chat/{self.session}/message/"
        sent = await self.http.post(path, json={"message": "Hello"}, headers=self.headers)
        task = sent.raise_for_status().json()["task_id"]
        clock = asyncio.get_running_loop().time
        ready = clock() + takes
        while (await self.ask(f"{task}/poll/"))["status"] != "complete":
            await asyncio.sleep(TASK_POLL_SECONDS)
        self.lags.append(clock() - ready)


def proxy(w: World, attention: Attention) -> ASGIApp:
    """The drop-in routes before this world's hub."""
    site = w.site.model_copy(update={"drop_in": True})
    settings = Settings(
        secret_key=(SecretStr("k" * 32),), upstream={"url": "http://127.0.0.1:1"}, sites={site.slug: site}
    )
    handles, drain = Handles(["k" * 32], now), Drain(8.0)

    def no_files(request: object) -> Any:
        raise NotImplementedError

    current = CurrentSettings(settings)
    rates = Rates(settings.rates, settings.redis)
    files = Files(current, handles, w.hub, drain, rates, no_files)
    drop_in = DropIn(current, handles, w.hub, w.broker, files, attention, drain, rates, now=now)
    return BrowserGate(Starlette(routes=drop_in.routes()), *doors(current))


async def visit(times: list[float], *, through_proxy: bool) -> dict[str, Any]:
    """One visit of five minutes: what upstream was asked, and how late answers were seen."""
    async with world() as w, anyio.create_task_group() as group:
        attention = Attention(w.hub, w.broker, most=100)
        group.start_soon(attention.run)
        app = proxy(w, attention) if through_proxy else Starlette(routes=w.api.routes())
        key = {} if through_proxy else {"X-Embed-Key": DEMO_EMBED_KEY}
        headers = {"Origin": ORIGIN, "X-OCS-Widget-Version": "0.9.0"} | key
        for takes in times:
            w.api.world.plans.append(Plan("An answer.", takes))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://chat.test") as http:
            tabs = Tabs(http, headers)
            await tabs.start()
            asks = [(5.0 + number * (SECONDS - 30) / MESSAGES, takes) for number, takes in enumerate(times)]
            async with anyio.create_task_group() as open_tabs:
                for number in range(TABS):
                    open_tabs.start_soon(tabs.tab, number * 7.0, asks[number::TABS])
        group.cancel_scope.cancel()
        asked = Counter(one.kind for one in w.api.ledger.requests)
        assert len(tabs.lags) == MESSAGES
    return {"asked": dict(asked), "upstream": asked.total(), "polls": tabs.polls, "lags": tabs.lags}


def main(rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    visits: dict[str, list[dict[str, Any]]] = {"straight": [], "through the proxy": []}
    for _ in range(rounds):
        times = [min(max(chance.lognormvariate(1.4, 0.5), 0.5), 25.0) for _ in range(MESSAGES)]
        for name, found in visits.items():
            with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
                found.append(runner.run(visit(times, through_proxy=name != "straight")))
    kinds = sorted({kind for found in visits.values() for one in found for kind in one["asked"]})
    figures = {
        name: {
            "upstream_requests": results.figure([one["upstream"] for one in found], 1),
            "polls_of_tabs": results.figure([one["polls"] for one in found], 1),
            "of_these": {kind: results.figure([one["asked"].get(kind, 0) for one in found], 1) for kind in kinds},
            "lag_s": results.spread([lag for one in found for lag in one["lags"]], 2),
        }
        for name, found in visits.items()
    }
    head = ["", "upstream requests", *kinds, "polls of the tabs", "lag: median, mean"]
    rows = [
        [
            name,
            results.with_spread(one["upstream_requests"], 0),
            *(results.with_spread(one["of_these"][kind], 0) for kind in kinds),
            results.with_spread(one["polls_of_tabs"], 0),
            f"{one['lag_s']['median']:.2f} s, {one['lag_s']['mean']:.2f} s",
        ]
        for name, one in figures.items()
    ]
    results.say(*results.table(head, rows))
    parameters = {"tabs": TABS, "messages": MESSAGES, "seconds": SECONDS, "rounds": rounds, "seed": seed}
    results.write("drop_in", parameters, figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=20261121)
    given = parser.parse_args()
    main(given.rounds, given.seed)
