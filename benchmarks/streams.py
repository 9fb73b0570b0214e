"""Five and ten thousand open streams on one process: memory, CPU, opening, and telling all of them one thing.

    .venv/bin/python -m benchmarks.streams [5000 10000]

Memory, CPU and opening with a session a stream, which is the dearest shape; one event to all with every stream on one
session. Beside it, in the same run, a bare `EventSourceResponse` app with a queue a stream.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from benchmarks import results
from benchmarks.visitors import client
from tests.servers import EMBED_KEY, HOST, SECRET_KEY, SHOP_ORIGIN, FakeUpstream, Proxy, Server, free_port
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID
from widget_proxy.handles import ChatSession, Handles

IDLE_SECONDS = 20.0
TRACED_STREAMS = 2000
FAN_OUTS = 5
OVERRIDES = {
    "log_level": "warning",
    "WIDGET_PROXY_PACING__MESSAGE_POLL_SECONDS": "30",
    "WIDGET_PROXY_SERVER__STREAMS": "100000",
    "WIDGET_PROXY_SERVER__STREAMS_PER_SESSION": "10000",
    "WIDGET_PROXY_PACING__BUDGET": "1000000/5m",
}


class Readers:
    """The process that reads."""

    def __init__(self, port: int, requests: list[str]) -> None:
        command = [sys.executable, "-m", "benchmarks.many_streams"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.order({"port": port, "requests": requests})

    def order(self, value: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def reading(port: int, requests: list[str]) -> Iterator[Readers]:
    readers = Readers(port, requests)
    try:
        yield readers
    finally:
        readers.close()


def memory_kib(pid: int) -> int:
    """What belongs to this process alone (USS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(pid: int, port: int, requests: list[str]) -> dict[str, Any]:
    """Open them all, and let them be."""
    before = memory_kib(pid)
    with reading(port, requests) as readers:
        began = cpu_seconds(pid)
        opened = readers.answer()
        opening = cpu_seconds(pid) - began
        time.sleep(10)  # first looks at the history
        began = cpu_seconds(pid)
        time.sleep(IDLE_SECONDS)
        idle = cpu_seconds(pid) - began
        kib = memory_kib(pid) - before
    return {
        "lost": opened["lost"],
        "kib_a_stream": round(kib / len(requests), 1),
        "opened_a_second": round(len(requests) / opened["opened_s"]),
        "opening_cpu_us_a_stream": round(opening / len(requests) * 1e6),
        "idle_cpu_percent": round(idle / IDLE_SECONDS * 100, 1),
    }


def fan_out(readers: Readers, say: Any) -> dict[str, float]:
    """From the first reader that has it to the last, in seconds."""
    seconds = []
    for number in range(FAN_OUTS):
        text = f"to all {number} {time.monotonic()}"
        readers.order({"text": text})
        readers.answer()
        say(text)
        told = readers.answer()
        assert told["lost"] == 0
        seconds.append(told["spread_s"])
    return results.spread(seconds)


async def sessions(upstream: FakeUpstream, number: int) -> list[ChatSession]:
    """Sessions started at upstream itself."""
    found = []
    async with client() as http:
        for _ in range(number):
            headers = {"X-Embed-Key": EMBED_KEY, "Origin": SHOP_ORIGIN}
            body = {"chatbot_id": DEMO_CHATBOT_ID}
            async with http.post(f"{upstream.url}/api/chat/start/", json=body, headers=headers) as answer:
                told = await answer.json()
            moment = datetime.now(UTC).replace(microsecond=0)
            found.append(ChatSession("shop", told["session_id"], told["session_token"], SHOP_ORIGIN, moment))
    return found


def requests_for(found: list[ChatSession]) -> list[str]:
    handles = Handles([SECRET_KEY])
    return [
        f"GET /v1/session/events HTTP/1.1\r\nHost: {HOST}\r\nOrigin: {SHOP_ORIGIN}\r\n"
        f"Authorization: Bearer {handles.seal_session(one)}\r\n\r\n"
        for one in found
    ]


def ours(number: int, directory: Path) -> dict[str, Any]:
    with FakeUpstream(directory / f"upstream-{number}.log") as upstream:
        found = asyncio.run(sessions(upstream, number))
        with Proxy(upstream.url, directory / f"proxy-{number}.log", **OVERRIDES) as proxy:
            figures = measure(proxy.pid, proxy.port, requests_for(found))
        with Proxy(upstream.url, directory / f"proxy-{number}-one.log", **OVERRIDES) as proxy:
            handle = Handles([SECRET_KEY]).seal_session(found[0])

            def say(text: str) -> None:
                upstream.order("answers", text=text, delay=0.3)
                proxy.send(handle, "hello")

            with reading(proxy.port, requests_for(found[:1]) * number) as readers:
                assert readers.answer()["lost"] == 0
                figures["fan_out_s"] = fan_out(readers, say)
    return figures


def bare(number: int, directory: Path) -> dict[str, Any]:
    port = free_port()
    requests = [f"GET /events HTTP/1.1\r\nHost: {HOST}\r\n\r\n"] * number
    with Server(["benchmarks.bare_sse", str(port)], port, directory / f"bare-{number}.log") as server:
        figures = measure(server.pid, port, requests)
    again = Server(["benchmarks.bare_sse", str(port)], port, directory / f"bare-{number}.log")
    with again, reading(port, requests) as readers:
        assert readers.answer()["lost"] == 0
        figures["fan_out_s"] = fan_out(readers, lambda text: httpx2.post(f"{again.url}/say", content=text))
    return figures


def traced(directory: Path) -> list[dict[str, Any]]:
    """What takes the memory, line by line."""
    with FakeUpstream(directory / "traced-upstream.log") as upstream:
        found = asyncio.run(sessions(upstream, TRACED_STREAMS))
        proxy = Proxy(upstream.url, directory / "traced.log", **OVERRIDES)
        file = directory / "traced.json"
        proxy.run_instead("benchmarks.traced", str(proxy.port), str(file))
        with proxy, reading(proxy.port, requests_for(found)) as readers:
            readers.answer()
            time.sleep(5)
            proxy.signal(signal.SIGUSR1)
            while not file.exists() or not file.read_text():
                time.sleep(0.2)
            lines: list[dict[str, Any]] = json.loads(file.read_text())
    return [{"place": one["place"], "kib_a_stream": round(one["kib"] / TRACED_STREAMS, 2)} for one in lines]


def main(numbers: list[int]) -> None:
    directory = Path(tempfile.mkdtemp())
    figures: dict[str, Any] = {}
    for number in numbers:
        beside = {"ours": ours(number, directory), "bare": bare(number, directory)}
        ratio = beside["ours"]["kib_a_stream"] / beside["bare"]["kib_a_stream"]
        figures[str(number)] = {**beside, "memory_ours_to_bare": round(ratio, 2)}
    results.write("streams", {**figures, "heaviest_lines": traced(directory)})


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [5000, 10_000])
