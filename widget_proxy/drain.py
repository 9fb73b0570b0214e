"""The time between the signal to exit and the exit: who would still be at it when it is over hears of it before.

uvicorn cancels what runs longer than it allows; whoever asked would read of an internal error, and the log would have
a traceback for each.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from sse_starlette.sse import AppStatus

LOOK_SECONDS = 0.1
"""How often it is looked whether the server is to exit."""


async def until_exit() -> None:
    """Wait until the server is to exit. sse-starlette listens for the signal."""
    while not AppStatus.should_exit:  # noqa: ASYNC110 # a signal handler sets it, which knows no event
        await anyio.sleep(LOOK_SECONDS)


class Drain:
    """`seconds` is what uvicorn allows. Run `run` beside the application."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: float | None = None
        self._open: dict[anyio.CancelScope, float] = {}

    async def run(self) -> None:
        """Until the server is to exit; then everything that is open is given its time."""
        await until_exit()
        self._began = anyio.current_time()
        for scope, share in self._open.items():
            scope.deadline = self._began + share * self._seconds

    @contextmanager
    def within(self, share: float) -> Iterator[anyio.CancelScope]:
        """A scope that is cancelled when the server is to exit and this share of the time until then is over."""
        with anyio.CancelScope() as scope:
            if self._began is not None:
                scope.deadline = self._began + share * self._seconds
            self._open[scope] = share
            try:
                yield scope
            finally:
                del self._open[scope]
