"""Cost: CPU for one poll of upstream, through the whole path, with one HTTP transport and with the other.

    .venv/bin/python -m benchmarks.cost [--rounds 5] [--requests 600]

First the upstream client by itself: `poll_task` and `poll_messages`, from building the request to the parsed answer,
at several concurrencies; httpx's default transport and the chosen one (`httpx-aiohttp`) in turn. Then the proxy as a
whole, with visitors who wait: what its process used, by the task polls it made. Under uvloop, as it is served.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.connections import call
from benchmarks.contenders import Contender, ours
from benchmarks.default_transport import default_transport
from benchmarks.processes import EMBED_KEY, SHOP_ORIGIN, Cost, FakeUpstream, end_cleanly, given_settings
from benchmarks.results import figure, say, table, with_spread, write
from benchmarks.stream_driver import StreamDriver
from widget_proxy.config import UpstreamSettings
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID
from widget_proxy.upstream import Credentials, UpstreamClient

CONCURRENCIES = (1, 20, 200)
MESSAGES = 20  # in the history that is polled
CHOSEN, DEFAULT = "httpx-aiohttp", "httpx default"

VISITORS = 100
SETTLE_SECONDS = 3.0
WINDOW_SECONDS = 20.0

Poll = Callable[[], Awaitable[object]]


def client(url: str, transport: str) -> UpstreamClient:
    """The proxy's client over one of the transports, with a connection for each concurrent request."""
    settings = UpstreamSettings(connections=max(CONCURRENCIES))
    return UpstreamClient(url, settings, default_transport(settings) if transport == DEFAULT else None)


async def cpu_per_request(poll: Poll, requests: int, concurrency: int) -> float:
    """Microseconds of this process's CPU, user and system, for each of so many polls, so many at a time."""
    left = requests

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await poll()

    before = _cpu()
    await asyncio.gather(*(one_after_the_other() for _ in range(concurrency)))
    return (_cpu() - before) / requests * 1e6


async def compare_transports(upstream: FakeUpstream, rounds: int, requests: int) -> dict[str, Any]:
    """Both transports in turn, round by round; µs of CPU a request."""
    port = upstream.port
    headers = {"X-Embed-Key": EMBED_KEY, "Origin": SHOP_ORIGIN}
    started = await call(port, "POST", "/api/chat/start/", headers, {"chatbot_id": DEMO_CHATBOT_ID})
    credentials = Credentials(started["session_id"], started["session_token"], None, SHOP_ORIGIN)
    for number in range(MESSAGES):
        text = f"Message {number}, **of ordinary length**, as a bot may write it of its own accord."
        await call(port, "POST", "/_fake/say", None, {"session": started["session_id"], "text": text})
    await call(port, "POST", "/_fake/answers", None, {"text": "", "delay": 86_400})
    token = {"X-Session-Token": started["session_token"]}
    path = f"/api/chat/{started['session_id']}/message/"
    task = (await call(port, "POST", path, token, {"message": "hello"}))["task_id"]
    seen: dict[tuple[str, int, str], list[float]] = {}
    clients = {name: client(upstream.url, name) for name in (CHOSEN, DEFAULT)}
    for one in clients.values():
        await one.__aenter__()
    try:
        for number in range(-1, rounds):  # the first opens the connections, and does not count
            for name in sorted(clients, reverse=number % 2 == 0):
                polls = _polls(clients[name], credentials, task)
                for concurrency in CONCURRENCIES:
                    for kind, poll in polls.items():
                        used = await cpu_per_request(poll, requests, concurrency)
                        if number >= 0:
                            seen.setdefault((kind, concurrency, name), []).append(used)
            if number >= 0:
                say(f"  round {number + 1} of {rounds}")
    finally:
        for one in clients.values():
            await one.__aexit__(None, None, None)
    return {
        f"{kind}, {concurrency} at once": {
            **{name: figure(seen[kind, concurrency, name], 1) for name in clients},
            "ratio": figure(
                [
                    default / chosen
                    for default, chosen in zip(
                        seen[kind, concurrency, DEFAULT], seen[kind, concurrency, CHOSEN], strict=True
                    )
                ],
                2,
            ),
        }
        for kind in ("poll_task", "poll_messages")
        for concurrency in CONCURRENCIES
    }


def _polls(one: UpstreamClient, credentials: Credentials, task: str) -> dict[str, Poll]:
    return {
        "poll_task": lambda: one.poll_task(credentials, task),
        "poll_messages": lambda: one.poll_messages(credentials, None, 500),
    }


