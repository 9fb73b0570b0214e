"""Open streams from the inside: caps, heartbeats, slow readers and the drain, on a clock that jumps."""

import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sse_starlette.sse import AppStatus

from tests.virtual_time import ANYIO_OPTIONS, elapsed
from tests.world import World, world
from widget_proxy.broker import KEPT_EVENTS, Entry
from widget_proxy.handles import ChatSession
from widget_proxy.messages import Event, notice_event, progress_event, ready_event, session_event
from widget_proxy.problems import Problem
from widget_proxy.stream import EventStream, Streams, _wire, is_ready
from widget_proxy.stream_writers import SLOW_SECONDS

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


@pytest.fixture(autouse=True)
def _running() -> Any:
    """The flag is a process's; a test that sets it must not end the next one's streams."""
    AppStatus.should_exit = False
    yield
    AppStatus.should_exit = False


class Reader:
    """The server's end of one connection: what was written, until it stops reading or leaves."""

    def __init__(self, method: str = "GET") -> None:
        self.method = method
        self.status: int | None = None
        self.parts: list[bytes] = []
        self.ended = False
        self.reads = anyio.Event()
        self.reads.set()
        self.left = anyio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.parts.append(message["body"])
            self.ended = not message.get("more_body", False)

    def stop_reading(self) -> None:
        self.reads = anyio.Event()

    @property
    def text(self) -> str:
        return b"".join(self.parts).decode()

    async def read(self, stream: EventStream) -> None:
        await stream({"type": "http", "method": self.method}, self.receive, self.send)


@asynccontextmanager
async def streams_of(
    w: World,
    most: int = 100,
    most_per_session: int = 20,
    most_per_address: int = 100,
    chance: Callable[[], float] = lambda: 0.5,
) -> AsyncIterator[tuple[Streams, anyio.abc.TaskGroup]]:
    streams = Streams(
        w.hub,
        w.broker,
        heartbeat=15.0,
        most=most,
        most_per_session=most_per_session,
        most_per_address=most_per_address,
        chance=chance,
    )
    async with anyio.create_task_group() as group:
        group.start_soon(streams.run)
        await anyio.sleep(0.01)
        yield streams, group
        group.cancel_scope.cancel()


def said(number: int) -> Event:
    return Event("message", {"key": f"k{number}", "role": "assistant", "content": "x" * 100}, f"k{number}")


async def open_one(streams: Streams, group: anyio.abc.TaskGroup, session: ChatSession) -> Reader:
    reader = Reader()
    group.start_soon(reader.read, streams.session(session, None, ()))
    await anyio.sleep(0.05)
    return reader


async def test_a_heartbeat_comes_down_each_stream_in_time() -> None:
    async with world() as w, streams_of(w) as (streams, group):
        readers = [await open_one(streams, group, await w.start()) for _ in range(20)]
        for _ in range(4):
            before = [len(reader.parts) for reader in readers]
            await anyio.sleep(31)
            assert all(len(reader.parts) >= count + 2 for reader, count in zip(readers, before, strict=True))
        assert readers[0].parts[-1] == b":\n\n"


async def test_a_reader_that_stops_reading_is_let_go_with_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world() as w, streams_of(w) as (streams, group):
        session = await w.start()
        slow, quick = [await open_one(streams, group, session) for _ in range(2)]
        slow.stop_reading()
        for number in range(100):
            await w.broker.publish(session.key, [said(number)])
            await anyio.sleep(0.5)
        assert quick.text.count("event: message") == 100, "nobody waits for the slow one"
        await anyio.sleep(SLOW_SECONDS)
        assert [record for record in caplog.records if "took nothing" in record.message] == [
            record for record in caplog.records if record.levelno >= logging.WARNING
        ]
        assert len([record for record in caplog.records if "took nothing" in record.message]) == 1
        assert len(streams._open) == 1


async def test_a_reader_too_far_behind_is_closed_and_comes_back_with_its_cursor() -> None:
    async with world() as w, streams_of(w) as (streams, group):
        session = await w.start()
        reader = await open_one(streams, group, session)
        await w.broker.publish(session.key, [said(0)])
        await anyio.sleep(0.1)
        reader.stop_reading()
        for number in range(1, KEPT_EVENTS + 10):
            await w.broker.publish(session.key, [said(number)])
        reader.reads.set()
        await anyio.sleep(1)
        assert reader.ended
        assert reader.text.endswith("retry: 2000\n\n")
        assert "k0" in reader.text


async def test_whoever_leaves_is_noticed_at_once() -> None:
    async with world() as w, streams_of(w) as (streams, group):
        session = await w.start()
        reader = await open_one(streams, group, session)
        assert len(streams._open) == 1
        reader.left.set()
        await anyio.sleep(0.01)
        assert len(streams._open) == 0
        assert streams._per_session == {}
        w.api.ledger.clear()
        await anyio.sleep(300)
        assert list(w.api.ledger.requests) == []


