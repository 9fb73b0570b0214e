"""What a broker promises. Every kind of broker goes through these."""

import re
from collections.abc import Callable
from itertools import pairwise

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widget_proxy.broker import Broker, Entry
from widget_proxy.broker.memory import KEPT_SECONDS, KEPT_SENDS, MemoryBroker
from widget_proxy.messages import Event

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory"])
def make(request: pytest.FixtureRequest, clock: Clock) -> Callable[..., Broker]:
    """A new broker of each kind, keeping `kept_events`."""
    kinds: dict[str, Callable[..., Broker]] = {"memory": lambda **options: MemoryBroker(clock, **options)}
    return kinds[request.param]


@pytest.fixture
def broker(make: Callable[..., Broker]) -> Broker:
    return make()


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


async def test_a_cursor_of_another_broker_means_everything(make: Callable[..., Broker]) -> None:
    before, after = make(), make()
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


async def test_what_is_kept_is_bounded_and_a_reader_too_far_behind_is_closed(make: Callable[..., Broker]) -> None:
    broker = make(kept_events=10)
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


async def test_a_message_poll_is_granted_once_in_an_interval(broker: Broker, clock: Clock) -> None:
    assert await broker.claim_message_poll("s", 30.0) == 0.0
    clock.now += 10
    assert await broker.claim_message_poll("s", 30.0) == 20.0
    assert await broker.claim_message_poll("other", 30.0) == 0.0
    clock.now += 19.99
    assert 0.0 < await broker.claim_message_poll("s", 30.0) < 0.02
    clock.now += 0.01
    assert await broker.claim_message_poll("s", 30.0) == pytest.approx(0.0)


async def test_a_settled_send_is_told_again(broker: Broker) -> None:
    assert (await broker.claim_send("s", "k", "f")).state == "new"
    await broker.settle_send("s", "k", {"task": "t"})
    again = await broker.claim_send("s", "k", "f")
    assert (again.state, again.result) == ("done", {"task": "t"})


async def test_a_key_used_for_something_else_is_a_mismatch(broker: Broker) -> None:
    await broker.claim_send("s", "k", "f")
    assert (await broker.claim_send("s", "k", "other")).state == "mismatch"
    assert (await broker.claim_send("other", "k", "other")).state == "new", "keys are a session's own"


async def test_a_released_key_may_try_again(broker: Broker) -> None:
    await broker.claim_send("s", "k", "f")
    await broker.release_send("s", "k")
    assert (await broker.claim_send("s", "k", "f")).state == "new"


@pytest.mark.parametrize("settled", [True, False])
async def test_whoever_comes_meanwhile_waits(broker: Broker, settled: bool) -> None:
    await broker.claim_send("s", "k", "f")
    states: list[str] = []

    async def come() -> None:
        states.append((await broker.claim_send("s", "k", "f")).state)
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


async def test_a_log_nobody_reads_is_dropped_in_the_end(broker: Broker, clock: Clock) -> None:
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


async def test_a_cursor_at_the_edge_of_what_is_kept_loses_nothing(make: Callable[..., Broker]) -> None:
    broker = make(kept_events=3)
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


async def test_a_slow_reader_within_what_is_kept_loses_nothing(make: Callable[..., Broker]) -> None:
    broker = make(kept_events=10)
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
        told = await broker.claim_message_poll("s", 30.0)
        if told == 0.0:
            granted.append(clock.now)
        else:
            assert told == pytest.approx(30.0 - (clock.now - granted[-1]))
    assert all(later - earlier >= 30.0 for earlier, later in pairwise(granted))
    assert granted, "the first is granted at once"


async def test_a_send_under_way_is_never_forgotten(broker: Broker) -> None:
    """Or whoever waits for it would wait for ever, and the next would send it again."""
    states: list[str] = []

    async def come_again() -> None:
        states.append((await broker.claim_send("s", "first", "f")).state)

    await broker.claim_send("s", "first", "f")
    async with anyio.create_task_group() as group:
        group.start_soon(come_again)
        await anyio.wait_all_tasks_blocked()
        for number in range(KEPT_SENDS + 50):
            await broker.claim_send("s", f"k{number}", "f")
            await broker.settle_send("s", f"k{number}", {})
        await broker.settle_send("s", "first", {})
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert states == ["done"]


async def test_only_the_latest_settled_sends_are_remembered(broker: Broker) -> None:
    for number in range(KEPT_SENDS + 50):
        await broker.claim_send("s", f"k{number}", "f")
        await broker.settle_send("s", f"k{number}", {})
    assert (await broker.claim_send("s", f"k{KEPT_SENDS + 49}", "f")).state == "done"
    assert (await broker.claim_send("s", "k0", "f")).state == "new"


async def test_who_gives_up_waiting_leaves_the_claim_as_it_was(broker: Broker) -> None:
    await broker.claim_send("s", "k", "f")
    async with anyio.create_task_group() as group:
        group.start_soon(broker.claim_send, "s", "k", "f")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    await broker.settle_send("s", "k", {"task": "t"})
    assert (await broker.claim_send("s", "k", "f")).result == {"task": "t"}


async def test_of_all_who_wait_for_a_released_key_one_sends(broker: Broker) -> None:
    sent, states = 0, list[str]()

    async def come(number: int) -> None:
        nonlocal sent
        claim = await broker.claim_send("s", "k", "f")
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
    assert (await broker.claim_send("s", "k", "f")).state == "new"
