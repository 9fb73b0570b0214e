"""Machines that are network namespaces of this one (Linux, root): each with an address of its own, on a switch from
which it can be unplugged without a word to anybody, as a network breaks.

The host's own network is not touched: the switch is in a namespace as well, and whoever measures has to be in it.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers import START_SECONDS, Server

_IP = shutil.which("ip") or "ip"

SWITCHES = ("front", "back")
"""Visitors and upstream are on the first, Redis is on the second."""


def ip(*arguments: str, of: str | None = None) -> None:
    """One command of iproute2, in a namespace."""
    subprocess.run([_IP, *(["-n", of] if of else []), *arguments], check=True, capture_output=True, text=True)


class Machine:
    """A namespace with a plug in each of its switches."""

    def __init__(self, name: str, number: int, hub: str) -> None:
        self.name = name
        self._hub = hub
        self._number = number
        self.address = address(SWITCHES[0], number)
        self.back_address = address(SWITCHES[1], number)
        ip("netns", "add", name)
        ip("link", "set", "lo", "up", of=name)
        for switch in SWITCHES:
            plug = self._plug(switch)
            ip("link", "add", plug, "type", "veth", "peer", "name", switch, "netns", name, of=hub)
            ip("address", "add", f"{address(switch, number)}/24", "dev", switch, of=name)
            ip("link", "set", switch, "up", of=name)
            ip("link", "set", plug, "up", "master", switch, of=hub)

    def unplug(self, *switches: str) -> None:
        """What is sent is lost, and nobody is told."""
        for switch in switches:
            ip("link", "set", self._plug(switch), "nomaster", of=self._hub)

    def plug_in(self, *switches: str) -> None:
        """As before."""
        for switch in switches:
            ip("link", "set", self._plug(switch), "master", switch, of=self._hub)

    def _plug(self, switch: str) -> str:
        return f"{switch}{self._number}"


class Elsewhere(Server):
    """Mixed into a server: it runs on a machine, and answers at an address there."""

    def move(self, machine: Machine, at: str) -> None:
        """Before it is started."""
        self._command = [_IP, "netns", "exec", machine.name, *self._command]
        self._address = at

    def wait(self) -> None:
        """Until it answers, there."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                with socket.create_connection((self._address, self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"it did not start:\n{self.output()}")


def address(switch: str, number: int) -> str:
    """Of a machine on a switch; number 1 is whoever measures."""
    return f"10.83.{SWITCHES.index(switch)}.{number}"


def possible() -> bool:
    """Whether this system lets us make namespaces."""
    if os.geteuid() != 0 or not Path(_IP).exists():
        return False
    probe = f"wp-probe-{os.getpid()}"
    made = subprocess.run([_IP, "netns", "add", probe], capture_output=True, check=False).returncode == 0
    if made:
        ip("netns", "del", probe)
    return made


@contextmanager
def network(names: Sequence[str]) -> Iterator[dict[str, Machine]]:
    """Machines of these names on two switches, gone with the block. Only within `inside()`."""
    hub = _hub()
    made: list[str] = []
    try:
        for switch in SWITCHES:
            ip("link", "add", switch, "type", "bridge", of=hub)
            ip("address", "add", f"{address(switch, 1)}/24", "dev", switch, of=hub)
            ip("link", "set", switch, "up", of=hub)
        machines = {}
        for number, name in enumerate(names, 2):
            made.append(f"{hub}-{name}")
            machines[name] = Machine(made[-1], number, hub)
        yield machines
    finally:
        for name in made:
            subprocess.run([_IP, "netns", "del", name], check=False, capture_output=True)


def run_inside(module: str) -> int:
    """Run this module again in a namespace of its own, the switches' one, with the same arguments; its exit code."""
    hub = f"wp{os.getpid()}"
    ip("netns", "add", hub)
    try:
        ip("link", "set", "lo", "up", of=hub)
        command = [_IP, "netns", "exec", hub, sys.executable, "-m", module, *sys.argv[1:]]
        environment = {**os.environ, "WIDGET_PROXY_BENCHMARK_HUB": hub}
        return subprocess.run(command, env=environment, check=False).returncode
    finally:
        subprocess.run([_IP, "netns", "del", hub], check=False, capture_output=True)


def inside() -> bool:
    """Whether this process is the one that `run_inside` started."""
    return "WIDGET_PROXY_BENCHMARK_HUB" in os.environ


def _hub() -> str:
    name = os.environ["WIDGET_PROXY_BENCHMARK_HUB"]
    assert Path("/run/netns", name).exists()
    return name
