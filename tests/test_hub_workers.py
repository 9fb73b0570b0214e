"""Several workers on one broker: who polls, who takes over, and what visitors notice of it: nothing."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import anyio
import pytest

from tests.virtual_time import ANYIO_OPTIONS, elapsed, now
from tests.world import World, world
from widget_proxy.broker import Allowance, BrokerUnavailable, MessagePoll, PendingAnswer
from widget_proxy.broker.memory import MemoryBroker
from widget_proxy.config import PacingSettings
from widget_proxy.fake_upstream.faults import Fault
from widget_proxy.fake_upstream.state import Plan
from widget_proxy.handles import ChatSession, Handles
from widget_proxy.hub import Hub
from widget_proxy.hub.answers import LEASE_SECONDS, LOOKOUT_SECONDS
from widget_proxy.hub.histories import ASKING_AT_ONCE
from widget_proxy.hub.turns import Turns
from widget_proxy.messages import Event, done_identity
from widget_proxy.pacing import Budget
from widget_proxy.upstream import SessionEnded, UpstreamBusy

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


async def crash(hub: Hub, stack: AsyncExitStack, broker: MemoryBroker) -> None:
    """End a worker as `kill -9` would: what it holds is not given back."""

    async def nothing(ref: str) -> None:
        """A dead worker says nothing."""

    broker.leave_answer = nothing  # type: ignore[method-assign] # it has no time to
    await stack.aclose()


async def ends(w: World, session: ChatSession) -> list[str]:
    return [event.data["status"] for event in await w.log(session) if event.name == "done"]


async def test_one_answer_is_polled_for_by_one_worker() -> None:
    async with world() as w, w.worker(w.broker.beside("b")) as other:
        session = await w.start()
        w.api.world.plans.append(Plan("the answer", 20))
        task = await w.hub.send(session, "hello")
        for _ in range(10):
            await other.await_answer(session, task)
            await anyio.sleep(1)
        alone = w.asked("task_poll")
        assert min(later - earlier for earlier, later in pairwise(alone)) > 0.2
        await anyio.sleep(15)
        assert await ends(w, session) == ["complete"]


async def test_another_worker_takes_an_answer_over_when_its_own_is_killed() -> None:
    async with world() as w:
        broker, stack = w.broker.beside("b"), AsyncExitStack()
        doomed = await stack.enter_async_context(w.worker(broker))
        session = await w.start()
        w.api.world.plans.append(Plan("the answer", 3))
        await doomed.send(session, "hello")
        await anyio.sleep(1)
        await crash(doomed, stack, broker)
        died = elapsed()
        await anyio.sleep(LEASE_SECONDS + 2 * LOOKOUT_SECONDS)
        assert await w.said(session) == ["the answer"]
        assert await ends(w, session) == ["complete"]
        first = next(moment for moment in w.asked("task_poll") if moment > died)
        assert first - died <= LEASE_SECONDS + 1.25 * LOOKOUT_SECONDS


async def test_a_worker_that_stops_in_order_leaves_its_answers_at_once() -> None:
    async with world() as w:
        async with w.worker(w.broker.beside("b")) as leaving:
            session = await w.start()
            w.api.world.plans.append(Plan("the answer", 3))
            await leaving.send(session, "hello")
            await anyio.sleep(1)
        await anyio.sleep(1.3 * LOOKOUT_SECONDS)
        assert await w.said(session) == ["the answer"]


async def test_a_worker_that_slept_through_its_lease_stops_asking() -> None:
    async with world() as w, w.worker(w.broker.beside("b")):
        session = await w.start()
        w.api.world.plans.append(Plan("the answer", 200))
        task = await w.hub.send(session, "hello")
        await anyio.sleep(1)
        w.broker._answers[task.ref].until = 0.0  # as if it had not renewed it
        await anyio.sleep(60)
        w.api.ledger.clear()
        await anyio.sleep(60)
        assert min(w.gaps("task_poll")) > 1.0, "two who ask would be closer to each other"
        await anyio.sleep(100)
        assert await ends(w, session) == ["complete"]


async def test_message_polls_of_all_workers_are_thirty_seconds_apart_whoever_is_killed() -> None:
    async with world() as w:
        session = await w.start()
        for number in range(8):
            broker, stack = w.broker.beside(str(number)), AsyncExitStack()
            worker = await stack.enter_async_context(w.worker(broker))
            async with w.hub.watch(session), worker.watch(session):
                for _ in range(5):
                    w.api.world.say(w.api.world.sessions[session.session_id], f"talk {number}")
                    await anyio.sleep(11)
            await crash(worker, stack, broker)
        assert len(w.asked("message_poll")) >= 10
        assert min(w.gaps("message_poll")) >= 30.0
        assert len(await w.said(session)) >= 30


async def test_the_budget_is_one_for_all_workers() -> None:
    async with world() as w, w.worker(w.broker.beside("b")) as other:
        sessions = [await w.start() for _ in range(30)]
        w.api.ledger.clear()
        async with anyio.create_task_group() as group:
            for number, session in enumerate(sessions):
                group.start_soon((w.hub, other)[number % 2].send, session, "/slow 290")
            await anyio.sleep(300)
            group.cancel_scope.cancel()
        assert len(w.api.ledger.requests) <= 2000
        assert len(w.api.ledger.requests) > 1000, "what is there is used"


async def test_a_poll_that_another_worker_was_granted_meanwhile_costs_the_budget_nothing() -> None:
    class Late(MemoryBroker):
        """Between the question and the claim another one claims."""

        refused = 0

        async def claim_message_poll(self, session: str, interval: float, *, ask_only: bool = False) -> MessagePoll:
            if not ask_only and self.refused < 3:
                self.refused += 1
                return MessagePoll(0.1, 0.0)
            return await super().claim_message_poll(session, interval, ask_only=ask_only)

    async with world() as w:
        w.pacing = PacingSettings(budget=Budget(100, 1e9))
        broker = Late(clock=elapsed)
        async with w.worker(broker) as hub:
            session = await w.start()
            async with hub.watch(session):
                await anyio.sleep(10)
        assert (broker.refused, len(w.asked("message_poll"))) == (3, 1)
        granted = [await broker.spend(w.client.base_url, w.pacing.budget, 0.0) for _ in range(10)]
        assert sum(one.wait == 0.0 for one in granted) == 9, "of the ten one was asked"


class Shaky(MemoryBroker):
    """A broker that can be away."""

    away = False

    async def _or_away(self) -> None:
        if self.away:
            raise BrokerUnavailable("ordered")

    async def publish(self, session: str, events: Sequence[Event]) -> None:
        await self._or_away()
        await super().publish(session, events)

    async def is_published(self, session: str, identity: str) -> bool:
        await self._or_away()
        return await super().is_published(session, identity)

    async def keep_answer(self, ref: str, seconds: float) -> bool:
        await self._or_away()
        return await super().keep_answer(ref, seconds)

    async def spend(self, *arguments: Any) -> Any:
        await self._or_away()
        return await super().spend(*arguments)

    async def attend_answer(self, *arguments: Any) -> bool:
        await self._or_away()
        return await super().attend_answer(*arguments)

    async def claim_message_poll(self, *arguments: Any, **options: Any) -> Any:
        await self._or_away()
        return await super().claim_message_poll(*arguments, **options)

    async def unattended_answers(self) -> Any:
        await self._or_away()
        return await super().unattended_answers()


async def test_while_the_broker_is_away_answers_are_fetched_and_told_when_it_is_back() -> None:
    async with world() as w:
        broker = Shaky(clock=elapsed)
        async with w.worker(broker) as hub:
            session = await w.start()
            w.api.world.plans.append(Plan("the answer", 5))
            async with hub.watch(session):
                await hub.send(session, "before it went")
                await anyio.sleep(1)
                broker.away = True
                await anyio.sleep(8)
                asked = len(w.asked("task_poll"))
                await hub.send(session, "while it was away")
                await anyio.sleep(60)
                assert len(w.asked("task_poll")) > asked, "the second is polled for all the same"
                assert len(w.asked("message_poll")) == 1, "without the mark nobody may poll messages"
                broker.away = False
                await anyio.sleep(5)
                entries = await broker.entries(session.key)
            assert [entry.event.data["status"] for entry in entries if entry.event.name == "done"] == ["complete"] * 2


async def test_after_a_stall_sessions_leave_the_broker_room_for_visitors() -> None:
    class Counting(MemoryBroker):
        """Takes its time, and counts who asks at once."""

        asking = most = 0

        async def is_published(self, session: str, identity: str) -> bool:
            self.asking += 1
            self.most = max(self.most, self.asking)
            await anyio.sleep(0.01)
            self.asking -= 1
            return await super().is_published(session, identity)

    async with world() as w, AsyncExitStack() as stack:
        broker = Counting(clock=elapsed)
        hub = await stack.enter_async_context(w.worker(broker))
        for _ in range(100):
            await stack.enter_async_context(hub.watch(await w.start()))
        await anyio.sleep(30)
        assert len(w.asked("message_poll")) == 100
        assert broker.most == ASKING_AT_ONCE


async def test_what_a_poll_brought_while_the_broker_went_away_is_told_when_it_is_back() -> None:
    class Away(Shaky):
        """Goes away between a poll and what it brought."""

        async def is_published(self, session: str, identity: str) -> bool:
            if self.doomed and identity != "ready":
                self.away = True
            return await super().is_published(session, identity)

        doomed = False

    async with world() as w:
        broker = Away(clock=elapsed)
        async with w.worker(broker) as hub:
            session = await w.start()
            async with hub.watch(session):
                await anyio.sleep(40)
                w.api.world.say(w.api.world.sessions[session.session_id], "by itself")
                broker.doomed = True
                await anyio.sleep(60)
                assert broker.away
                broker.doomed = broker.away = False
                await anyio.sleep(130)
                entries = await broker.entries(session.key)
        assert [one.event.data["content"] for one in entries if one.event.name == "message"] == ["by itself"]


async def test_a_wait_longer_than_the_lease_keeps_it() -> None:
    async with world() as w, w.worker(w.broker.beside("b")):
        session = await w.start()
        w.api.world.plans.append(Plan("the answer", 5))
        await w.hub.send(session, "hello")
        client = w.client
        await w.broker.pause(client.base_url, Budget(2000, 300.0), 60.0)
        asked = len(w.asked("task_poll"))
        taken: list[Any] = []
        for _ in range(25):
            await anyio.sleep(2)
            taken += await w.broker.unattended_answers()
        assert taken == [], "whoever waits for its turn is not gone"
        await anyio.sleep(20)
        assert await w.said(session) == ["the answer"]
        assert len(w.asked("task_poll")) - asked <= 3


async def test_after_redis_was_flushed_the_log_is_rebuilt_and_answers_go_on() -> None:
    async with world() as w:
        session = await w.start()
        async with w.hub.watch(session):
            await w.hub.send(session, "one")
            await anyio.sleep(100)
            w.api.world.plans.append(Plan("the second answer", 30))
            await w.hub.send(session, "two")
            await anyio.sleep(1)
            before = {event.data["key"] for event in await w.log(session) if event.name == "message"}
            w.broker._sessions.clear()
            w.broker._answers.clear()
            await anyio.sleep(60)
            after = [event.data["key"] for event in await w.log(session) if event.name == "message"]
        assert before < set(after)
        assert len(after) == len(set(after)) == 4
        assert await ends(w, session) == ["complete"]


async def test_an_apology_is_explained_whichever_worker_finds_it() -> None:
    async with world() as w, w.worker(w.broker.beside("b")) as other:
        session = await w.start()
        task = await other.send(session, "/fail")
        await anyio.sleep(10)
        async with w.hub.watch(session):
            await anyio.sleep(1)
        (apology,) = [event for event in await w.log(session) if event.data.get("role") == "assistant"]
        assert apology.data["task"] == task.ref


async def test_of_several_replies_found_at_once_one_is_the_apology() -> None:
    """As after a crash, when the history brings what nobody polled for. A second one of the same task would be
    dropped by every client."""
    async with world() as w:
        session = await w.start()
        task = await w.hub.send(session, "/fail")
        await anyio.sleep(5)
        for number in range(3):
            w.api.world.say(w.api.world.sessions[session.session_id], f"reply {number}")
            await anyio.sleep(1)
        async with w.hub.watch(session):
            await anyio.sleep(1)
        said = [event.data for event in await w.log(session) if event.data.get("role") == "assistant"]
        assert len(said) == 4
        assert [data["content"][:5] for data in said if data.get("task") == task.ref] == ["Sorry"]


async def test_a_task_of_a_site_that_is_gone_or_a_key_that_is_gone_is_let_go() -> None:
    async with world() as w:
        session = await w.start()
        strange = Handles(["other" * 10], now).seal_task(session, "t", now())
        await w.broker.beside("gone").attend_answer("s", PendingAnswer(strange.ref, "no handle"), 0.0)
        await anyio.sleep(3 * LOOKOUT_SECONDS)
        assert await w.broker.unattended_answers() == []
        assert w.asked("task_poll") == []


async def test_with_the_starts_of_a_channel_used_up_nobody_asks_until_there_are_more() -> None:
    async with world() as w:
        headers = {"X-RateLimit-Limit": "300", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "40"}
        w.api.faults.ordered.append(Fault("start", "status", times=1, status=429, headers=headers))
        with pytest.raises(UpstreamBusy):
            await w.start()
        with pytest.raises(UpstreamBusy) as refused:
            await w.start()
        assert refused.value.retry_after == pytest.approx(42, abs=2)
        assert len(w.asked("start")) == 1, "the second was not even asked"
        await anyio.sleep(45)
        await w.start()


async def test_with_the_budget_spent_a_send_waits_a_little_and_is_refused_clearly() -> None:
    async with world() as w:
        session = await w.start()
        await w.broker.pause(w.client.base_url, w.pacing.budget, 2.0)
        began = elapsed()
        await w.hub.send(session, "a little patience")
        assert 2.0 <= elapsed() - began < 3.0
        await w.broker.pause(w.client.base_url, w.pacing.budget, 60.0)
        with pytest.raises(UpstreamBusy) as refused:
            await w.hub.send(session, "too much")
        assert refused.value.fate == "not_sent"
        assert len(w.asked("message")) == 1


async def test_a_session_near_its_own_limit_is_polled_slower_and_never_refused() -> None:
    async with world() as w:
        w.api.settings.enforce_limits = True
        w.api.settings.session_limit = 60
        session = await w.start()
        w.api.world.plans.append(Plan("the answer", 250))
        await w.hub.send(session, "hello")
        await anyio.sleep(262)  # ten seconds late at most
        assert await w.said(session) == ["the answer"]
        assert {request.status for request in w.api.ledger.requests} == {200, 201, 202}


async def test_a_fault_of_ours_in_one_session_leaves_the_others_be(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(MemoryBroker):
        """Breaks in a way nobody foresaw, when it is told that a session ended."""

        async def publish(self, session: str, events: Sequence[Event]) -> None:
            if events[0].name == "session":
                raise RuntimeError("marker: nobody foresaw this")
            await super().publish(session, events)

    async with world() as w:
        broker = Faulty(clock=elapsed)
        async with w.worker(broker) as hub:
            over, other = await w.start(), await w.start()
            w.api.world.sessions[over.session_id].ended_at = now().timestamp()
            with pytest.raises(SessionEnded):
                await hub.send(over, "hello")
            await anyio.sleep(1)
            task = await hub.send(other, "hello")
            await anyio.sleep(4)
            assert await broker.is_published(other.key, done_identity(task.ref))
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert record.message == "following a session failed"
    assert record.exc_info is not None


@pytest.mark.parametrize(("workers", "share"), [(1, 0.25), (4, 0.25), (8, 1 / 8), (20, 1 / 20)])
async def test_workers_that_cannot_ask_each_other_stay_within_the_budget_together(workers: int, share: float) -> None:
    async with world() as w:
        broker = Shaky(clock=elapsed)
        broker.away = True
        budget = Budget(2000, 300.0)
        turns = Turns(broker, budget, lambda: 0.5, elapsed, workers)
        asked, end = 0, elapsed() + budget.seconds
        while elapsed() < end:
            turn = await turns.take(w.client, 0.0)
            asked += turn.wait == 0.0
            await anyio.sleep(turn.wait)
        assert asked * workers <= budget.requests
        assert asked == pytest.approx(budget.requests * share, rel=0.05)


async def test_an_answer_of_a_site_that_is_gone_is_let_go_after_its_deadline() -> None:
    """Until then another worker may know the site."""
    async with world() as w:
        handles = Handles(["k" * 32], now)
        session = ChatSession("gone", str(uuid4()), "token", "https://gone.example", now())
        task = handles.seal_task(session, "t", now())
        pending = PendingAnswer(task.ref, handles.seal_session(session))
        await w.broker.beside("before").attend_answer(session.key, pending, 0.0)
        await anyio.sleep(290)
        assert await w.broker.unattended_answers() == [pending]
        await anyio.sleep(10 + 2 * LOOKOUT_SECONDS)
        assert await w.broker.unattended_answers() == []
        assert w.asked("task_poll") == []


async def polls_for_an_answer(w: World, session: ChatSession) -> list[float]:
    """When upstream is asked for one that takes twenty seconds, from the send on. The session's own limit is far."""
    w.api.settings.session_limit = 100_000
    w.api.ledger.clear()
    w.api.world.plans.append(Plan("the answer", 20))
    began = elapsed()
    await w.hub.send(session, "hello")
    await anyio.sleep(40)
    return [round(moment - began, 3) for moment in w.asked("task_poll")]


