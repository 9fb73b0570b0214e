"""What open streams have to write, run in batches.

Almost every write is taken at once by its socket's buffer, and a task for each would cost more than the writing. So
one task runs a batch of them. One that has to wait, because its reader is slow, keeps its task, for a while, and the
next batch goes on with the rest.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

BATCH = 50
"""Writers a batch. Between two batches whoever else is ready has its turn."""

SLOW_SECONDS = 30.0
"""For so long a writer may wait. A reader who takes nothing for this long is gone, or may come back."""

Writer = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _Batch:
    # One for all of them: a deadline for each would cost as much as the write it is hardly ever needed for.
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: bool = False
    waits: bool = False


class StreamWriters:
    """Runs writers in a task group. A writer must raise nothing of its own; it is cancelled after `SLOW_SECONDS`.
    `on_written` is told the seconds from the first writer's coming until nobody waits any more: once for as many as
    there are, since a stream costs nothing that way."""

    def __init__(self, group: TaskGroup, on_written: Callable[[float], None] = lambda seconds: None) -> None:
        self._group = group
        self._on_written = on_written
        self._since = 0.0
        self._due: deque[Writer] = deque()
        self._going = False

    def add(self, writer: Writer) -> None:
        """Run this soon, after those added before."""
        self._due.append(writer)
        if not self._going:
            self._since = asyncio.get_running_loop().time()
            self._go()

    def _go(self) -> None:
        self._going = True
        batch = _Batch()
        self._group.start_soon(self._run, batch)
        # Called after the batch's first step, which is its last one unless a writer has to wait.
        asyncio.get_running_loop().call_soon(self._look_after, batch)

    async def _run(self, batch: _Batch) -> None:
        with batch.scope:
            for _ in range(BATCH):
                if batch.waits or not self._due:
                    break
                await self._due.popleft()()
        batch.done = True

    def _look_after(self, batch: _Batch) -> None:
        if not batch.done:
            batch.waits = True
            batch.scope.deadline = anyio.current_time() + SLOW_SECONDS
        if self._due:
            self._go()
        else:
            self._going = False
            self._on_written(asyncio.get_running_loop().time() - self._since)
