"""The servers that benchmarks measure, each a process of its own on this machine, and what they cost (Linux)."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.servers import EMBED_KEY, HOST, ONE_ADDRESS, SECRET_KEY, SHOP_ORIGIN, FakeUpstream, Server, free_port
from widget_proxy.config import PacingSettings
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID

__all__ = ["EMBED_KEY", "HOST", "SHOP_ORIGIN", "Cost", "FakeUpstream", "Measured", "Memory", "free_port"]

UNBOUND = "1000000/5m"
"""A budget of upstream requests that nothing here uses up."""


class Measured(Server):
    """A server process whose CPU and memory are of interest. `module` is run with `python -m`, or, where `program`
    is named, that one with the arguments."""

    def __init__(
        self,
        arguments: Sequence[str],
        port: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
        program: str | None = None,
    ) -> None:
        super().__init__(list(arguments), port, log, environment)
        if program is not None:
            self._command = [program, *arguments]

    def pids(self) -> list[int]:
        """Of it and its children."""
        return [self.pid, *self.children()]

    def cpu(self) -> float:
        """Seconds of CPU, user and system, that it has used so far."""
        return sum(_cpu(pid) for pid in self.pids())

    def memory(self) -> "Memory":
        """What it holds now."""
        parts = [_memory(pid) for pid in self.pids()]
        return Memory(sum(one.rss for one in parts), sum(one.pss for one in parts), sum(one.uss for one in parts))


class Memory:
    """KiB: resident, shared pages by share, and its own alone."""

    def __init__(self, rss: float, pss: float, uss: float) -> None:
        self.rss, self.pss, self.uss = rss, pss, uss

    def since(self, before: "Memory", count: int) -> dict[str, float]:
        """Growth for each of `count` things, in KiB."""
        return {
            "rss_kib": (self.rss - before.rss) / count,
            "pss_kib": (self.pss - before.pss) / count,
            "uss_kib": (self.uss - before.uss) / count,
        }


class Cost:
    """CPU that a server uses from here on."""

    def __init__(self, server: Measured) -> None:
        self._server = server
        self._before = server.cpu()

    def seconds(self) -> float:
        """CPU seconds since."""
        return self._server.cpu() - self._before


def proxy(
    upstream_url: str,
    log: Path,
    settings: Mapping[str, str],
    *,
    command: Sequence[str] = ("widget_proxy",),
    environment: Mapping[str, str] | None = None,
) -> Measured:
    """The proxy with one site, `shop`. `settings` are variables without their `WIDGET_PROXY_`; `command` is the
    module to run and what comes before `serve`."""
    port = free_port()
    told = {
        "SECRET_KEY": SECRET_KEY,
        "UPSTREAM_URL": upstream_url,
        "SITES__SHOP__CHATBOT_ID": DEMO_CHATBOT_ID,
        "SITES__SHOP__EMBED_KEY": EMBED_KEY,
        "SITES__SHOP__ALLOWED_ORIGINS": SHOP_ORIGIN,
    } | dict(settings)
    variables = (
        ONE_ADDRESS | {f"WIDGET_PROXY_{name}": value for name, value in told.items()} | dict(environment or {})
    )
    arguments = [*command, "serve", "--host", HOST, "--port", str(port), "--log-level", "warning"]
    return Measured(arguments, port, log, variables)


def unbound_budget() -> dict[str, str]:
    """The setting that keeps the budget of upstream requests out of a measurement, where there is such a setting."""
    return {"PACING__BUDGET": UNBOUND} if "budget" in PacingSettings.model_fields else {}


def end_cleanly() -> None:
    """Let a signal end this process as an exception would, so that the servers it started end with it."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


def given_settings(pairs: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` from the command line, without `WIDGET_PROXY_`."""
    split = [pair.partition("=") for pair in pairs]
    if wrong := [name for name, equals, _ in split if not equals]:
        raise SystemExit(f"--set takes NAME=VALUE, such as PACING__MESSAGE_POLL_SECONDS=60; not {wrong[0]!r}")
    return {name.removeprefix("WIDGET_PROXY_"): value for name, _, value in split}


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> Memory:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii", "replace").splitlines()[1:]
    kib = {line.partition(":")[0]: float(line.split()[1]) for line in lines}
    return Memory(kib["Rss"], kib["Pss"], kib["Private_Clean"] + kib["Private_Dirty"])
