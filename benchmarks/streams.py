"""Streams: what thousands of open ones cost one proxy process, in memory, CPU and time.

    .venv/bin/python -m benchmarks.streams [--sizes 5000,10000] [--rounds 3] [--idle 30]

Beside it, in the same run, under the same uvicorn: an application that is one `EventSourceResponse` and a queue for
each stream, with no feature at all (`bare_app`); and nginx with nchan, where it is installed. Streams come in groups
of ten, as a session's readers; one event for all of them is one event for each group. A profile of the proxy says
what its memory and its CPU are spent on.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from typing import Any

from benchmarks import contenders
from benchmarks.contenders import MARK, Contender, find_nchan
from benchmarks.processes import Cost, end_cleanly, given_settings
from benchmarks.results import figures, say, table, with_spread, write
from benchmarks.stream_driver import StreamDriver
from benchmarks.stream_profile import profile_cpu, profile_memory

GROUP = 10  # streams of a session
OPENING = 100  # on their way at a time
ORDERING = 20
PATIENCE_SECONDS = 180.0  # for any one step
LARGE_GROUP = 1000
LARGE_GROUP_EVENTS = 5
DESCRIPTORS_BESIDE = 200  # that a process has open besides its streams

Starter = Callable[[Path], AbstractContextManager[Contender]]


def measure(start: Starter, size: int, idle: float) -> dict[str, Any]:
    """One contender, one number of streams, one new process: all figures."""
    with tempfile.TemporaryDirectory() as directory, start(Path(directory)) as contender:
        driver = StreamDriver(contender.server.port)
        try:
            return _measure(contender, driver, size, idle)
        finally:
            driver.close()


def _measure(contender: Contender, driver: StreamDriver, size: int, idle: float) -> dict[str, Any]:
    server, groups = contender.server, size // GROUP
    everyone = range(groups)
    mark = MARK.encode()
    _warm_up(contender, driver)
    contender.prepare(groups)

    # What an order costs when nobody listens: not to be counted as cost of its delivery.
    orders = contender.orders(everyone)
    cost = Cost(server)
    driver.ask(orders, at_once=ORDERING, seconds=PATIENCE_SECONDS)
    driver.idle(3)
    unheard = cost.seconds()

    before = server.memory()
    requests = [contender.stream(number % groups) for number in range(size)]
    cost = Cost(server)
    opened = driver.open(requests, contender.opened, at_once=OPENING, seconds=PATIENCE_SECONDS)
    opening = cost.seconds()
    driver.idle(3)
    count = len(driver.streams)
    if count < size:
        raise RuntimeError(f"{contender.name}: {count} of {size} streams opened; statuses: {opened.statuses}")
    memory = server.memory().since(before, count)

    asked = contender.upstream_requests()
    cost, began = Cost(server), time.perf_counter()
    driver.idle(idle)
    quiet = cost.seconds() / (time.perf_counter() - began)
    polls = contender.upstream_requests().get("message_poll", 0) - asked.get("message_poll", 0)

    orders = contender.orders(everyone)
    cost = Cost(server)
    fanned = driver.fan_out(orders, mark, at_once=ORDERING, seconds=PATIENCE_SECONDS)
    driver.idle(3)
    heard = cost.seconds()
    if fanned.missing:
        raise RuntimeError(f"{contender.name}: {fanned.missing} of {count} streams missed the event")
    after = server.memory().since(before, count)
    if gone := driver.close_streams():
        raise RuntimeError(f"{contender.name}: it closed {gone} of {count} streams by itself")
    return (
        memory
        | {
            "rss_after_event_kib": after["rss_kib"],
            "opened_per_s": count / opened.seconds,
            "open_cpu_ms": opening / count * 1000,
            "idle_cpu_percent": quiet * 100,
            "idle_message_polls": polls,
            "fan_out_s": fanned.last,
            "fan_out_cpu_us": (heard - unheard) / count * 1e6,
        }
        | _one_large_group(contender, driver)
    )


def _warm_up(contender: Contender, driver: StreamDriver) -> None:
    """What is loaded or allocated once shall not count as growth."""
    contender.prepare(GROUP)
    driver.open(
        [contender.stream(number % GROUP) for number in range(2 * GROUP)],
        contender.opened,
        at_once=OPENING,
        seconds=PATIENCE_SECONDS,
    )
    driver.fan_out(contender.orders(range(GROUP)), MARK.encode(), at_once=ORDERING, seconds=PATIENCE_SECONDS)
    driver.close_streams()
    driver.idle(1)


def _one_large_group(contender: Contender, driver: StreamDriver) -> dict[str, float]:
    """One event to a thousand streams of one group."""
    driver.idle(2)
    contender.prepare(1)
    requests = [contender.stream(0)] * LARGE_GROUP
    driver.open(requests, contender.opened, at_once=OPENING, seconds=PATIENCE_SECONDS)
    count = len(driver.streams)
    if not count:
        return {"large_group_streams": 0}
    spread = []
    cost = Cost(contender.server)
    for _ in range(LARGE_GROUP_EVENTS):
        fanned = driver.fan_out(contender.orders([0]), MARK.encode(), at_once=1, seconds=PATIENCE_SECONDS)
        spread.append(fanned.last - fanned.first)
    used = cost.seconds()
    driver.close_streams()
    return {
        "large_group_streams": count,
        "large_group_first_to_last_ms": sorted(spread)[len(spread) // 2] * 1000,
        "large_group_cpu_us": used / LARGE_GROUP_EVENTS / count * 1e6,
    }


def starters(settings: Mapping[str, str]) -> dict[str, Starter]:
    """Who takes part."""
    chosen: dict[str, Starter] = {"ours": partial(contenders.ours, settings=settings), "bare": contenders.bare}
    if (found := find_nchan()) is not None:
        chosen["nchan"] = partial(contenders.nchan, program=found[0], module=found[1])
    return chosen


def main() -> None:
    """Measure, profile, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", default="5000,10000", help="numbers of streams")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=float, default=30.0, help="seconds to watch idle streams")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the proxy")
    parser.add_argument("--profile-streams", type=int, default=1000, help="0: no profile")
    parser.add_argument("--name", default="streams", help="of the file in benchmarks/results")
    options = parser.parse_args()
    end_cleanly()
    sizes = [int(one) for one in options.sizes.split(",")]
    settings = given_settings(options.set)
    _allow_descriptors(max(sizes))
    chosen = starters(settings)
    if "nchan" not in chosen:
        say("nginx with nchan is not here (set BENCHMARK_NGINX and BENCHMARK_NCHAN_MODULE): left out")
    rounds: dict[str, list[dict[str, Any]]] = {}
    for number in range(options.rounds):
        for size in sizes:
            for name, start in chosen.items():
                seen = measure(start, size, options.idle)
                rounds.setdefault(f"{name}, {size} streams", []).append(seen)
                say(
                    f"  round {number + 1}, {size} streams, {name}: {seen['rss_kib']:.1f} KiB a stream, "
                    f"{seen['opened_per_s']:.0f} opened/s, idle {seen['idle_cpu_percent']:.1f} %, "
                    f"all had the event in {seen['fan_out_s']:.2f} s"
                )
    measured: dict[str, Any] = {name: figures(seen) for name, seen in rounds.items()}
    measured["ratio of memory, ours to bare"] = {
        str(size): {
            kind: round(
                measured[f"ours, {size} streams"][kind]["median"] / measured[f"bare, {size} streams"][kind]["median"],
                3,
            )
            for kind in ("rss_kib", "pss_kib", "uss_kib")
        }
        for size in sizes
    }
    _tell(measured, sizes)
    parameters = {
        "sizes": sizes,
        "streams_a_group": GROUP,
        "idle_seconds": options.idle,
        "settings": {"PACING__MESSAGE_POLL_SECONDS": "30"} | settings,
        "nginx": contenders.nginx_version(found[0]) if (found := find_nchan()) else None,
    }
    write(options.name, parameters, measured)  # what is measured is kept, whatever becomes of the profile
    if options.profile_streams:
        measured["profile"] = {
            "memory": profile_memory(options.profile_streams, GROUP, settings),
            "cpu": profile_cpu(options.profile_streams, GROUP, settings),
        }
        _tell_profile(measured["profile"])
    say(f"written: {write(options.name, parameters, measured)}")


