"""What a broker promises. Every kind of broker goes through these."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import count, pairwise

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis as Client

from tests.servers import Redis
from widget_proxy.broker import KEPT_SECONDS, KEPT_SEND_SECONDS, TAKEOVER_SHARE, Broker, Entry, PendingAnswer
from widget_proxy.broker.memory import MemoryBroker
from widget_proxy.broker.redis import RedisBroker
from widget_proxy.messages import Event
from widget_proxy.pacing import Budget

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Kind:
    """One kind of broker. Its times are in units of `unit` seconds: memory's clock is a number that tests set, that
    of Redis is real, and its seconds are short."""

    def __init__(self, name: str, redis: Redis, stack: AsyncExitStack) -> None:
        self.name = name
        self.unit = 1.0 if name == "memory" else 0.01
        self.clock = Clock()
        self._redis = redis
        self._stack = stack
        self._memory: MemoryBroker | None = None
        self._numbers = count()

    async def make(self, **options: int) -> Broker:
        """A new broker, with nothing in it."""
        if self.name == "memory":
            self._memory = MemoryBroker(self.clock, **options)
            return self._memory
        self._prefix = f"test-{next(self._numbers)}"
        return await self._stack.enter_async_context(RedisBroker(self._redis.url, prefix=self._prefix, **options))

    async def beside(self) -> Broker:
        """The broker made last, as another worker has it."""
        if self._memory is not None:
            return self._memory.beside("another")
        return await self._stack.enter_async_context(RedisBroker(self._redis.url, prefix=self._prefix))

    async def wait(self, units: float) -> None:
        """Let time pass."""
        if self.name == "memory":
            self.clock.now += units
        else:
            await anyio.sleep(units * self.unit)


Make = Callable[..., Awaitable[Broker]]


@pytest.fixture(params=["memory", "redis"])
async def kind(request: pytest.FixtureRequest, redis: Redis) -> AsyncIterator[Kind]:
    async with AsyncExitStack() as stack:
        yield Kind(request.param, redis, stack)


@pytest.fixture
def make(kind: Kind) -> Make:
    """A new broker of each kind, keeping `kept_events`."""
    return kind.make


@pytest.fixture
async def broker(kind: Kind) -> Broker:
    return await kind.make()


def event(name: str, identity: str | None = None) -> Event:
    return Event("message", {"key": name}, identity)


async def read(broker: Broker, after: str | None = None) -> list[str]:
    async with broker.subscribe("s", after) as subscription:
        return [entry.event.data["key"] for entry in subscription.backlog[subscription.replay_from :]]


async def entries(broker: Broker) -> list[Entry]:
    async with broker.subscribe("s", None) as subscription:
        return list(subscription.backlog)


async def test_events_are_kept_in_order(broker: Broker) -> None:
    await broker.publish("s", [event("a"), event("b")])
    await broker.publish("s", [event("c")])
    assert await read(broker) == ["a", "b", "c"]


async def test_sessions_have_logs_of_their_own(broker: Broker) -> None:
    await broker.publish("other", [event("a")])
    assert await read(broker) == []


async def test_a_cursor_goes_on_behind_its_event(broker: Broker) -> None:
    await broker.publish("s", [event("a"), event("b"), event("c")])
    kept = await entries(broker)
    assert await read(broker, kept[0].cursor) == ["b", "c"]
    assert await read(broker, kept[2].cursor) == []


@pytest.mark.parametrize("cursor", ["", "x", "-", "x-1", "-1", "999", "a-b-c", "é", "0" * 64])
async def test_a_cursor_it_never_gave_means_everything(broker: Broker, cursor: str) -> None:
    await broker.publish("s", [event("a"), event("b")])
    assert await read(broker, cursor) == ["a", "b"]


async def test_a_cursor_of_another_broker_means_everything(make: Make) -> None:
    before, after = await make(), await make()
    for broker in (before, after):
        await broker.publish("s", [event("a"), event("b")])
    assert await read(after, (await entries(before))[0].cursor) == ["a", "b"]


async def test_a_cursor_beyond_the_end_means_everything(broker: Broker) -> None:
    await broker.publish("s", [event("a")])
    epoch = (await entries(broker))[0].cursor.rpartition("-")[0]
    assert await read(broker, f"{epoch}-77") == ["a"]


async def test_the_same_thing_is_published_once(broker: Broker) -> None:
    await broker.publish("s", [event("a", "one"), event("b", "one")])
    await broker.publish("s", [event("c", "one"), event("d", "two"), event("e"), event("e")])
    assert await read(broker) == ["a", "d", "e", "e"]
    assert await broker.is_published("s", "one")
    assert not await broker.is_published("s", "three")
    assert not await broker.is_published("other", "one")


async def test_a_reader_gets_what_comes_after_the_backlog(broker: Broker) -> None:
    await broker.publish("s", [event("a")])
    got: list[str] = []
    async with broker.subscribe("s", None) as subscription, anyio.create_task_group() as group:

        async def follow() -> None:
            async for entry in subscription.live():
                got.append(entry.event.data["key"])
                if len(got) == 3:
                    return

        group.start_soon(follow)
        await anyio.lowlevel.checkpoint()
        await broker.publish("s", [event("b"), event("c")])
        await broker.publish("s", [event("d")])
    assert got == ["b", "c", "d"]


async def test_nothing_is_lost_between_backlog_and_live(broker: Broker) -> None:
    async with broker.subscribe("s", None) as subscription:
        await broker.publish("s", [event("a")])
        async for entry in subscription.live():
            assert entry.event.data["key"] == "a"
            break


async def test_what_is_kept_is_bounded_and_a_reader_too_far_behind_is_closed(make: Make) -> None:
    broker = await make(kept_events=10)
    async with broker.subscribe("s", None) as slow:
        await broker.publish("s", [event(str(number), f"i{number}") for number in range(25)])
        assert [entry async for entry in slow.live()] == [], "it resumes from its cursor"
    assert await read(broker) == [str(number) for number in range(15, 25)]
    await broker.publish("s", [event("again", "i3")])
    assert await read(broker) == [str(number) for number in range(15, 25)], "trimmed is not forgotten"


async def test_closing_ends_every_reader_now_and_later(broker: Broker) -> None:
    ended = 0
    async with anyio.create_task_group() as group:

        async def follow() -> None:
            nonlocal ended
            async with broker.subscribe("s", None) as subscription:
                async for _ in subscription.live():
                    pass
            ended += 1

        for _ in range(5):
            group.start_soon(follow)
        await anyio.lowlevel.checkpoint()
        broker.close_subscribers()
    await anyio.wait_all_tasks_blocked()
    async with broker.subscribe("s", None) as late:
        assert [entry async for entry in late.live()] == []
    assert ended == 5


async def test_a_message_poll_is_granted_once_in_an_interval(broker: Broker, kind: Kind) -> None:
    interval = 30 * kind.unit
    assert (await broker.claim_message_poll("s", interval)).wait == 0.0
    await kind.wait(10)
    assert 0 < (await broker.claim_message_poll("s", interval)).wait <= 20 * kind.unit
    assert (await broker.claim_message_poll("other", interval)).wait == 0.0
    await kind.wait((await broker.claim_message_poll("s", interval)).wait / kind.unit + 0.1)
    assert (await broker.claim_message_poll("s", interval)).wait == 0.0


async def test_the_next_message_poll_is_first_its_last_pollers(broker: Broker, kind: Kind) -> None:
    interval, another = 30 * kind.unit, await kind.beside()
    assert (await broker.claim_message_poll("s", interval)).wait == 0.0
    theirs = (await another.claim_message_poll("s", interval)).wait
    ours = (await broker.claim_message_poll("s", interval)).wait
    assert 0 < ours < theirs <= interval * (1 + TAKEOVER_SHARE), "it knows where the reading stands"


async def test_message_polls_are_taken_over_when_their_poller_is_gone(broker: Broker, kind: Kind) -> None:
    interval, another = 30 * kind.unit, await kind.beside()
    await broker.claim_message_poll("s", interval)
    await kind.wait(30 * (1 + TAKEOVER_SHARE) + 0.1)
    assert (await another.claim_message_poll("s", interval)).wait == 0.0
    assert (await broker.claim_message_poll("s", interval)).wait > 0, "it is another's now"


async def test_asking_only_marks_nothing(broker: Broker, kind: Kind) -> None:
    interval = 30 * kind.unit
    assert (await broker.claim_message_poll("s", interval, ask_only=True)).wait == 0.0
    assert (await broker.claim_message_poll("s", interval)).wait == 0.0
    assert (await broker.claim_message_poll("s", interval, ask_only=True)).wait > 0.0


async def test_a_claim_tells_how_long_nothing_was_said(broker: Broker, kind: Kind) -> None:
    await broker.claim_message_poll("s", 1e9)
    await kind.wait(10)
    assert (await broker.claim_message_poll("s", 1e9)).quiet >= 10 * kind.unit
    await broker.publish("s", [Event("notice"), Event("ready", identity="ready")])
    assert (await broker.claim_message_poll("s", 1e9)).quiet >= 10 * kind.unit, "that was no talk"
    await broker.publish("s", [event("a")])
    assert (await broker.claim_message_poll("s", 1e9)).quiet < 9 * kind.unit
    await kind.wait(10)
    await broker.attend_answer("s", PendingAnswer("r", "h"), 1)
    assert (await broker.claim_message_poll("s", 1e9)).quiet < 9 * kind.unit, "a question is talk"
    await kind.wait(10)
    await broker.claim_send("s", "k", "f", 1)
    assert (await broker.claim_message_poll("s", 1e9)).quiet < 9 * kind.unit, "and so is one whose fate is not known"


async def test_an_answer_is_polled_for_by_one_worker(broker: Broker, kind: Kind) -> None:
    answer, another = PendingAnswer("ref", "handle"), await kind.beside()
    assert await broker.attend_answer("s", answer, 30 * kind.unit)
    assert await broker.attend_answer("s", answer, 30 * kind.unit), "asking again changes nothing"
    assert not await another.attend_answer("s", answer, 30 * kind.unit)
    assert await broker.keep_answer("ref", 30 * kind.unit)
    assert not await another.keep_answer("ref", 30 * kind.unit)
    assert await another.unattended_answers() == []


async def test_an_answer_whose_worker_is_gone_is_taken_over(broker: Broker, kind: Kind) -> None:
    answer, another = PendingAnswer("ref", "handle"), await kind.beside()
    await broker.attend_answer("s", answer, 5 * kind.unit)
    await broker.attend_answer("s", PendingAnswer("other", "handle"), 60 * kind.unit)
    await kind.wait(6)
    assert await another.unattended_answers() == [answer]
    assert await another.attend_answer("s", answer, 30 * kind.unit)
    assert not await broker.keep_answer("ref", 30 * kind.unit), "the one that was gone learns that it lost it"


async def test_an_answer_given_up_is_taken_at_once(broker: Broker, kind: Kind) -> None:
    answer, another = PendingAnswer("ref", "handle"), await kind.beside()
    await broker.attend_answer("s", answer, 60 * kind.unit)
    await another.leave_answer("ref")
    assert await another.unattended_answers() == [], "it was not theirs to give"
    await broker.leave_answer("ref")
    assert await another.unattended_answers() == [answer]
    assert not await broker.keep_answer("ref", 60 * kind.unit)
    assert await another.attend_answer("s", answer, 60 * kind.unit)


async def test_a_finished_answer_is_nobodys(broker: Broker, kind: Kind) -> None:
    await broker.attend_answer("s", PendingAnswer("ref", "handle"), kind.unit)
    await broker.finish_answer("ref")
    await broker.finish_answer("ref")
    await kind.wait(2)
    assert await broker.unattended_answers() == []
    assert not await broker.keep_answer("ref", kind.unit)


async def test_a_budget_is_spent_by_all_workers_together(broker: Broker, kind: Kind) -> None:
    another, budget = await kind.beside(), Budget(100, 1000 * kind.unit)
    granted = [await one.spend("host", budget, 0.0) for one in (broker, another) * 5]
    assert [one.wait for one in granted] == [0.0] * 10, "as many as may go at once"
    assert [one.level for one in granted] == sorted((one.level for one in granted), reverse=True)
    for _ in range(20):  # of a real clock's budget a little has come back meanwhile
        denied = await broker.spend("host", budget, 0.0)
        if denied.wait > 0:
            break
    assert 0 < denied.wait <= 1000 / 90 * kind.unit + 1e-6
    assert denied.level < 0.1
    assert (await broker.spend("another", budget, 0.0)).wait == 0.0, "each host has its own"
    await kind.wait(denied.wait / kind.unit + 0.5)
    assert (await another.spend("host", budget, 0.0)).wait == 0.0


async def test_what_is_reserved_is_left_to_the_more_urgent(broker: Broker, kind: Kind) -> None:
    budget = Budget(100, 1000 * kind.unit)
    for _ in range(5):
        assert (await broker.spend("host", budget, 0.5)).wait == 0.0
    assert (await broker.spend("host", budget, 0.5)).wait > 0.0
    assert (await broker.spend("host", budget, 0.0)).wait == 0.0


async def test_what_is_given_back_can_be_taken_again(broker: Broker, kind: Kind) -> None:
    another, budget = await kind.beside(), Budget(100, 1e6)  # what comes back by itself does not matter
    await broker.give_back("host", budget)
    for _ in range(10):
        assert (await broker.spend("host", budget, 0.0)).wait == 0.0
    assert (await broker.spend("host", budget, 0.0)).wait > 0.0
    await another.give_back("host", budget)
    assert (await broker.spend("host", budget, 0.0)).wait == 0.0
    assert (await broker.spend("host", budget, 0.0)).wait > 0.0
    for _ in range(30):
        await broker.give_back("host", budget)
    assert (await broker.spend("host", budget, 0.0)).level == pytest.approx(0.9), "no more than it holds"


async def test_a_pause_holds_everybody(broker: Broker, kind: Kind) -> None:
    another, budget = await kind.beside(), Budget(100, 1000 * kind.unit)
    await broker.pause("host", budget, 30 * kind.unit)
    await broker.pause("host", budget, 3 * kind.unit)
    assert (await another.spend("host", budget, 0.0)).wait == pytest.approx(30 * kind.unit, rel=0.2)
    await kind.wait(31)
    after = await another.spend("host", budget, 0.0)
    assert after.level < 0.2, "it begins slowly"


async def test_a_send_whose_sender_vanished_is_lost(broker: Broker, kind: Kind) -> None:
    assert (await broker.claim_send("s", "k", "f", 5 * kind.unit)).state == "new"
    await kind.wait(6)
    assert (await (await kind.beside()).claim_send("s", "k", "f", 5 * kind.unit)).state == "lost", "not sent again"


async def test_a_send_is_one_over_workers(broker: Broker, kind: Kind) -> None:
    another = await kind.beside()
    assert (await broker.claim_send("s", "k", "f", 30)).state == "new"
    await broker.settle_send("s", "k", {"task": "ü"})
    assert (await another.claim_send("s", "k", "f", 30)).result == {"task": "ü"}


async def test_what_one_worker_publishes_the_other_reads(broker: Broker, kind: Kind) -> None:
    another = await kind.beside()
    await broker.publish("s", [event("a", "one")])
    async with another.subscribe("s", None) as subscription:
        assert [entry.event.data["key"] for entry in subscription.backlog] == ["a"]
        await broker.publish("s", [event("again", "one"), Event("done", {"task": "t", "text": "\u2028 ü 😀"}, "d")])
        async for entry in subscription.live():
            assert entry.event == Event("done", {"task": "t", "text": "\u2028 ü 😀"}, "d")
            break
    assert await another.is_published("s", "one")
    assert list(await another.entries("s")) == await entries(broker)


async def test_take_gives_what_came_and_the_bell_tells_when(broker: Broker) -> None:
    rung = anyio.Event()
    async with broker.subscribe("s", None) as subscription:
        subscription.on_change(rung.set)
        assert (list(subscription.take()), rung.is_set()) == ([], False)
        await broker.publish("s", [event("a")])
        with anyio.fail_after(5):
            await rung.wait()
        assert [entry.event.data["key"] for entry in subscription.take()] == ["a"]
        assert list(subscription.take()) == []


async def test_a_settled_send_is_told_again(broker: Broker) -> None:
    assert (await broker.claim_send("s", "k", "f", 30)).state == "new"
    await broker.settle_send("s", "k", {"task": "t"})
    again = await broker.claim_send("s", "k", "f", 30)
    assert (again.state, again.result) == ("done", {"task": "t"})


async def test_a_key_used_for_something_else_is_a_mismatch(broker: Broker) -> None:
    await broker.claim_send("s", "k", "f", 30)
    assert (await broker.claim_send("s", "k", "other", 30)).state == "mismatch"
    assert (await broker.claim_send("other", "k", "other", 30)).state == "new", "keys are a session's own"


async def test_a_released_key_may_try_again(broker: Broker) -> None:
    await broker.claim_send("s", "k", "f", 30)
    await broker.release_send("s", "k")
    assert (await broker.claim_send("s", "k", "f", 30)).state == "new"


@pytest.mark.parametrize("settled", [True, False])
async def test_whoever_comes_meanwhile_waits(broker: Broker, settled: bool) -> None:
    await broker.claim_send("s", "k", "f", 30)
    states: list[str] = []

    async def come() -> None:
        states.append((await broker.claim_send("s", "k", "f", 30)).state)
        if states[-1] == "new":
            await broker.settle_send("s", "k", {})

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(come)
        await anyio.wait_all_tasks_blocked()
        assert states == []
        if settled:
            await broker.settle_send("s", "k", {})
        else:
            await broker.release_send("s", "k")
    assert sorted(states) == (["done"] * 3 if settled else ["done", "done", "new"])


async def test_a_log_nobody_reads_is_dropped_in_the_end() -> None:
    clock = Clock()
    broker = MemoryBroker(clock)
    await broker.publish("s", [event("a")])
    async with broker.subscribe("read", None):
        await broker.publish("read", [event("b")])
        clock.now += KEPT_SECONDS + 1
        await broker.publish("another", [event("c")])  # a new log pays for the old ones
        assert await broker.is_published("read", "x") is False
        async with broker.subscribe("read", None) as subscription:
            assert len(subscription.backlog) == 1
    assert await read(broker) == []


async def test_a_cursor_fits_into_a_header_and_names_one_place(broker: Broker) -> None:
    await broker.publish("s", [event(str(number)) for number in range(300)])
    cursors = [entry.cursor for entry in await entries(broker)]
    assert all(re.fullmatch(r"[A-Za-z0-9-]{1,64}", cursor) for cursor in cursors)
    assert len(set(cursors)) == 300


async def test_what_is_published_live_has_the_cursors_of_the_backlog(broker: Broker) -> None:
    async with broker.subscribe("s", None) as subscription:
        await broker.publish("s", [event("a"), event("b")])
        live = subscription.live()
        told = [await anext(live), await anext(live)]
    assert told == await entries(broker)
    assert await read(broker, told[0].cursor) == ["b"]


async def test_a_cursor_at_the_edge_of_what_is_kept_loses_nothing(make: Make) -> None:
    broker = await make(kept_events=3)
    await broker.publish("s", [event(str(number)) for number in range(3)])
    cursors = [entry.cursor for entry in await entries(broker)]
    await broker.publish("s", [event("3"), event("4")])
    assert await read(broker, cursors[1]) == ["2", "3", "4"], "the last trimmed one is still known by its place"
    assert await read(broker, cursors[0]) == ["2", "3", "4"], "an older one means everything"
    assert await read(broker, cursors[2]) == ["3", "4"]


async def test_several_readers_each_get_everything_in_order(broker: Broker) -> None:
    got: dict[int, list[str]] = {reader: [] for reader in range(3)}

    async def follow(reader: int) -> None:
        async with broker.subscribe("s", None) as subscription:
            async for entry in subscription.live():
                got[reader].append(entry.event.data["key"])
                if len(got[reader]) == 50:
                    return

    async with anyio.create_task_group() as group:
        for reader in got:
            group.start_soon(follow, reader)
        await anyio.wait_all_tasks_blocked()
        for number in range(50):
            await broker.publish("s", [event(str(number), f"i{number}"), event("again", f"i{number}")])
    assert list(got.values()) == [[str(number) for number in range(50)]] * 3


async def test_a_reader_who_leaves_disturbs_nobody(broker: Broker) -> None:
    async with anyio.create_task_group() as group:

        async def follow() -> None:
            async with broker.subscribe("s", None) as subscription:
                async for _ in subscription.live():
                    pass

        group.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    await broker.publish("s", [event("a")])
    assert await read(broker) == ["a"]


async def test_a_slow_reader_within_what_is_kept_loses_nothing(make: Make) -> None:
    broker = await make(kept_events=10)
    async with broker.subscribe("s", None) as slow:
        await broker.publish("s", [event(str(number)) for number in range(10)])
        live = slow.live()
        assert [(await anext(live)).event.data["key"] for _ in range(10)] == [str(number) for number in range(10)]


async def test_publishing_nothing_changes_nothing(broker: Broker) -> None:
    await broker.publish("s", [])
    assert await read(broker) == []


async def test_closing_says_nothing_to_those_who_only_publish(broker: Broker) -> None:
    broker.close_subscribers()
    await broker.publish("s", [event("a")])
    assert await read(broker) == ["a"], "what is learned while draining is kept"


@given(st.lists(st.floats(0, 40), min_size=1, max_size=60))
async def test_polls_are_an_interval_apart_whoever_asks(waits: list[float]) -> None:
    clock = Clock()
    broker, granted = MemoryBroker(clock), list[float]()
    for wait in waits:
        clock.now += wait
        told = (await broker.claim_message_poll("s", 30.0)).wait
        if told == 0.0:
            granted.append(clock.now)
        else:
            assert told == pytest.approx(30.0 - (clock.now - granted[-1]))
    assert all(later - earlier >= 30.0 - 1e-9 for earlier, later in pairwise(granted)), "but for rounding"
    assert granted, "the first is granted at once"


async def test_a_send_under_way_is_never_forgotten(make: Make, kind: Kind) -> None:
    """Or whoever waits for it would wait for ever, and the next would send it again."""
    broker = await (make(kept_sends=10) if kind.name == "memory" else make())
    states: list[str] = []

    async def come_again() -> None:
        states.append((await broker.claim_send("s", "first", "f", 30)).state)

    await broker.claim_send("s", "first", "f", 30)
    async with anyio.create_task_group() as group:
        group.start_soon(come_again)
        await anyio.wait_all_tasks_blocked()
        for number in range(50):
            await broker.claim_send("s", f"k{number}", "f", 30)
            await broker.settle_send("s", f"k{number}", {})
        await broker.settle_send("s", "first", {})
    assert states == ["done"]


async def test_only_the_latest_settled_sends_are_remembered() -> None:
    broker = MemoryBroker(kept_sends=200)
    for number in range(250):
        await broker.claim_send(f"s{number % 3}", f"k{number}", "f", 30)
        await broker.settle_send(f"s{number % 3}", f"k{number}", {})
    assert (await broker.claim_send("s0", "k249", "f", 30)).state == "done"
    assert (await broker.claim_send("s0", "k0", "f", 30)).state == "new"


async def test_a_key_is_known_as_long_by_every_kind_of_broker(broker: Broker, kind: Kind, redis: Redis) -> None:
    """Longer than a log is: whoever comes back with a message of unknown fate may have slept a night."""
    assert KEPT_SEND_SECONDS > KEPT_SECONDS
    await broker.claim_send("s", "k", "f", 30)
    await broker.settle_send("s", "k", {"task": "t"})
    if kind.name == "memory":
        for _ in range(23):
            await kind.wait(3600)
            await broker.publish("another", [event("a")])  # a new log pays for the old ones
        assert (await broker.claim_send("s", "k", "f", 30)).result == {"task": "t"}
        await kind.wait(KEPT_SEND_SECONDS - 23 * 3600)
        assert (await broker.claim_send("s", "k", "f", 30)).state == "new"
    else:
        async with Client.from_url(redis.url) as client:
            (key,) = [key async for key in client.scan_iter("*:send:*")]
            assert await client.ttl(key) == pytest.approx(KEPT_SEND_SECONDS, abs=5)


async def test_who_gives_up_waiting_leaves_the_claim_as_it_was(broker: Broker) -> None:
    await broker.claim_send("s", "k", "f", 30)
    async with anyio.create_task_group() as group:
        group.start_soon(broker.claim_send, "s", "k", "f", 30)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    await broker.settle_send("s", "k", {"task": "t"})
    assert (await broker.claim_send("s", "k", "f", 30)).result == {"task": "t"}


async def test_of_all_who_wait_for_a_released_key_one_sends(broker: Broker) -> None:
    sent, states = 0, list[str]()

    async def come(number: int) -> None:
        nonlocal sent
        claim = await broker.claim_send("s", "k", "f", 30)
        states.append(claim.state)
        if claim.state == "new":
            sent += 1
            await anyio.lowlevel.checkpoint()
            if sent < 3:
                await broker.release_send("s", "k")
            else:
                await broker.settle_send("s", "k", {})

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(come, number)
    assert sorted(states) == ["done"] * 3 + ["new"] * 3


async def test_settling_what_was_never_claimed_is_harmless(broker: Broker) -> None:
    await broker.settle_send("s", "k", {"task": "t"})
    await broker.release_send("s", "k")
    assert (await broker.claim_send("s", "k", "f", 30)).state == "new"


async def test_an_event_comes_out_as_it_went_in(broker: Broker) -> None:
    told = [
        Event("done", {"task": "t"}, "done:t", datetime(2026, 11, 20, 12, 0, 0, 123456, UTC), "key"),
        Event("done", {"task": "u"}, "done:u", None, "key"),
        Event("progress", {"task": "v", "content": "é"}),
    ]
    await broker.publish("s", told)
    assert [entry.event for entry in await entries(broker)] == told
