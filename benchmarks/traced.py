"""The proxy with its memory traced; SIGUSR1 writes what takes it to the file named.

python -m benchmarks.traced PORT FILE
"""

import json
import signal
import sys
import tracemalloc
from pathlib import Path

import uvicorn

from widget_proxy.serving import application

LINES = 15


def place_of(line: tracemalloc.StatisticDiff) -> str:
    """Directory, file and line number."""
    frame = line.traceback[0]
    return "/".join(Path(frame.filename).parts[-2:]) + f":{frame.lineno}"


def main(port: int, file: Path) -> None:
    def tell(number: int, frame: object) -> None:
        lines = tracemalloc.take_snapshot().compare_to(before, "lineno")[:LINES]
        told = [{"place": place_of(one), "kib": one.size_diff // 1024} for one in lines]
        file.write_text(json.dumps(told))

    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    signal.signal(signal.SIGUSR1, tell)
    uvicorn.run(application, factory=True, host="127.0.0.1", port=port, log_config=None, access_log=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
