"""Lag: from upstream having an answer to its event on the client's socket, and what that cost upstream in polls.

    .venv/bin/python -m benchmarks.lag [--sessions 24] [--answers 120] [--rounds 3]

Beside it, in the same run, against the same upstream and for the same answer times: clients with the rhythm of Open
Chat Studio's own widget, which ask upstream themselves. Each session awaits one answer at a time; sessions run side
by side only to save time, so the proxy's budget of upstream requests is lifted for them, but for `--sessions 1` (one
visitor alone) and where `--budget` says otherwise. Then the curve of lag against polls, computed: `lag_curve`.
"""

import argparse
import asyncio
import contextlib
import math
import random
import statistics
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import lag_curve
from benchmarks.connections import SHOP, Connection, call, stream
from benchmarks.processes import (
    EMBED_KEY,
    SHOP_ORIGIN,
    FakeUpstream,
    end_cleanly,
    given_settings,
    proxy,
    unbound_budget,
)
from benchmarks.proxy_rhythm import equal_interval
from benchmarks.results import figures, percentile, say, table, with_spread, write
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID

MEDIANS = (3.0, 6.0)  # seconds; of log-normal answer times
SIGMA = 0.5
PAUSE_SECONDS = (0.0, 0.5)  # between an answer and the next question: keeps the sessions out of step
TEACHERS = 5
REFILL_SECONDS = 40.0  # until the budget has recovered from those who were there before
PATIENCE_SECONDS = 90.0  # for one answer
SEED = 20261121


@dataclass
class Visitor:
    """One session, and when each of its answers arrived (wall time)."""

    upstream_session: str
    arrived: list[float] = field(default_factory=list)


class ProxiedVisitor(Visitor):
    """A visitor with a stream from the proxy."""

    def __init__(self, upstream_session: str, handle: str, port: int) -> None:
        super().__init__(upstream_session)
        self._headers = SHOP | {"Authorization": f"Bearer {handle}"}
        self._port = port
        self._events: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
        self.ready = asyncio.Event()

    async def listen(self) -> None:
        """Note the moment of everything the bot says, for as long as this runs."""
        async for event in stream(self._port, "/v1/session/events", self._headers):
            if event.name == "ready":
                self.ready.set()
            elif event.name == "message" and event.data["role"] == "assistant":
                self._events.put_nowait((event.data["content"], event.at))

    async def ask(self, text: str) -> None:
        """Send a question and wait for the answer `text`."""
        headers = self._headers | {"Idempotency-Key": str(uuid.uuid4())}
        await call(self._port, "POST", "/v1/session/messages", headers, {"message": "hello"})
        while True:
            content, at = await self._events.get()
            if content == text:
                self.arrived.append(at)
                return


class OfficialVisitor(Visitor):
    """A visitor with the official widget's rhythm: a poll at once, then one a second after each answer."""

    def __init__(self, upstream_session: str, token: str, port: int) -> None:
        super().__init__(upstream_session)
        self._headers = {"X-Session-Token": token}
        self._connection = Connection(port)

    async def ask(self, text: str) -> None:
        """Send a question and poll for the answer `text`."""
        path = f"/api/chat/{self.upstream_session}"
        _, sent = await self._connection.call("POST", f"{path}/message/", self._headers, {"message": "hello"})
        while True:
            _, state = await self._connection.call("GET", f"{path}/{sent['task_id']}/poll/", self._headers)
            if state["status"] == "complete":
                self.arrived.append(time.time())
                self._connection.close()  # until the next question it might be closed from the other side
                return
            await asyncio.sleep(1.0)

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()


async def proxied_visitors(count: int, proxy_port: int, upstream_port: int) -> list[ProxiedVisitor]:
    """Start sessions through the proxy. Upstream's ids are found by the participant each was given."""
    names = {f"visitor-{uuid.uuid4().hex[:12]}": "" for _ in range(count)}
    for name in names:
        body = {"participant": {"id": name}}
        names[name] = (await call(proxy_port, "POST", "/v1/sites/shop/sessions", SHOP, body))["handle"]
    sessions = await call(upstream_port, "GET", "/_fake/sessions")
    ids = {one["start_body"].get("participant_remote_id"): one["id"] for one in sessions}
    return [ProxiedVisitor(ids[name], handle, proxy_port) for name, handle in names.items()]


