"""The time between the signal to exit and the exit: who would still be at it when it is over hears of it before.

uvicorn cancels what runs longer than it allows; whoever asked would read of an internal error, and the log would have
a traceback for each.
"""

import logging
import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from sse_starlette.sse import AppStatus

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
"""How often it is looked whether the server is to exit."""


async def until_exit() -> None:
    """Wait until the server is to exit. sse-starlette listens for the signal."""
    while not AppStatus.should_exit:  # noqa: ASYNC110 # a signal handler sets it, which knows no event
        await anyio.sleep(LOOK_SECONDS)


async def exit_with_supervisor() -> None:
    """For ever, in a worker: whose supervisor dies without a word, it exits as if it had been told to. It would serve
    on with the old configuration, on the port of the one started anew, and nobody would know."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return
    await anyio.wait_readable(supervisor.sentinel)  # the other end is closed when it dies
    logger.critical("the supervisor of this worker is gone; the worker drains and ends")
    signal.raise_signal(signal.SIGTERM)


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
