"""The hub with real intervals and a clock that jumps, before a fake upstream in the same process."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from tests.virtual_time import ANYIO_OPTIONS, elapsed, now
from tests.world import ORIGIN, world
from widget_proxy.fake_upstream.faults import Fault
from widget_proxy.fake_upstream.state import Plan
from widget_proxy.handles import Handles
from widget_proxy.upstream import SessionEnded, UpstreamBusy, UpstreamUnreachable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


async def test_message_polls_are_thirty_seconds_apart_however_many_listen() -> None:
    async with world() as w:
        session = await w.start()

        async def come_and_go(after: float) -> None:
            await anyio.sleep(after)
            for _ in range(20):
                async with w.hub.watch(session):
                    await anyio.sleep(17)

        async with anyio.create_task_group() as tabs:
            for tab in range(10):
                tabs.start_soon(come_and_go, tab * 1.7)
        assert len(w.asked("message_poll")) >= 7
        assert min(w.gaps("message_poll")) >= 30.0
        assert max(w.gaps("message_poll")) <= 36.0 * 2, "in a session where nothing is said"


async def test_the_first_look_at_the_history_is_at_once() -> None:
    async with world() as w:
        session = await w.start()
        async with w.hub.watch(session):
            await anyio.sleep(0.1)
            assert w.asked("message_poll") == [0.0]
            assert await w.names(session) == ["ready"]


async def test_nothing_is_asked_for_a_session_nobody_watches_and_that_awaits_nothing() -> None:
    async with world() as w:
        session = await w.start()
        async with w.hub.watch(session):
            await anyio.sleep(0.1)
        w.api.ledger.clear()
        await anyio.sleep(3600)
        assert list(w.api.ledger.requests) == []


async def test_an_answer_is_followed_to_its_end_though_nobody_watches() -> None:
    async with world() as w:
        session = await w.start()
        await w.hub.send(session, "hello")
        await anyio.sleep(4)
        assert await w.names(session) == ["progress", "progress", "message", "done"]
        assert w.asked("message_poll") == [], "the task brings the reply; the history is for who listens"
        w.api.ledger.clear()
        await anyio.sleep(600)
        assert list(w.api.ledger.requests) == []


async def test_a_reply_that_task_and_history_both_bring_is_told_once() -> None:
    async with world() as w:
        session = await w.start()
        async with w.hub.watch(session):
            for _ in range(3):
                await w.hub.send(session, "hello")
                await anyio.sleep(50)
        assert len(await w.said(session)) == 3
        assert len(await w.said(session, "user")) == 3
        log = await w.log(session)
        assert Counter(event.name for event in log)["done"] == 3
        keys = [event.data["key"] for event in log if event.name == "message"]
        assert len(set(keys)) == len(keys) == 6


async def test_polls_for_an_answer_are_dense_while_it_is_likely_and_rare_when_it_is_late() -> None:
    async with world() as w:
        session = await w.start()
        w.api.world.plans.append(Plan("at last", 60))
        await w.hub.send(session, "hello")
        await anyio.sleep(70)
        gaps = w.gaps("task_poll")
        assert w.asked("task_poll")[0] > 0.2, "no answer is there at once"
        assert max(gaps[1:12]) < 0.35
        assert gaps[-1] == pytest.approx(0.03 * 60, rel=0.1)
        assert len(gaps) < 110
        assert (await w.names(session))[-1] == "done"


async def test_an_unknown_task_ends_at_the_deadline_and_only_once() -> None:
    async with world() as w:
        session = await w.start()
        w.api.world.plans.append(Plan("", 1, outcome="lost"))
        task = await w.hub.send(session, "hello")
        await anyio.sleep(299)
        assert await w.names(session) == []
        await anyio.sleep(5)
        (done,) = await w.log(session)
        assert done.data == {"task": task.ref, "status": "timeout", "detail": "No answer came. Please try again."}
        w.api.ledger.clear()
        await anyio.sleep(600)
        await w.hub.await_answer(session, task)  # a client that comes back still awaiting it
        await anyio.sleep(600)
        assert list(w.api.ledger.requests) == []


async def test_the_deadline_does_not_begin_anew_with_a_restart() -> None:
    async with world() as w:
        session = await w.start()
        task = Handles(["k" * 32], now).seal_task(session, "lost-with-the-task-store", now())
        await anyio.sleep(290)
        await w.hub.await_answer(session, Handles(["k" * 32], now).open_task(session, task.ref))
        await anyio.sleep(15)
        (done,) = await w.log(session)
        assert done.data["status"] == "timeout"


async def test_a_late_reply_still_appears_after_the_deadline() -> None:
    async with world() as w:
        session = await w.start()
        w.api.world.plans.append(Plan("better late", 400))
        async with w.hub.watch(session):
            await w.hub.send(session, "hello")
            await anyio.sleep(450)
        log = await w.log(session)
        assert [event.data["status"] for event in log if event.name == "done"] == ["timeout"]
        assert await w.said(session) == ["better late"]


async def test_a_failed_task_and_its_apology_name_the_same_task() -> None:
    async with world() as w:
        session = await w.start()
        w.api.world.plans.append(Plan("", 1, outcome="fail"))
        async with w.hub.watch(session):
            task = await w.hub.send(session, "hello")
            await anyio.sleep(40)
        log = await w.log(session)
        (done,) = [event.data for event in log if event.name == "done"]
        (apology,) = [event.data for event in log if event.name == "message" and event.data["role"] == "assistant"]
        assert (done["task"], done["status"]) == (task.ref, "failed")
        assert "unexpected" not in done["detail"], "upstream's own words are not for visitors"
        assert apology["task"] == task.ref
        assert min(w.gaps("message_poll")) >= 30.0


async def test_a_failure_nobody_watches_is_told_without_a_look_at_the_history() -> None:
    async with world() as w:
        session = await w.start()
        w.api.world.plans.append(Plan("", 1, outcome="fail"))
        await w.hub.send(session, "hello")
        await anyio.sleep(60)
        assert await w.names(session) == ["done"]
        assert w.asked("message_poll") == []


async def test_a_failure_meant_for_the_visitor_is_told_in_its_words() -> None:
    async with world() as w:
        session = await w.start()
        w.api.world.plans.append(Plan("This file cannot be read.", 1, outcome="refuse"))
        await w.hub.send(session, "hello")
        await anyio.sleep(3)
        done = (await w.log(session))[-1]
        assert done.data["detail"] == "This file cannot be read."


async def test_the_bots_own_message_between_a_send_and_its_reply_is_neither_lost_nor_doubled() -> None:
    async with world() as w:
        session = await w.start()
        async with w.hub.watch(session):
            w.api.world.plans.append(Plan("the reply", 45))
            await w.hub.send(session, "hello")
            await anyio.sleep(10)
            w.api.world.say(w.api.world.sessions[session.session_id], "by the way")
            await anyio.sleep(80)
        assert sorted(await w.said(session)) == ["by the way", "the reply"]


async def test_upstream_down_is_told_once_and_passes() -> None:
    async with world() as w:
        session = await w.start()
        w.api.faults.ordered.append(Fault("task_poll", "status", times=6, status=502))
        await w.hub.send(session, "hello")
        await anyio.sleep(120)
        log = await w.log(session)
        assert [event.data["code"] for event in log if event.name == "notice"] == ["upstream_unreachable", "restored"]
        assert [event.name for event in log][-2:] == ["message", "done"]


async def test_a_429_pauses_everything_for_as_long_as_upstream_says() -> None:
    async with world() as w:
        one, other = await w.start(), await w.start()
        w.api.faults.ordered.append(
            Fault("task_poll", "status", times=1, status=429, headers={"Retry-After": "60"}, session=one.session_id)
        )
        async with w.hub.watch(other):
            await w.hub.send(one, "hello")
            await anyio.sleep(1)
            w.api.ledger.clear()
            await anyio.sleep(58)
            assert [request.kind for request in w.api.ledger.requests] == [], "not only that one session waits"
            await anyio.sleep(20)
        assert len(await w.said(one)) == 1
        assert "upstream_busy" in [event.data["code"] for event in await w.log(one) if event.name == "notice"]


async def test_a_send_refused_with_429_says_when_to_come_back() -> None:
    async with world() as w:
        session = await w.start()
        w.api.faults.ordered.append(Fault("message", "status", times=1, status=429, headers={"Retry-After": "9"}))
        with pytest.raises(UpstreamBusy) as refused:
            await w.hub.send(session, "hello")
        assert refused.value.retry_after == 9
        assert refused.value.fate == "not_sent"


async def test_an_expired_session_is_asked_for_no_more() -> None:
    async with world() as w:
        session = await w.start()
        async with w.hub.watch(session):
            await anyio.sleep(1)
            w.api.world.sessions[session.session_id].expired = True
            await anyio.sleep(60)
            w.api.ledger.clear()
            await anyio.sleep(600)
        assert {"status": "expired"} in [event.data for event in await w.log(session)]
        assert list(w.api.ledger.requests) == []


async def test_an_ended_session_is_told_and_refuses_messages() -> None:
    async with world() as w:
        session = await w.start()
        w.api.world.sessions[session.session_id].ended_at = now().timestamp()
        with pytest.raises(SessionEnded):
            await w.hub.send(session, "hello")
        await anyio.sleep(0.1)
        assert {"status": "ended"} in [event.data for event in await w.log(session)]


async def test_a_seed_message_is_awaited_from_the_start() -> None:
    async with world(seed_message="Welcome") as w:
        session, _, seed = await w.hub.start(w.site, origin=ORIGIN, page_url=ORIGIN)
        assert seed is not None
        await anyio.sleep(4)
        assert await w.said(session) == ["Welcome"]
        assert (await w.log(session))[-1].data == {"task": seed.ref, "status": "complete"}


async def test_a_hang_is_cut_short_and_a_send_of_unknown_fate_is_not_repeated() -> None:
    async with world() as w:
        session = await w.start()
        w.api.faults.ordered.append(Fault("message", "hang", times=1, seconds=600))
        with pytest.raises(UpstreamUnreachable) as error:
            await w.hub.send(session, "hello")
        assert error.value.fate == "unknown"
        assert elapsed() == pytest.approx(15.0)
        await anyio.sleep(700)
        assert len(w.asked("message")) <= 1


async def test_a_long_history_comes_whole_at_the_polls_own_pace() -> None:
    async with world() as w:
        session = await w.start()
        inside = w.api.world.sessions[session.session_id]
        for number in range(1200):
            w.api.world.say(inside, f"message {number}", now().timestamp() - 5000 + number)
        async with w.hub.watch(session):
            await anyio.sleep(100)
        assert await w.said(session) == [f"message {number}" for number in range(1200)]
        assert min(w.gaps("message_poll")) >= 30.0


async def test_a_history_whose_pages_are_too_large_comes_whole_in_smaller_ones() -> None:
    async with world() as w:
        session = await w.start()
        inside = w.api.world.sessions[session.session_id]
        texts = [f"{number} ".ljust(21_000, "x") for number in range(400)]
        for number, text in enumerate(texts):
            w.api.world.say(inside, text, now().timestamp() - 50_000 + 100 * number)
        async with w.hub.watch(session):
            await anyio.sleep(250)
            assert "ready" in await w.names(session)
            w.api.world.say(inside, "and one more")
            await anyio.sleep(1500)
        assert await w.said(session) == [*texts, "and one more"]
        polls = [request for request in w.api.ledger.requests if request.kind == "message_poll"]
        limits = [int(request.query.partition("limit=")[2].partition("&")[0]) for request in polls]
        assert limits[:6] == [500, 250, 125, 125, 125, 125]
        assert limits[-1] == 500
        assert min(w.gaps("message_poll")) >= 30.0
        assert "notice" not in await w.names(session), "upstream did answer"


async def test_a_single_message_too_large_for_any_answer_is_trouble_as_before() -> None:
    async with world() as w:
        session = await w.start()
        w.api.world.say(w.api.world.sessions[session.session_id], "x" * 5_000_000)
        async with w.hub.watch(session):
            await anyio.sleep(400)
        assert await w.names(session) == ["ready", "notice"]
        assert min(w.gaps("message_poll")) >= 30.0


async def test_a_message_dated_in_the_future_hides_none_that_come_after_it() -> None:
    async with world() as w:
        session = await w.start()
        upstream = w.api.world.sessions[session.session_id]
        async with w.hub.watch(session):
            w.api.world.say(upstream, "from next year", now().timestamp() + 365 * 86_400)
            await anyio.sleep(40)
            for number in range(3):
                w.api.world.say(upstream, f"today {number}")
                await anyio.sleep(40)
        assert await w.said(session) == ["from next year", "today 0", "today 1", "today 2"]


async def test_when_upstreams_clock_is_set_back_nothing_is_lost() -> None:
    async with world() as w:
        session = await w.start()
        upstream = w.api.world.sessions[session.session_id]
        async with w.hub.watch(session):
            w.api.world.say(upstream, "ten minutes ahead", now().timestamp() + 600)
            await anyio.sleep(40)
            w.api.world.say(upstream, "set back")
            await anyio.sleep(40)
        assert await w.said(session) == ["ten minutes ahead", "set back"]


async def test_what_the_hub_started_ends_with_it() -> None:
    before = asyncio.all_tasks()
    async with world() as w:
        session = await w.start()
        w.api.world.plans.append(Plan("", 1, outcome="lost"))
        await w.hub.send(session, "hello")
        async with w.hub.watch(session):
            await anyio.sleep(10)
            assert asyncio.all_tasks() > before
    assert asyncio.all_tasks() == before


async def test_answers_for_who_only_polls_are_asked_for_less_often() -> None:
    polls = []
    for by_polling in (False, True):
        async with world() as w:
            session = await w.start()
            async with w.hub.watch(session, polls=by_polling):
                for _ in range(5):
                    w.api.world.plans.append(Plan("Yes", 6.0))
                    await w.hub.send(session, "hello")
                    await anyio.sleep(20)
            polls.append(len(w.asked("task_poll")))
            assert await w.said(session) == ["Yes"] * 5
    streamed, polled = polls
    assert polled < streamed / 2
    assert polled <= 5 * 7, "what a widget that asks each second would"


async def test_one_stream_among_polls_is_enough_for_a_streams_rhythm() -> None:
    polls = []
    for streams_too in (False, True):
        async with world() as w:
            session = await w.start()
            async with w.hub.watch(session, polls=True), w.hub.watch(session, polls=not streams_too):
                w.api.world.plans.append(Plan("Yes", 6.0))
                await w.hub.send(session, "hello")
                await anyio.sleep(20)
            polls.append(len(w.asked("task_poll")))
    assert polls[0] < polls[1]


async def test_an_answer_names_the_message_that_was_told_before_it() -> None:
    async with world() as w:
        session = await w.start()
        w.api.world.plans.append(Plan("Yes", 6.0))
        task = await w.hub.send(session, "hello")
        await anyio.sleep(20)
        (message,) = [event for event in await w.log(session) if event.name == "message"]
        (done,) = [event for event in await w.log(session) if event.name == "done"]
        assert done.reply == message.data["key"]
        assert done.data == {"task": task.ref, "status": "complete"}, "no visitor's"