async def official_visitors(count: int, upstream_port: int) -> list[OfficialVisitor]:
    """Start sessions with upstream itself, as a browser would."""
    headers = {"X-Embed-Key": EMBED_KEY, "Origin": SHOP_ORIGIN}
    body = {"chatbot_id": DEMO_CHATBOT_ID}
    started = [await call(upstream_port, "POST", "/api/chat/start/", headers, body) for _ in range(count)]
    return [OfficialVisitor(one["session_id"], one["session_token"], upstream_port) for one in started]


async def converse(
    visitor: ProxiedVisitor | OfficialVisitor, delays: list[float], pause: tuple[float, float], upstream_port: int
) -> None:
    """Ask one question after the other, with a pause; the n-th answer is ready after `delays[n]` seconds."""
    for delay in delays:
        await asyncio.sleep(random.uniform(*pause))
        text = f"answer {uuid.uuid4()}"
        order = {"text": text, "delay": delay, "session": visitor.upstream_session}
        await call(upstream_port, "POST", "/_fake/answers", None, order)
        async with asyncio.timeout(delay + PATIENCE_SECONDS):
            await visitor.ask(text)


async def play_round(
    groups: dict[str, list[Any]], delays: list[float], pause: tuple[float, float], upstream_port: int
) -> dict[str, dict[str, float]]:
    """Every group gets the same answer times at the same time; what each group saw."""
    before = await call(upstream_port, "GET", "/_fake/counts")
    for group in groups.values():
        for visitor in group:
            visitor.arrived.clear()
    await asyncio.gather(
        *(
            converse(visitor, delays[position :: len(group)], pause, upstream_port)
            for group in groups.values()
            for position, visitor in enumerate(group)
        )
    )
    after = await call(upstream_port, "GET", "/_fake/counts")
    ready: dict[str, list[float]] = {}
    for task in await call(upstream_port, "GET", "/_fake/answered"):
        ready.setdefault(task["session"], []).append(task["ready_at"])
    seen = {}
    for name, group in groups.items():
        lags = [
            at - ready_at
            for visitor in group
            if visitor.arrived
            for at, ready_at in zip(
                visitor.arrived, ready[visitor.upstream_session][-len(visitor.arrived) :], strict=True
            )
        ]
        ids = [visitor.upstream_session for visitor in group]
        seen[name] = _summary(lags) | {"polls_per_answer": (_polls(after, ids) - _polls(before, ids)) / len(lags)}
    return seen


def _summary(lags: list[float]) -> dict[str, float]:
    return {
        "lag_median_s": statistics.median(lags),
        "lag_p95_s": percentile(lags, 0.95),
        "lag_mean_s": statistics.mean(lags),
        "lag_worst_s": max(lags),
    }


def _polls(counts: dict[str, Any], sessions: list[str]) -> int:
    return sum(counts["sessions"].get(one, {}).get("task_poll", 0) for one in sessions)


