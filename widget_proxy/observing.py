"""Looks at the parts now and then, and keeps what it saw: for `metrics`, and for whether this process is ready.

A probe asks nothing of anybody then, so that nobody can make Redis or upstream busy by probing.
"""

import asyncio
import logging
import resource
import time
from collections.abc import Callable, Collection
from pathlib import Path

import anyio

from widget_proxy.broker import Broker, BrokerUnavailable
from widget_proxy.files import Files
from widget_proxy.hub import Hub
from widget_proxy.metrics import Metrics
from widget_proxy.stream import Streams
from widget_proxy.upstream.watch import UpstreamWatch, Watches, host_of

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often gauges are set: as old may be what one worker says of another. Whoever is asked looks anew at itself."""

BROKER_SECONDS = 2.0
"""How often the broker is asked for a sign of life."""

LAG_SECONDS = 0.5
"""How often it is measured how late the event loop is."""


class Observer:
    """Run `run` beside the application. `clock` is monotonic seconds."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        streams: Streams,
        hub: Hub,
        files: Files,
        broker: Broker,
        watches: Watches,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.broker_answers: bool | None = None
        self._metrics = metrics
        self._streams = streams
        self._hub = hub
        self._files = files
        self._broker = broker
        self._watches = watches
        self._clock = clock
        self._began = time.time()
        self._cpu = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        metrics.before_collecting(self.look)

    @property
    def draining(self) -> bool:
        """Whether the server is to exit."""
        return self._streams.draining

    @property
    def full(self) -> bool:
        """Whether no stream can be opened."""
        return self._streams.full

    @property
    def upstreams(self) -> Collection[UpstreamWatch]:
        """Those that sites are configured with."""
        return self._watches.in_use

    async def run(self) -> None:
        """For ever."""
        self._loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch_loop)
            group.start_soon(self._watch_broker)
            while True:
                self.look()
                await anyio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Set the gauges."""
        metrics = self._metrics
        metrics.workers.set(1)
        metrics.streams_open.set(self._streams.count)
        metrics.streams_allowed.set(self._streams.most)
        metrics.sessions_followed.set(self._hub.sessions_followed)
        metrics.answers_awaited.set(self._hub.answers_awaited)
        metrics.uploads_running.set(self._files.running)
        metrics.broker_up.set(bool(self.broker_answers))
        for address, level in self._hub.budget_levels().items():
            metrics.budget_level.labels(host_of(address)).set(level)
        for watch in self._watches.in_use:
            metrics.upstream_answered.labels(watch.host).set(watch.last_word.answered)
            metrics.upstream_failed.labels(watch.host).set(watch.last_word.failed)
        metrics.tasks.set(len(asyncio.all_tasks(self._loop)) if self._loop is not None else 0)
        metrics.started.set(self._began)
        used = resource.getrusage(resource.RUSAGE_SELF)
        before, self._cpu = self._cpu, used.ru_utime + used.ru_stime
        metrics.cpu.inc(self._cpu - before)
        metrics.memory.set(_resident_bytes())
        metrics.open_files.set(_open_files())
        metrics.files_allowed.set(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    async def _watch_loop(self) -> None:
        while True:
            due = self._clock() + LAG_SECONDS
            await anyio.sleep(LAG_SECONDS)
            self._metrics.loop_lag.observe(max(0.0, self._clock() - due))

    async def _watch_broker(self) -> None:
        while True:
            asked = self._clock()
            try:
                await self._broker.look()
            except BrokerUnavailable:  # its own log line says so
                self.broker_answers = False
            else:
                self.broker_answers = True
                self._metrics.broker_seconds.observe(self._clock() - asked)
            await anyio.sleep(BROKER_SECONDS)


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return 0  # not on Linux


def _open_files() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1  # without the one that lists them
    except OSError:
        return 0
