"""Runs a module as `python -m` would, under a profiler of the standard library.

    BENCHMARK_PROFILE=memory|cpu BENCHMARK_PROFILE_DIR=/tmp/x python -m benchmarks.profiled MODULE ARGUMENTS

SIGUSR1 ends a stage: what happened since the last one is written to the next `stage-<n>.json` of the directory.
"""

import json
import os
import runpy
import signal
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

SAMPLE_SECONDS = 0.002
TOLD = 40
FRAMES = 16
PLUMBING = (
    "asyncio/",
    "anyio/",
    "uvloop/",
    "contextlib.py",
    "weakref.py",
    "_weakrefset.py",
    "runpy.py",
    "threading.py",
)
"""What allocates for others: the owner is who called it."""


class MemoryProfile:
    """Growth of Python's own memory, by tracemalloc, after the first stage: what comes before, imports above all,
    takes long to trace and is not asked for. Memory that C libraries take is not seen."""

    def stage(self) -> dict[str, Any]:
        if not tracemalloc.is_tracing():
            tracemalloc.start(FRAMES)
            self._before = tracemalloc.take_snapshot()
            return {}
        now = tracemalloc.take_snapshot()
        grown: dict[str, Counter[str]] = {kind: Counter() for kind in ("by_package", "by_owner", "by_line")}
        blocks: Counter[str] = Counter()
        total = 0
        for one in now.compare_to(self._before, "traceback"):
            stack = [(_short(frame.filename), frame.lineno) for frame in reversed(one.traceback)]
            path, line = next((frame for frame in stack if not frame[0].startswith(PLUMBING)), stack[0])
            places = {
                "by_package": _package(path),
                "by_owner": f"{path}:{line}",
                "by_line": f"{stack[0][0]}:{stack[0][1]}",
            }
            for kind, where in places.items():
                grown[kind][where] += one.size_diff
            blocks.update(dict.fromkeys(set(places.values()), one.count_diff))
            total += one.size_diff
        self._before = now
        return {"bytes": total} | {
            kind: [
                {"where": where, "bytes": size, "blocks": blocks[where]} for where, size in sizes.most_common(TOLD)
            ]
            for kind, sizes in grown.items()
        }


class CpuProfile:
    """Samples of the stack, one every so much CPU time."""

    def __init__(self) -> None:
        self._own: Counter[CodeType] = Counter()
        self._within: Counter[CodeType] = Counter()
        self._samples = 0
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_SECONDS, SAMPLE_SECONDS)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        self._samples += 1
        if frame is not None:
            self._own[frame.f_code] += 1
        seen = set()
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        self._within.update(seen)

    def stage(self) -> dict[str, Any]:
        # Samples go on being taken meanwhile.
        own, within, samples = self._own, self._within, self._samples
        self._own, self._within, self._samples = Counter(), Counter(), 0
        modules: Counter[str] = Counter()
        for code, count in own.items():
            modules[_short(code.co_filename)] += count
        return {
            "samples": samples,
            "by_module": _shares(dict(modules.most_common(TOLD)), samples),
            "by_function": _shares(_named(own), samples),
            "by_function_with_callees": _shares(_named(within), samples),
        }


def _named(counts: Counter[CodeType]) -> dict[str, int]:
    return {f"{_short(code.co_filename)}:{code.co_qualname}": count for code, count in counts.most_common(TOLD)}


def _shares(counts: dict[str, int], samples: int) -> list[dict[str, Any]]:
    return [{"where": where, "percent": round(100 * count / max(samples, 1), 1)} for where, count in counts.items()]


def _package(path: str) -> str:
    """A package's name; for what lies in none, such as modules of the standard library, all together."""
    package, slash, _ = path.partition("/")
    return package if slash else "the standard library"


def _short(path: str) -> str:
    """A path from its package on."""
    for root in ("site-packages/", "lib/python3"):
        if root in path:
            return path.partition(root)[2].partition("/")[2] if root != "site-packages/" else path.rpartition(root)[2]
    return path.removeprefix(str(Path.cwd()) + "/")


def main() -> None:
    """Run it."""
    profile = MemoryProfile() if os.environ["BENCHMARK_PROFILE"] == "memory" else CpuProfile()
    directory = Path(os.environ["BENCHMARK_PROFILE_DIR"])
    stages = iter(range(1000))

    def end_stage(*_: object) -> None:
        path = directory / f"stage-{next(stages)}.json"
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(profile.stage()), "utf-8")
        unfinished.rename(path)

    signal.signal(signal.SIGUSR1, end_stage)
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
