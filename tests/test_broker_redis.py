"""What only a broker in Redis can meet: a server that refuses, evicts, or says nothing any more."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from redis.asyncio import Redis as Client

from tests.servers import HOST, Redis
from widget_proxy.broker import BrokerUnavailable
from widget_proxy.broker import redis as redis_broker
from widget_proxy.broker.redis import RedisBroker
from widget_proxy.messages import Event

pytestmark = pytest.mark.anyio


def event(key: str) -> Event:
    return Event("message", {"key": key}, key)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# It refuses


async def test_what_redis_refuses_is_logged_once_and_once_more_when_it_is_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis(tmp_path / "log") as server:
        async with Client.from_url(server.url) as client, RedisBroker(server.url) as broker:
            await broker.publish("s", [event("a")])
            assert warnings(caplog) == []
            await client.config_set("maxmemory", 1)
            for _ in range(3):
                with pytest.raises(BrokerUnavailable, match="Redis does not answer"):
                    await broker.publish("s", [event("b")])
            (line,) = warnings(caplog)
            assert line.startswith("Redis does not do what it is asked: OutOfMemoryError: ")
            assert "maxmemory" in line, "in its own words, which say what to mend"
            await client.config_set("maxmemory", 0)
            for key in ("b", "c"):
                await broker.publish("s", [event(key)])
            assert warnings(caplog)[1:] == ["Redis does what it is asked again"]
            assert [entry.event.data["key"] for entry in await broker.entries("s")] == ["a", "b", "c"]


# It evicts


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"], True),
        (["--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"], True),
        (["--maxmemory", "100mb", "--maxmemory-policy", "noeviction"], False),
        (["--maxmemory-policy", "allkeys-lru"], False),  # without a bound it never does
        (["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--rename-command", "INFO", ""], False),
    ],
    ids=["allkeys-lru", "volatile-ttl", "noeviction", "unbounded", "not allowed to ask"],
)  # fmt: skip
async def test_a_redis_that_may_evict_is_warned_of_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, options: list[str], warned: bool
) -> None:
    with Redis(tmp_path / "log", *options) as server:
        async with RedisBroker(server.url) as broker:
            await broker.publish("s", [event("a")])
            await anyio.sleep(0.2)
            lines = warnings(caplog)
    assert len(lines) == int(warned)
    assert all("Set maxmemory-policy to noeviction" in line for line in lines)


# It says nothing any more


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
    monkeypatch.setattr(redis_broker, "RING_SECONDS", 0.3)
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
