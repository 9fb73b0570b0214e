"""Where figures go: one small JSON a benchmark, with the machine and the day."""

import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("starlette", "uvicorn", "sse-starlette", "httpx", "httpx-aiohttp", "aiohttp", "redis")


def write(name: str, result: Mapping[str, Any]) -> None:
    """Write `results/<name>.json`, and print it."""
    machine = {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
    }
    whole = {"benchmark": name, "date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine, **result}
    text = json.dumps(whole, indent=2) + "\n"
    (Path(__file__).parent / "results" / f"{name}.json").write_text(text)
    sys.stdout.write(text)


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median, mean, 95th percentile and the worst."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        "median": round(statistics.median(ordered), digits),
        "mean": round(statistics.mean(ordered), digits),
        "p95": round(ordered[math.ceil(0.95 * len(ordered)) - 1], digits),
        "worst": round(ordered[-1], digits),
    }
