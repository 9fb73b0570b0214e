"""Streams write in batches, and a slow one holds nobody up."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

from tests.virtual_time import ANYIO_OPTIONS
from widget_proxy.stream_writers import BATCH, SLOW_SECONDS, StreamWriters

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


@asynccontextmanager
async def running() -> AsyncIterator[StreamWriters]:
    async with anyio.create_task_group() as group:
        yield StreamWriters(group)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()


async def test_writers_run_in_the_order_they_came() -> None:
    wrote: list[int] = []

    async def write(number: int) -> None:
        wrote.append(number)

    async with running() as writers:
        for number in range(3 * BATCH):
            writers.add(partial(write, number))
        await anyio.wait_all_tasks_blocked()
        writers.add(partial(write, -1))
    assert wrote == [*range(3 * BATCH), -1]


async def test_a_hundred_cost_a_few_tasks() -> None:
    tasks: set[object] = set()

    async def write() -> None:
        tasks.add(asyncio.current_task())

    async with running() as writers:
        for _ in range(100):
            writers.add(write)
    assert len(tasks) == 100 / BATCH


async def test_who_has_to_wait_holds_nobody_up_and_is_finished() -> None:
    wrote: list[str] = []
    taken = anyio.Event()

    async def slow() -> None:
        await taken.wait()
        wrote.append("slow")

    async def quick() -> None:
        wrote.append("quick")

    async with running() as writers:
        for writer in (quick, slow, quick, slow, quick):
            writers.add(writer)
        await anyio.wait_all_tasks_blocked()
        assert wrote == ["quick"] * 3
        writers.add(quick)
        await anyio.wait_all_tasks_blocked()
        assert wrote == ["quick"] * 4, "also what comes later"
        taken.set()
    assert wrote == [*["quick"] * 4, "slow", "slow"]


async def test_between_two_batches_others_have_their_turn() -> None:
    wrote = 0
    seen: list[int] = []

    async def write() -> None:
        nonlocal wrote
        wrote += 1

    async with running() as writers:
        for _ in range(2 * BATCH):
            writers.add(write)
        while wrote < 2 * BATCH:
            await asyncio.sleep(0)
            seen.append(wrote)
    assert BATCH in seen


async def test_a_writer_may_add_another() -> None:
    wrote: list[str] = []

    async def second() -> None:
        wrote.append("second")

    async with running() as writers:

        async def first() -> None:
            wrote.append("first")
            writers.add(second)

        writers.add(first)
    assert wrote == ["first", "second"]


async def test_who_waits_too_long_is_cancelled_and_nobody_else() -> None:
    wrote: list[str] = []

    async def stuck() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            wrote.append("cancelled")

    async def slow() -> None:
        await anyio.sleep(SLOW_SECONDS - 1)
        wrote.append("slow")

    async def quick() -> None:
        wrote.append("quick")

    async with anyio.create_task_group() as group:
        writers = StreamWriters(group)
        for writer in (slow, stuck, quick):
            writers.add(writer)
        await anyio.sleep(SLOW_SECONDS + 1)
        writers.add(quick)
    assert wrote == ["quick", "slow", "cancelled", "quick"]