def proxy_per_poll(transport: str, settings: dict[str, str]) -> dict[str, float]:
    """The whole proxy while visitors wait for answers that do not come: its CPU by the task polls it made, in µs,
    less what the same streams cost when nobody waits."""
    told = {"PACING__MESSAGE_POLL_SECONDS": "3600", "UPSTREAM__CONNECTIONS": "200"} | settings
    command = ("widget_proxy",) if transport == CHOSEN else ("benchmarks.default_transport",)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        contender = stack.enter_context(ours(Path(directory), told, command=command))
        driver = StreamDriver(contender.server.port)
        stack.callback(driver.close)
        contender.prepare(VISITORS)
        requests = [contender.stream(number) for number in range(VISITORS)]
        driver.open(requests, contender.opened, at_once=20, seconds=60)
        if len(driver.streams) < VISITORS:
            raise RuntimeError("not all streams opened")
        driver.idle(SETTLE_SECONDS)
        idle, _ = _window(contender, driver)
        orders = contender.orders(range(VISITORS), delay=3600.0)
        driver.ask(orders, at_once=20, seconds=60)
        driver.idle(SETTLE_SECONDS)
        busy, polls = _window(contender, driver)
    return {
        "polls": polls,
        "cpu_us_per_poll": (busy - idle) / polls * 1e6,
        "idle_cpu_percent": idle / WINDOW_SECONDS * 100,
    }


def _window(contender: Contender, driver: StreamDriver) -> tuple[float, int]:
    """CPU seconds of the proxy, and the task polls it made, in a window of time."""
    before = contender.upstream_requests().get("task_poll", 0)
    cost, began = Cost(contender.server), time.perf_counter()
    driver.idle(WINDOW_SECONDS)
    used = cost.seconds() / (time.perf_counter() - began) * WINDOW_SECONDS
    return used, contender.upstream_requests().get("task_poll", 0) - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=600, help="a round, of each kind and concurrency")
    parser.add_argument("--proxy-rounds", type=int, default=3, help="of the whole proxy, 50 s a transport; 0: none")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the proxy")
    parser.add_argument("--name", default="cost", help="of the file in benchmarks/results")
    options = parser.parse_args()
    end_cleanly()
    settings = given_settings(options.set)
    with (
        tempfile.TemporaryDirectory() as directory,
        FakeUpstream(Path(directory) / "upstream.log") as upstream,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        compared = runner.run(compare_transports(upstream, options.rounds, options.requests))
    _tell_transports(compared)
    whole: dict[str, list[dict[str, float]]] = {CHOSEN: [], DEFAULT: []}
    for number in range(options.proxy_rounds):
        for transport, seen in whole.items():
            seen.append(proxy_per_poll(transport, settings))
            say(f"  proxy, round {number + 1}, {transport}: {seen[-1]['cpu_us_per_poll']:.0f} µs a task poll")
    measured: dict[str, Any] = {"client, µs of CPU a request": compared}
    if options.proxy_rounds:
        measured["whole proxy"] = {name: _figures(seen) for name, seen in whole.items()}
        _tell_proxy(measured["whole proxy"])
    parameters = {
        "requests_a_round": options.requests,
        "messages_in_history": MESSAGES,
        "visitors": VISITORS,
        "window_seconds": WINDOW_SECONDS,
        "settings": settings,
    }
    say(f"written: {write(options.name, parameters, measured)}")


def _figures(rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {name: figure([one[name] for one in rounds], 1) for name in rounds[0]}


def _tell_transports(compared: dict[str, Any]) -> None:
    rows = [
        [what, with_spread(seen[CHOSEN], 0), with_spread(seen[DEFAULT], 0), with_spread(seen["ratio"], 1)]
        for what, seen in compared.items()
    ]
    say("", "µs of the client's CPU a request: median of the rounds (lowest–highest)")
    say(*table(["", CHOSEN, DEFAULT, "ratio"], rows), "")


def _tell_proxy(whole: dict[str, Any]) -> None:
    rows = [
        [name, with_spread(seen["cpu_us_per_poll"], 0), with_spread(seen["polls"], 0)] for name, seen in whole.items()
    ]
    say("", "The whole proxy, 100 visitors waiting: µs of its CPU a task poll")
    say(*table(["", "µs/poll", f"polls in {WINDOW_SECONDS:g} s"], rows))


if __name__ == "__main__":
    main()