async def teach(answers: int, median: float, chance: random.Random, proxy_port: int, upstream_port: int) -> None:
    """Let other visitors of the site have this many answers: its answer times are known then. A few at a time, so
    that the budget lets them be known well."""
    if not answers:
        return
    others = await proxied_visitors(TEACHERS, proxy_port, upstream_port)
    listeners = [asyncio.create_task(visitor.listen()) for visitor in others]
    try:
        async with asyncio.TaskGroup() as group:
            for visitor in others:
                delays = [median * math.exp(SIGMA * chance.gauss(0, 1)) for _ in range(answers // TEACHERS)]
                group.create_task(converse(visitor, delays, PAUSE_SECONDS, upstream_port))
    finally:
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
    await asyncio.sleep(REFILL_SECONDS)


async def measure(median: float, options: argparse.Namespace, settings: dict[str, str]) -> dict[str, Any]:
    """All rounds of one distribution of answer times, with a proxy that is new at their beginning."""
    chance = random.Random(SEED)
    rounds = []
    if options.equal_polls:
        settings = settings | {"PACING__ANSWER_POLL_SHORTEST": f"{equal_interval(median, SIGMA):.3f}"}
    with tempfile.TemporaryDirectory() as directory:
        upstream = FakeUpstream(Path(directory) / "upstream.log")
        with upstream, proxy(upstream.url, Path(directory) / "proxy.log", settings) as server:
            proxied = await proxied_visitors(options.sessions, server.port, upstream.port)
            official = await official_visitors(options.sessions, upstream.port)
            listeners = [asyncio.create_task(visitor.listen()) for visitor in proxied]
            try:
                async with asyncio.timeout(30):
                    for visitor in proxied:
                        await visitor.ready.wait()
                await teach(options.known, median, chance, server.port, upstream.port)
                for number in range(options.rounds):
                    delays = [median * math.exp(SIGMA * chance.gauss(0, 1)) for _ in range(options.answers)]
                    groups: dict[str, list[Any]] = {"ours": proxied, "official": official}
                    seen = await play_round(groups, delays, options.pause, upstream.port)
                    ours, theirs = seen["ours"], seen["official"]
                    say(
                        f"  median {median:g} s, round {number + 1}: ours {ours['lag_median_s']:.3f} s with "
                        f"{ours['polls_per_answer']:.1f} polls, official {theirs['lag_median_s']:.3f} s with "
                        f"{theirs['polls_per_answer']:.1f}"
                    )
                    rounds.append(seen)
            finally:
                for listener in listeners:
                    listener.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.gather(*listeners, return_exceptions=True)
                for one in official:
                    one.close()
    return {name: figures([one[name] for one in rounds]) for name in rounds[0]}


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=24, help="side by side, of each kind; 1 is a visitor alone")
    parser.add_argument("--answers", type=int, default=120, help="a round, of each kind and median")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--pause", type=_span, default=PAUSE_SECONDS, metavar="FROM-TO", help="seconds from an answer to a question"
    )
    parser.add_argument("--known", type=int, default=0, help="answers to others on the site before; default: none")
    parser.add_argument(
        "--equal-polls", action="store_true", help="give the proxy the interval that costs as many polls as the other"
    )
    parser.add_argument("--budget", help="the proxy's budget, such as 2000/5m; default: lifted, but for one session")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the proxy")
    parser.add_argument("--name", default="lag", help="of the file in benchmarks/results")
    parser.add_argument("--no-curve", action="store_true", help="leave the computed curve out")
    parser.add_argument("--only-curve", action="store_true", help="compute the curve, measure nothing")
    options = parser.parse_args()
    end_cleanly()
    budget = {"PACING__BUDGET": options.budget} if options.budget else unbound_budget()
    settings = (budget if options.budget or options.sessions > 1 else {}) | given_settings(options.set)
    measured: dict[str, Any] = {}
    if not options.only_curve:
        for median in MEDIANS:
            measured[f"answers of {median:g} s"] = asyncio.run(measure(median, options, settings))
        _tell(measured)
    if not options.no_curve:
        curve = lag_curve.draw(MEDIANS, SIGMA)
        say("", *lag_curve.summary(curve), f"drawn: {lag_curve.PICTURE}")
        say(f"written: {write('lag_curve', {'medians_s': MEDIANS, 'sigma': SIGMA}, curve)}")
    if measured:
        parameters = {
            "sessions": options.sessions,
            "answers_a_round": options.answers,
            "pause_s": options.pause,
            "answers_known": options.known,
            "equal_polls": options.equal_polls,
            "answer_times": f"log-normal, sigma {SIGMA}, medians {MEDIANS} s",
            "settings": settings,
        }
        say(f"written: {write(options.name, parameters, measured)}")


def _span(text: str) -> tuple[float, float]:
    low, _, high = text.partition("-")
    return float(low), float(high or low)


def _tell(measured: dict[str, Any]) -> None:
    names = ("lag_median_s", "lag_p95_s", "lag_mean_s", "polls_per_answer")
    rows = [
        [f"{kind}, {median}", *(with_spread(seen[name]) for name in names)]
        for median, kinds in measured.items()
        for kind, seen in kinds.items()
    ]
    say("", "Lag in seconds, and task polls: median of the rounds (lowest–highest)")
    say(*table(["", "median", "95th", "mean", "polls/answer"], rows))


if __name__ == "__main__":
    main()