async def test_no_more_streams_than_allowed_and_the_open_ones_live_on() -> None:
    async with world() as w, streams_of(w, most=3, most_per_session=2) as (streams, group):
        one, other = await w.start(), await w.start()
        first = await open_one(streams, group, one)
        await open_one(streams, group, one)
        with pytest.raises(Problem) as refused:
            await Reader().read(streams.session(one, None, ()))
        assert refused.value.code == "too_many_requests"
        await open_one(streams, group, other)
        with pytest.raises(Problem) as refused:
            await Reader().read(streams.session(other, None, ()))
        assert (refused.value.code, refused.value.status) == ("unavailable", 503)
        assert 1 <= int(refused.value.headers["Retry-After"]) <= 10
        await w.broker.publish(one.key, [said(1)])
        await anyio.sleep(0.1)
        assert "k1" in first.text
        first.left.set()
        await anyio.sleep(0.1)
        assert (await open_one(streams, group, other)).status == 200


async def test_a_thousand_streams_end_with_a_last_word_when_the_server_is_to_exit() -> None:
    async with world() as w, streams_of(w, most=2000, most_per_session=2000) as (streams, group):
        session = await w.start()
        readers = [Reader() for _ in range(1000)]
        for reader in readers:
            group.start_soon(reader.read, streams.session(session, None, ()))
        await anyio.sleep(1)
        began = elapsed()
        AppStatus.should_exit = True
        await anyio.sleep(1)
        assert all(reader.ended and reader.text.rstrip().splitlines()[-1].startswith("retry: ") for reader in readers)
        assert elapsed() - began < 10
        with pytest.raises(Problem):
            await Reader().read(streams.session(session, None, ()))


async def test_readers_are_told_different_times_to_come_back() -> None:
    chances = iter(number / 200 for number in range(200))
    async with world() as w, streams_of(w, chance=lambda: next(chances)) as (streams, group):
        waits = set()
        for _ in range(50):
            reader = await open_one(streams, group, await w.start())
            waits.add(int(reader.text.split("retry: ")[1].split()[0]))
        assert len(waits) == 50, "a restart brings them back one after the other"
        assert all(1000 <= wait <= 3000 for wait in waits)


async def test_head_opens_nothing() -> None:
    async with world() as w, streams_of(w) as (streams, _):
        reader = Reader("HEAD")
        await reader.read(streams.session(await w.start(), None, ()))
        assert (reader.status, reader.text, reader.ended) == (200, "", True)
        assert len(streams._open) == 0


async def test_a_log_too_long_to_hold_its_ready_is_ready_all_the_same() -> None:
    async with world() as w, streams_of(w) as (streams, group):
        session = await w.start()
        await w.broker.publish(session.key, [ready_event(), *(said(number) for number in range(KEPT_EVENTS + 5))])
        assert "ready" not in [event.name for event in await w.log(session)], "it was trimmed"
        reader = await open_one(streams, group, session)
        assert reader.text.count("event: ready") == 1
        assert reader.text.rstrip().splitlines()[-2] == "event: ready", "after all that was known"


async def test_a_log_that_is_long_and_not_yet_read_whole_is_not_ready() -> None:
    async with world() as w:
        session = await w.start()
        await w.broker.publish(session.key, [said(number) for number in range(KEPT_EVENTS + 5)])
        assert not await is_ready(w.broker, session, await w.broker.entries(session.key))
        await w.broker.publish(session.key, [ready_event()])
        assert await is_ready(w.broker, session, await w.broker.entries(session.key))


class Broken(Reader):
    """A connection on which writing fails in a way nobody foresaw."""

    async def send(self, message: Mapping[str, Any]) -> None:
        if self.parts and b"event: message" in message.get("body", b""):
            raise RuntimeError("marker: nobody foresaw this")
        await super().send(message)


async def test_a_fault_in_one_stream_ends_that_one_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as w, streams_of(w) as (streams, group):
        session = await w.start()
        broken, whole = Broken(), Reader()
        for reader in (broken, whole):
            group.start_soon(reader.read, streams.session(session, None, ()))
        await anyio.sleep(1)
        assert len(streams._open) == 2
        for number in range(2):
            await w.broker.publish(session.key, [said(number)])
            await anyio.sleep(1)
        assert whole.text.count("event: message") == 2
        assert len(streams._open) == 1
        before = len(whole.parts)
        await anyio.sleep(31)
        assert len(whole.parts) >= before + 2, "heartbeats go on"
        (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
        assert "writing to a stream failed" in record.message
        assert session.key in record.message


@given(st.text(), st.text())
def test_whatever_upstream_says_is_one_event_on_the_wire(content: str, detail: str) -> None:
    for event in (progress_event("task", content), notice_event("restored", detail), session_event("ended")):
        wire = _wire(Entry("e-1", event)).decode()
        lines = re.split(r"\r\n|\r|\n", wire)
        assert [line.partition(":")[0] for line in lines] == ["event", "data", "", ""]
        assert lines[0] == f"event: {event.name}"
        assert json.loads(lines[1].removeprefix("data: ")) == event.data
        assert "\0" not in wire