async def test_a_resumed_answer_teaches_no_answer_time() -> None:
    """When it became ready nobody knows. Learned from, everybody's polls would come late after a restart."""
    async with world() as w:
        usual = await polls_for_an_answer(w, await w.start())
    async with world() as w:
        session = await w.start()
        upstream = w.api.world.sessions[session.session_id]
        for number in range(40):
            task = w.api.world.ask(upstream, "hello", Plan("quick", 0.1), [])
            await anyio.sleep(90)
            resumed = Handles(["k" * 32], now).seal_task(session, task.id, now() - timedelta(seconds=90))
            await w.hub.await_answer(session, resumed)
            await anyio.sleep(1)
            assert len(await w.said(session)) == number + 1
        assert await polls_for_an_answer(w, session) == usual


async def test_readers_who_come_back_all_at_once_do_not_ask_all_the_time_whether_it_is_their_turn() -> None:
    """With the budget spent, as after a restart. Each of four hundred first readings takes a request."""

    class Counting(MemoryBroker):
        spends = 0

        async def spend(self, upstream: str, budget: Budget, reserve: float) -> Allowance:
            self.spends += 1
            return await super().spend(upstream, budget, reserve)

    async with world() as w:
        broker = Counting(clock=elapsed)
        async with w.worker(broker) as hub, AsyncExitStack() as readers:
            sessions = [await w.start() for _ in range(400)]
            w.api.ledger.clear()
            await broker.pause(w.client.base_url, w.pacing.budget, 1.0)
            broker.spends, began = 0, elapsed()
            for session in sessions:
                await readers.enter_async_context(hub.watch(session))
            while len(w.asked("message_poll")) < len(sessions):
                await anyio.sleep(1)
                assert elapsed() - began < 300, "all are read in the end"
        assert broker.spends < 25 * len(sessions)
        needed = len(sessions) / w.pacing.budget.rate
        assert max(w.asked("message_poll")) - began < 3 * needed