def _allow_descriptors(streams: int) -> None:
    soft, hard = getrlimit(RLIMIT_NOFILE)
    wanted = streams + DESCRIPTORS_BESIDE
    if hard < wanted:
        raise SystemExit(f"{streams} streams need {wanted} file descriptors, and this shell allows {hard}")
    setrlimit(RLIMIT_NOFILE, (max(soft, wanted), hard))


def _tell(measured: dict[str, Any], sizes: list[int]) -> None:
    columns = {
        "rss_kib": "RSS KiB",
        "pss_kib": "PSS KiB",
        "uss_kib": "USS KiB",
        "opened_per_s": "opened/s",
        "open_cpu_ms": "open ms",
        "idle_cpu_percent": "idle %",
        "fan_out_s": "all had it, s",
        "fan_out_cpu_us": "µs/event",
        "large_group_first_to_last_ms": "1×1000, ms",
    }
    rows = [
        [name, *(with_spread(seen[one], 1) if one in seen else "–" for one in columns)]
        for name, seen in measured.items()
        if name.endswith("streams")
    ]
    say("", "A stream: memory, CPU to open it; all: idle CPU, one event. Median of the rounds (lowest–highest)")
    say(*table(["", *columns.values()], rows))
    for size in sizes:
        ratios = measured["ratio of memory, ours to bare"][str(size)]
        say(f"{size} streams: ours needs {ratios['rss_kib']:.2f} of bare's memory")


def _tell_profile(profile: dict[str, Any]) -> None:
    memory, cpu = profile["memory"], profile["cpu"]
    say("", f"Python's memory a stream: {memory['traced_kib_per_stream']:.1f} KiB")
    for kind, told in (("by_package", 6), ("by_owner", 12)):
        lines = (f"  {one['kib']:6.2f} KiB {one['blocks']:6.1f} blocks  {one['where']}" for one in memory[kind])
        say(f" {kind.replace('_', ' ')}:", *list(lines)[:told])
    for stage, seen in cpu.items():
        say(f"CPU, {stage}: " + ", ".join(f"{one['where']} {one['percent']:.0f} %" for one in seen["by_module"][:5]))


if __name__ == "__main__":
    main()
