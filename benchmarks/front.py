"""What a front server adds: how much later an event arrives through it, over TLS and HTTP/2, than straight from the
proxy.

    .venv/bin/python -m benchmarks.front [--messages 100]

nginx and Caddy with the files of `deploy/`. Two readers of one session, one on each way, note when each event comes;
and a stream is opened anew on each way, up to its first event. Needs nginx and caddy.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from benchmarks import results
from benchmarks.processes import end_cleanly
from tests.fronts import FRONTS, Front
from tests.servers import FakeUpstream, Proxy, running
from tests.sse import stream

PROMISED_SECONDS = 0.1


class Reader:
    """Reads a stream on a thread, and notes when each event came."""

    def __init__(self, client: httpx2.Client) -> None:
        self.came: dict[tuple[str, str], float] = {}
        self.ready = threading.Event()
        self._told = threading.Condition()
        self._client = client
        self._leaving = False

    def read(self) -> None:
        """Until the client is closed."""
        try:
            with stream(self._client) as events:
                for event in events.events():
                    now = time.perf_counter()
                    with self._told:
                        self.came.setdefault((event.name, str(event.data.get("task") or event.data.get("key"))), now)
                        self._told.notify_all()
                    if event.name == "ready":
                        self.ready.set()
                    if self._leaving:
                        return
        except httpx2.HTTPError:
            if not self._leaving:
                raise

    def wait_for(self, task: str) -> None:
        """Until this answer's end came."""
        with self._told:
            assert self._told.wait_for(lambda: ("done", task) in self.came, timeout=20)

    def leave(self) -> None:
        """With the next event."""
        self._leaving = True


@contextmanager
def reading(client: httpx2.Client) -> Iterator[Reader]:
    """A reader on a thread of its own."""
    reader = Reader(client)
    thread = threading.Thread(target=reader.read, daemon=True)
    thread.start()
    assert reader.ready.wait(10)
    yield reader
    reader.leave()


def opened(client: httpx2.Client) -> float:
    """Seconds from asking for a stream to its first event, on a connection that is open already."""
    began = time.perf_counter()
    with stream(client) as events:
        events.until("ready")
        return time.perf_counter() - began


def measure(front: Front, proxy: Proxy, messages: int) -> dict[str, Any]:
    """One front server."""
    handle = proxy.start_session()
    with ExitStack() as stack:
        far = stack.enter_context(reading(stack.enter_context(front.client(handle))))
        near = stack.enter_context(reading(stack.enter_context(proxy.client(handle=handle))))
        for number in range(messages):
            task = proxy.send(handle, f"question {number}")
            far.wait_for(task)
            near.wait_for(task)
        later = [
            far.came[event] - near.came[event] for event in far.came if event in near.came and event[0] != "ready"
        ]
    fresh = proxy.start_session()
    with front.client(fresh) as through, proxy.client(handle=fresh) as straight:
        opened(through), opened(straight)
        ways = [(opened(through), opened(straight)) for _ in range(messages)]
    return {
        "events": len(later),
        "later_ms": results.spread([one * 1000 for one in later], 2),
        "first_event_through_ms": results.spread([one * 1000 for one, _ in ways], 2),
        "first_event_straight_ms": results.spread([one * 1000 for _, one in ways], 2),
    }


def main() -> int:
    end_cleanly()
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--messages", type=int, default=100)
    given = arguments.parse_args()
    directory = Path(tempfile.mkdtemp())
    figures: dict[str, Any] = {}
    limits = ("--think", "0.05", "--session-limit", "1000000", "--start-limit", "1000000")
    most = {f"WIDGET_PROXY_SERVER__STREAMS_PER_{whose}": "10000" for whose in ("SESSION", "ADDRESS")}
    upstream = FakeUpstream(directory / "upstream.log", *limits)
    proxy = Proxy(upstream.url, directory / "proxy.log", log_level="warning", **most)
    with running(upstream, proxy):
        for kind in FRONTS:
            own = directory / kind.__name__
            own.mkdir()
            with kind(own, proxy.port) as front:
                figures[kind.__name__] = measure(front, proxy, given.messages)
    results.write("front", {"messages": given.messages, "over": "TLS 1.3, HTTP/2"}, figures)
    late = [one["first_event_through_ms"]["p95"] for one in figures.values()]
    return int(max(late) > PROMISED_SECONDS * 1000)


if __name__ == "__main__":
    sys.exit(main())
