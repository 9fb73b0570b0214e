"""What only a broker in Redis can meet: a server that refuses, or evicts."""

import logging
from pathlib import Path

import anyio
import pytest
from redis.asyncio import Redis as Client

from tests.servers import Redis
from widget_proxy.broker import BrokerUnavailable, PendingAnswer
from widget_proxy.broker.redis import RedisBroker
from widget_proxy.messages import Event
from widget_proxy.pacing import Budget

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


# It keeps


async def test_nothing_that_redis_keeps_of_a_session_is_kept_for_ever(tmp_path: Path) -> None:
    budget = Budget(100, 300)
    with Redis(tmp_path / "log") as server:
        async with Client.from_url(server.url, decode_responses=True) as client, RedisBroker(server.url) as broker:
            await broker.publish("published", [event("a")])
            await broker.claim_message_poll("polled", 30)
            await broker.claim_send("settled", "key", "print", 30)
            await broker.settle_send("settled", "key", {})
            await broker.claim_send("claimed", "key", "print", 30)
            await broker.spend("upstream", budget, 0)
            await broker.pause("another", budget, 5)
            await broker.attend_answer("awaited", PendingAnswer("ref", "handle"), 30)
            await broker.thumbs.note("rated", "message", "up")
            await broker.bearers.keep("token", "sealed", 60)
            assert await broker.bearers.claim("fetched", 5)
            kept = {key: await client.ttl(key) async for key in client.scan_iter()}
            for_ever = {key for key, seconds in kept.items() if seconds < 0}
            assert for_ever == {f"widget-proxy:answers:{part}" for part in ("due", "owner", "handle")}
            assert len(kept) > 10
            await broker.finish_answer("ref")
            assert [key async for key in client.scan_iter("widget-proxy:answers:*")] == []
