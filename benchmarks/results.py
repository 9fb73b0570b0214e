"""What a benchmark writes down: the machine, the parameters, and figures with their spread over repeated rounds."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

_LIBRARIES = (
    "aiohttp",
    "anyio",
    "httpx",
    "httpx-aiohttp",
    "redis",
    "sse-starlette",
    "starlette",
    "uvicorn",
    "uvloop",
)

Figure = dict[str, Any]
"""`{median, low, high, rounds}`: one number a round, and what to make of them."""


def figure(rounds: Sequence[float], digits: int = 3) -> Figure:
    """One figure of several rounds: their median, their lowest and highest, and all of them."""
    return {
        "median": round(statistics.median(rounds), digits),
        "low": round(min(rounds), digits),
        "high": round(max(rounds), digits),
        "rounds": [round(one, digits) for one in rounds],
    }


def figures(rounds: Sequence[Mapping[str, float]], digits: int = 3) -> dict[str, Figure]:
    """The same for rounds that measured several things each; what some round lacks is left out."""
    names = [name for name in rounds[0] if all(name in one for one in rounds)] if rounds else []
    return {name: figure([one[name] for one in rounds], digits) for name in names}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, round(share * len(ordered) + 0.5) - 1))]


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """What many values of one run come to: median, mean, 95th percentile and the worst."""
    return {
        "median": round(statistics.median(values), digits),
        "mean": round(statistics.mean(values), digits),
        "p95": round(percentile(values, 0.95), digits),
        "worst": round(max(values), digits),
    }


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cpus": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "load_at_end": [round(one, 2) for one in os.getloadavg()],
    }


def write(name: str, parameters: Mapping[str, Any], measured: Mapping[str, Any]) -> Path:
    """Write `benchmarks/results/<name>.json`; its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    result = {
        "benchmark": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "parameters": dict(parameters),
        "figures": dict(measured),
    }
    sys.stdout.write(json.dumps(result["figures"], indent=1, ensure_ascii=False) + "\n")
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def say(*lines: str) -> None:
    """Tell whoever watches, at once."""
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    ]


def with_spread(one: Mapping[str, Any], digits: int = 2) -> str:
    """`median (low–high)`."""
    return f"{one['median']:.{digits}f} ({one['low']:.{digits}f}–{one['high']:.{digits}f})"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str | None:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or None
    lines = path.read_text("utf-8", "replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
