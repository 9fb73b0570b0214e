"""Two machines with Redis between, and one is cut off and comes back while visitors chat: what is lost or doubled?

    .venv/bin/python -m benchmarks.partition [--chats 60] [--cuts 8]

Each machine is a network namespace (Linux, root). In turn, one of the two loses Redis, or everybody: visitors,
upstream and Redis. Packets vanish without a word, as when a switch fails. At the end every row upstream stored is
compared with what each visitor was shown, as in `chaos`.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machines, results
from benchmarks.chaos import MESSAGES, SETTLE_SECONDS, chat, verdict_of
from benchmarks.machines import SWITCHES, Elsewhere, Machine
from benchmarks.processes import end_cleanly
from benchmarks.verdict import BROKEN
from benchmarks.visitors import Visitor, client
from tests.servers import FakeUpstream, Proxy, Redis, Server, free_port, running

CUT_SECONDS = (4.0, 9.0)
WHOLE_SECONDS = (4.0, 7.0)
HEARTBEAT_SECONDS = 1.0  # stands for 15; a visitor leaves a stream that is silent for three of them
CUTS = {"Redis": SWITCHES[1:], "everybody": SWITCHES}


class FarProxy(Elsewhere, Proxy):
    """A proxy on a machine, which reaches upstream by a relay on the same one."""

    def __init__(self, machine: Machine, relay: "Relay", redis_url: str, log: Path) -> None:
        overrides = {
            "log_level": "warning",
            "WIDGET_PROXY_REDIS_URL": redis_url,
            "WIDGET_PROXY_SERVER__HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
            "WIDGET_PROXY_PACING__MESSAGE_POLL_SECONDS": "3",  # stands for 30
            "WIDGET_PROXY_PACING__ANSWER_POLL_SHORTEST": "0.25",
        }
        super().__init__(f"http://127.0.0.1:{relay.port}", log, **overrides)
        self._command[self._command.index("--host") + 1] = machine.address
        self.url = f"http://{machine.address}:{self.port}"
        self.move(machine, machine.address)


class FarRedis(Elsewhere, Redis):
    """Redis on a machine, on the switch at the back alone."""

    def __init__(self, machine: Machine, log: Path) -> None:
        super().__init__(log, "--protected-mode", "no")
        self._command[self._command.index("--bind") + 1] = machine.back_address
        self.url = f"redis://{machine.back_address}:{self.port}/0"
        self.move(machine, machine.back_address)


class Relay(Elsewhere, Server):
    """From a machine's loopback to upstream."""

    def __init__(self, machine: Machine, upstream_port: int, log: Path) -> None:
        port = free_port()
        there = machines.address(SWITCHES[0], 1)
        super().__init__(["benchmarks.relay", str(port), there, str(upstream_port)], port, log)
        self.move(machine, machine.address)

    def wait(self) -> None:
        """Its port is on that machine's loopback, out of our reach; the proxies start after it."""


async def run(
    chats: int, cuts: int, seed: int, proxies: dict[Machine, FarProxy], upstream: FakeUpstream
) -> dict[str, Any]:
    """One run; the figures."""
    chance = random.Random(seed)
    seconds = cuts * (sum(CUT_SECONDS) + sum(WHOLE_SECONDS)) / 2
    urls = [proxy.url for proxy in proxies.values()]
    done: list[str] = []
    async with client() as http:
        visitors = [
            Visitor(http, urls, random.Random(seed + number), url=number, silence=3 * HEARTBEAT_SECONDS)
            for number in range(chats)
        ]
        tasks = [asyncio.create_task(chat(one, number, seconds)) for number, one in enumerate(visitors)]
        for number in range(cuts):
            await asyncio.sleep(chance.uniform(*WHOLE_SECONDS))
            what = list(CUTS)[number % len(CUTS)]
            machine = chance.choice(list(proxies))
            await asyncio.to_thread(machine.unplug, *CUTS[what])
            await asyncio.sleep(chance.uniform(*CUT_SECONDS))
            await asyncio.to_thread(machine.plug_in, *CUTS[what])
            done.append(what)
            results.say(
                f"{machine.name} was without {what}, {sum(len(one.sent) for one in visitors)} messages so far"
            )
        await asyncio.sleep(seconds / 3)
        deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS
        while True:
            await asyncio.sleep(2)
            said = [sum(message.accepted for message in one.sent) for one in visitors]
            ready = all(count == MESSAGES and not one.awaited for count, one in zip(said, visitors, strict=True))
            verdict = await asyncio.to_thread(verdict_of, visitors, upstream)
            if (ready and verdict.clean) or asyncio.get_running_loop().time() > deadline:
                break
        refused: dict[str, int] = {}
        for one in visitors:
            for what, count in one.refused.items():
                refused[what] = refused.get(what, 0) + count
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    cut = {f"cut off from {what}": done.count(what) for what in CUTS}
    return {"chats": chats, **cut, **verdict.json(), "refused": refused}


def main() -> int:
    end_cleanly()
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--chats", type=int, default=60)
    arguments.add_argument("--cuts", type=int, default=8)
    arguments.add_argument("--seed", type=int, default=20261121)
    given = arguments.parse_args()
    if not machines.inside():
        if not machines.possible():
            raise SystemExit("this needs Linux, root and iproute2: each machine is a network namespace")
        return machines.run_inside("benchmarks.partition")
    directory = Path(tempfile.mkdtemp())
    limits = ("--think", "1.5", "--window-seconds", "30", "--host", "0.0.0.0")
    upstream = FakeUpstream(directory / "upstream.log", *limits)
    with machines.network(["one", "two", "redis"]) as made:
        redis = FarRedis(made["redis"], directory / "redis.log")
        both = [made["one"], made["two"]]
        relays = [Relay(machine, upstream.port, directory / f"{machine.name}-relay.log") for machine in both]
        with running(upstream, redis, *relays):
            proxies = {
                machine: FarProxy(machine, relay, redis.url, directory / f"{machine.name}.log")
                for machine, relay in zip(both, relays, strict=True)
            }
            with running(*proxies.values()):
                figures = asyncio.run(run(given.chats, given.cuts, given.seed, proxies, upstream))
    parameters = {"seed": given.seed, "cut_s": CUT_SECONDS, "whole_s": WHOLE_SECONDS, "messages_a_chat": MESSAGES}
    results.write("partition", parameters, figures)
    return int(any(figures[what] for what in BROKEN))


if __name__ == "__main__":
    sys.exit(main())
