"""An event loop whose clock jumps: it sleeps no second, and half an hour of polling takes as long as its work.

For code without sockets of its own: where nothing is ready and something is due later, time jumps to it.
"""

import asyncio
import selectors
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

BEGIN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class _Jumping(selectors.DefaultSelector):
    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:  # only a thread can wake it now
            return list(super().select(5))
        self.loop.elapsed += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`elapsed` is the loop's clock, in seconds from 0."""

    def __init__(self) -> None:
        selector = _Jumping()
        selector.loop = self
        self.elapsed = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self.elapsed


ANYIO_OPTIONS: tuple[str, Mapping[str, Any]] = ("asyncio", {"loop_factory": VirtualTimeLoop})


def elapsed() -> float:
    """Seconds since the loop began, on its clock."""
    return asyncio.get_running_loop().time()


def now() -> datetime:
    """The wall clock of a world that began with the loop."""
    return BEGIN + timedelta(seconds=elapsed())
