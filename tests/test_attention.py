"""How long a poll counts as listening, with real intervals and a clock that jumps."""

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.virtual_time import ANYIO_OPTIONS
from tests.world import World, world
from widget_proxy.attention import ATTENTION_SECONDS, POLL_SECONDS, Attention

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


@asynccontextmanager
async def attentive(most: int = 100) -> AsyncIterator[tuple[World, Attention]]:
    async with world() as w, anyio.create_task_group() as group:
        attention = Attention(w.hub, w.broker, most=most)
        group.start_soon(attention.run)
        await anyio.lowlevel.checkpoint()
        yield w, attention
        group.cancel_scope.cancel()


async def test_any_number_of_polls_costs_upstream_what_one_stream_does() -> None:
    async with attentive() as (w, attention):
        session = await w.start()

        async def tab(after: float) -> None:
            await anyio.sleep(after)
            for _ in range(20):
                attention.attend(session)
                await anyio.sleep(POLL_SECONDS)

        async with anyio.create_task_group() as tabs:
            for number in range(10):
                tabs.start_soon(tab, number * 2.3)
        polled = w.asked("message_poll")
    async with world() as w:
        session = await w.start()
        async with w.hub.watch(session):
            await anyio.sleep(20 * POLL_SECONDS + 9 * 2.3)
        assert len(w.asked("message_poll")) - 2 <= len(polled) <= len(w.asked("message_poll")) + 2
    assert min(later - earlier for earlier, later in itertools.pairwise(polled)) >= 30.0


async def test_who_polls_no_more_is_forgotten() -> None:
    async with attentive() as (w, attention):
        session = await w.start()
        attention.attend(session)
        await anyio.sleep(ATTENTION_SECONDS - 1)
        assert attention.sessions == 1
        attention.attend(session)
        await anyio.sleep(ATTENTION_SECONDS - 1)
        assert attention.sessions == 1, "each poll counts anew"
        await anyio.sleep(2)
        assert attention.sessions == 0
        assert ATTENTION_SECONDS == 60, "twice the widget's rhythm"
        w.api.ledger.clear()
        await anyio.sleep(3600)
        assert list(w.api.ledger.requests) == []
        attention.attend(session)
        await anyio.sleep(1)
        assert w.asked("message_poll") != []


async def test_the_session_polled_longest_ago_goes_first() -> None:
    async with attentive(most=2) as (w, attention):
        first, second, third = [await w.start() for _ in range(3)]
        attention.attend(first)
        attention.attend(second)
        attention.attend(first)
        await anyio.sleep(1)
        attention.attend(third)
        await anyio.sleep(300 - ATTENTION_SECONDS)
        w.api.ledger.clear()
        for _ in range(2):
            attention.attend(first)
            attention.attend(third)
            await anyio.sleep(1)
        assert attention.sessions == 2
        assert {one.session for one in w.api.ledger.requests} == {first.session_id, third.session_id}


async def test_a_log_that_begins_anew_is_listened_to_again_by_the_next_poll() -> None:
    async with attentive() as (w, attention):
        session = await w.start()
        attention.attend(session)
        await anyio.sleep(1)
        w.broker.close_subscribers()
        await anyio.sleep(1)
        assert attention.sessions == 0
