"""What the proxy's streams spend memory and CPU on, in runs of their own: a profiler changes what it measures."""

import json
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import contenders
from benchmarks.contenders import Contender
from benchmarks.stream_driver import StreamDriver

PATIENCE_SECONDS = 120.0
IDLE_SECONDS = 32.0  # two heartbeats
TOLD = 15


class Profiled:
    """A contender under a profiler."""

    def __init__(self, contender: Contender, directory: Path) -> None:
        self.contender = contender
        self.driver = StreamDriver(contender.server.port)
        self._directory = directory
        self._stage = 0

    def stage(self) -> dict[str, Any]:
        """End a stage of the profile; what happened in it."""
        path = self._directory / f"stage-{self._stage}.json"
        self._stage += 1
        self.contender.server.signal(signal.SIGUSR1)
        end = time.monotonic() + PATIENCE_SECONDS
        while not path.exists():
            if time.monotonic() > end:
                raise RuntimeError("the profiler does not answer")
            self.driver.idle(0.1)
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return told

    def open(self, streams: int, group: int) -> None:
        """Open them, all or none."""
        groups = max(1, streams // group)
        requests = [self.contender.stream(number % groups) for number in range(streams)]
        opened = self.driver.open(requests, self.contender.opened, at_once=50, seconds=PATIENCE_SECONDS)
        if len(self.driver.streams) != streams:
            raise RuntimeError(f"not all streams opened: {opened.statuses}")


@contextmanager
def profiled(kind: str, settings: Mapping[str, str]) -> Iterator[Profiled]:
    """The proxy under the `memory` or the `cpu` profiler, warm."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        environment = {"BENCHMARK_PROFILE": kind, "BENCHMARK_PROFILE_DIR": name}
        command = ("benchmarks.profiled", "widget_proxy")
        with contenders.ours(directory, settings, command=command, environment=environment) as contender:
            running = Profiled(contender, directory)
            contender.prepare(10)
            running.open(100, 10)
            running.driver.close_streams()
            running.driver.idle(1)
            try:
                yield running
            finally:
                running.driver.close()


def profile_memory(streams: int, group: int, settings: Mapping[str, str]) -> dict[str, Any]:
    """Python's memory for each of `streams` open streams: by the package and the line that wanted it, and by the
    line that allocated it. What C libraries take (uvloop's handles, httptools' parsers, buffers) is the rest of what
    the process has grown by."""
    with profiled("memory", settings) as running:
        running.contender.prepare(streams // group)
        running.stage()
        running.open(streams, group)
        running.driver.idle(2)
        seen = running.stage()
    return {
        "streams": streams,
        "traced_kib_per_stream": round(seen["bytes"] / 1024 / streams, 2),
        **{kind: _per_stream(seen[kind], streams) for kind in ("by_package", "by_owner", "by_line")},
    }


def profile_cpu(streams: int, group: int, settings: Mapping[str, str]) -> dict[str, Any]:
    """Where CPU goes while streams are opened, and while they are idle."""
    stages = {}
    with profiled("cpu", settings) as running:
        running.contender.prepare(streams // group)
        running.stage()
        running.open(streams, group)
        stages["opening"] = running.stage()
        running.driver.idle(IDLE_SECONDS)
        stages["idle"] = running.stage()
    return {
        name: {key: value[:TOLD] if isinstance(value, list) else value for key, value in seen.items()}
        for name, seen in stages.items()
    }


def _per_stream(entries: list[dict[str, Any]], streams: int) -> list[dict[str, Any]]:
    return [
        {
            "where": one["where"],
            "kib": round(one["bytes"] / 1024 / streams, 3),
            "blocks": round(one["blocks"] / streams, 2),
        }
        for one in entries[:TOLD]
    ]
