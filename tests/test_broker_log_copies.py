"""The copies of logs that a process keeps: however its connection for doorbells breaks, nobody waits in vain."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from redis.asyncio import Redis as Client

from tests.servers import HOST, Redis
from widget_proxy.broker import BrokerUnavailable, log_copies
from widget_proxy.broker.redis import RedisBroker
from widget_proxy.messages import Event

pytestmark = pytest.mark.anyio


def event(key: str) -> Event:
    return Event("message", {"key": key}, key)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class Wire:
    """A way to Redis on which the connection that listens can be cut without a word: what a firewall does that forgot
    it. Others go on."""

    def __init__(self) -> None:
        self.url = ""
        self._listening: list[asyncio.Event] = []

    @asynccontextmanager
    async def to(self, port: int) -> AsyncIterator["Wire"]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            cut = asyncio.Event()
            there, away = await asyncio.open_connection(HOST, port)
            async with AsyncExitStack() as stack:
                stack.callback(writer.close)
                stack.callback(away.close)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, away, cut))
                    group.create_task(self._pump(there, writer, cut))

        server = await asyncio.start_server(serve, HOST, 0)
        async with server:
            self.url = f"redis://{HOST}:{server.sockets[0].getsockname()[1]}/0"
            yield self
            self.cut()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await reader.read(65_536):
            if b"SUBSCRIBE" in data and cut not in self._listening:
                self._listening.append(cut)
            if not cut.is_set():
                writer.write(data)
        writer.close()

    def cut(self) -> None:
        """Nothing comes through where somebody listens now."""
        for one in self._listening:
            one.set()
        self._listening.clear()


async def test_a_listening_connection_that_went_silent_is_noticed_and_nothing_is_lost(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_copies, "RING_SECONDS", 0.3)
    async with (
        Wire().to(redis.port) as wire,
        RedisBroker(wire.url) as listening,
        RedisBroker(redis.url) as other,
        listening.subscribe("s", None) as subscription,
    ):
        read: list[str] = []
        rung = anyio.Event()
        subscription.on_change(lambda: rung.set())
        await other.publish("s", [event("before")])
        with anyio.fail_after(5):
            await rung.wait()
        read += [entry.event.data["key"] for entry in subscription.take()]
        await anyio.sleep(2)
        assert warnings(caplog) == [], "where nobody says anything it hears itself"
        wire.cut()
        rung = anyio.Event()
        await other.publish("s", [event("meanwhile")])
        with anyio.fail_after(10):
            await rung.wait()
        read += [entry.event.data["key"] for entry in subscription.take()]
        assert read == ["before", "meanwhile"]
        assert "Redis cannot be reached (TimeoutError)" in warnings(caplog)[0]
        assert warnings(caplog)[1:] == ["Redis can be reached again"]


async def test_however_connections_break_while_visitors_come_and_go_none_is_lost_to_the_pool(tmp_path: Path) -> None:
    chance = random.Random(1)
    with Redis(tmp_path / "log") as server:
        async with Client.from_url(server.url) as client, RedisBroker(server.url) as broker:

            async def visit(session: str) -> None:
                with anyio.move_on_after(chance.random() / 10), suppress(BrokerUnavailable):
                    async with broker.subscribe(session, None):
                        await broker.publish(session, [event(f"{chance.random()}")])
                        await anyio.sleep(chance.random() / 20)

            for _ in range(20):
                async with anyio.create_task_group() as group:
                    for number in range(60):
                        group.start_soon(visit, f"s{number % 20}")
                    await anyio.sleep(chance.random() / 10)
                    await client.client_kill_filter(_type=chance.choice(["pubsub", "normal"]))
            idle = []
            for number in range(200):
                async with broker.subscribe(f"after {number}", None) as subscription:
                    idle.append(subscription)
            assert len(idle) == 200
            with anyio.fail_after(5):
                while len(await client.client_list("pubsub")) != 1:  # noqa: ASYNC110 # only Redis knows
                    await anyio.sleep(0.01)


async def test_a_log_that_somebody_else_wrote_is_told_and_ends_nobody_elses_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis(tmp_path / "log") as server:
        async with Client.from_url(server.url) as client, RedisBroker(server.url) as broker:
            await client.xadd("widget-proxy:log:bad", {"e": "no JSON", "n": "1"})
            async with broker.subscribe("good", None) as good:
                with pytest.raises(BrokerUnavailable):
                    async with broker.subscribe("bad", None):
                        pass
                await broker.publish("good", [event("a")])
                async for entry in good.live():
                    assert entry.event.data["key"] == "a"
                    break
    (line,) = warnings(caplog)
    assert line.startswith("session bad: its log in Redis is not as it was written")
