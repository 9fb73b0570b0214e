"""How often somebody may ask, counted in memory and in Redis, and what everybody else notices of it."""

import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.requests import Request

from tests.servers import SHOP_ORIGIN, FakeUpstream, Proxy, Redis
from tests.sse import stream
from tests.test_downloads import API_KEY, attach, link_of
from widget_proxy.config import RatesSettings, RedisSettings
from widget_proxy.pacing import Budget
from widget_proxy.rates import AWAY_SECONDS, Rates, TooManyRequests

pytestmark = pytest.mark.anyio

HOUR = 3600.0
WIDE = {name: Budget(1_000_000, 1.0) for name in RatesSettings.model_fields}


def request_of(address: str | None) -> Request:
    return Request({"type": "http", "client": None if address is None else (address, 0), "headers": []})


@pytest.fixture(params=["memory", "redis"])
def kept(request: pytest.FixtureRequest) -> RedisSettings:
    """Where it is counted."""
    if request.param == "memory":
        return RedisSettings()
    return RedisSettings.model_validate({"url": request.getfixturevalue("redis").url})


@asynccontextmanager
async def rates_of(
    kept: RedisSettings, clock: Callable[[], float] = time.monotonic, redis_seconds: float = 10, **rates: Budget
) -> AsyncIterator[Rates]:
    settings = RatesSettings.model_validate(WIDE | rates)
    async with Rates(settings, kept, clock=clock, redis_seconds=redis_seconds) as counted:
        yield counted


async def admitted(rates: Rates, times: int, address: str | None = "203.0.113.7", session: str | None = None) -> int:
    """How many of so many starts, or messages of a session, get in."""
    got_in = 0
    for _ in range(times):
        try:
            await rates.spend("messages" if session else "starts", request_of(address), "shop", session)
        except TooManyRequests:
            continue
        got_in += 1
    return got_in


async def test_half_of_a_rate_goes_at_once_and_then_it_is_full(kept: RedisSettings) -> None:
    async with rates_of(kept, starts_per_address=Budget(10, HOUR)) as rates:
        assert await admitted(rates, 20) == 5
        assert await admitted(rates, 5, "203.0.113.8") == 5, "another address has its own"


async def test_it_comes_back_with_the_time(kept: RedisSettings) -> None:
    async with rates_of(kept, starts_per_address=Budget(4, 0.8)) as rates:
        assert await admitted(rates, 3) == 2
        with anyio.fail_after(5):
            while not await admitted(rates, 1):  # noqa: ASYNC110 # nothing tells of it
                await anyio.sleep(0.02)


async def test_addresses_of_one_ipv6_network_are_one_visitor(kept: RedisSettings) -> None:
    async with rates_of(kept, starts_per_address=Budget(4, HOUR)) as rates:
        assert await admitted(rates, 1, "2001:db8::1") == 1
        assert await admitted(rates, 1, "2001:db8::ffff:2") == 1
        assert await admitted(rates, 1, "2001:db8::3") == 0
        assert await admitted(rates, 1, "2001:db8:0:1::1") == 1


async def test_without_an_address_the_other_rates_hold(kept: RedisSettings) -> None:
    async with rates_of(kept, starts_per_address=Budget(2, HOUR), starts_per_site=Budget(8, HOUR)) as rates:
        assert await admitted(rates, 10, None) == 4


async def test_who_is_over_the_narrower_rate_takes_nothing_from_the_others(kept: RedisSettings) -> None:
    narrow, wide = Budget(2, HOUR), Budget(8, HOUR)
    async with rates_of(kept, messages_per_session=narrow, messages_per_address=wide) as rates:
        assert await admitted(rates, 50, session="loud") == 1
        assert [await admitted(rates, 1, session=name) for name in ("a", "b", "c", "d")] == [1, 1, 1, 0]


async def test_a_rate_of_one_is_one(kept: RedisSettings) -> None:
    async with rates_of(kept, starts_per_site=Budget(1, HOUR)) as rates:
        assert await admitted(rates, 3) == 1


async def test_a_refusal_says_which_rate_and_when_to_come_back(kept: RedisSettings) -> None:
    async with rates_of(kept, messages_per_session=Budget(2, HOUR)) as rates:
        await admitted(rates, 1, session="s")
        with pytest.raises(TooManyRequests) as refused:
            await rates.spend("messages", request_of("203.0.113.7"), "shop", "s")
    problem = refused.value
    seconds = int(problem.headers["Retry-After"])
    assert 1 <= seconds <= HOUR
    assert problem.headers["RateLimit-Policy"] == '"messages-per-session";q=2;w=3600'
    assert problem.headers["RateLimit"] == f'"messages-per-session";r=0;t={seconds}'
    assert (problem.status, problem.code, problem.extra) == (429, "too_many_requests", {"fate": "not_sent"})
    assert f"in {seconds} seconds" in problem.detail


async def test_workers_that_share_redis_share_the_counting(redis: Redis) -> None:
    kept = RedisSettings.model_validate({"url": redis.url})
    other = RedisSettings.model_validate({"url": redis.url, "prefix": "other"})
    async with (
        rates_of(kept, starts_per_address=Budget(8, HOUR)) as one,
        rates_of(kept, starts_per_address=Budget(8, HOUR)) as another,
        rates_of(other, starts_per_address=Budget(8, HOUR)) as stranger,
    ):
        assert await admitted(one, 3) == 3
        assert await admitted(another, 3) == 1
        assert await admitted(stranger, 3) == 3, "another installation on the same Redis"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as server:
        yield server
        server.signal(signal.SIGCONT)


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_with_redis_away_a_process_counts_by_itself_and_nobody_waits(
    own_redis: Redis, fault: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    kept = RedisSettings.model_validate({"url": own_redis.url})
    now = 100.0
    async with rates_of(kept, lambda: now, 2, starts_per_address=Budget(100, HOUR)) as rates:
        assert await admitted(rates, 10) == 10
        if fault == signal.SIGKILL:
            own_redis.kill()
        else:
            own_redis.signal(fault)
        with anyio.fail_after(60):  # with Redis asked each time it would be 200
            assert await admitted(rates, 100) == 50
        if fault == signal.SIGKILL:
            own_redis.start()
        else:
            own_redis.signal(signal.SIGCONT)
        assert await admitted(rates, 1) == 0, "it is looked for later"
        now += AWAY_SECONDS
        assert await admitted(rates, 1) == 1, "and counts again, what it had counted"
    assert [record.getMessage() for record in caplog.records if record.name == "widget_proxy.rates"] == [
        f"Redis does not count ({'ConnectionError' if fault == signal.SIGKILL else 'TimeoutError'}); "
        "rates hold for this process alone until it does"
    ]


# What visitors notice

LOW = {
    "WIDGET_PROXY_RATES__STARTS_PER_ADDRESS": "4/1h",
    "WIDGET_PROXY_RATES__MESSAGES_PER_SESSION": "6/1h",
    "WIDGET_PROXY_RATES__UPLOADS_PER_SESSION": "2/1h",
    "WIDGET_PROXY_RATES__STREAMS_PER_SESSION": "4/1h",
    "WIDGET_PROXY_RATES__DOWNLOADS_PER_SESSION": "4/1h",
    "WIDGET_PROXY_SITES__SHOP__API_KEY": API_KEY,
    "WIDGET_PROXY_SITES__SHOP__STARTS_WITH": "embed_key",
    "WIDGET_PROXY_SERVER__STREAMS_PER_ADDRESS": "2",
    "WIDGET_PROXY_SITES__SHOP__ATTACHMENTS": "true",
}


@pytest.fixture(scope="module", params=["memory", "redis"])
def _strict_server(
    request: pytest.FixtureRequest, _upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    more = (
        {} if request.param == "memory" else {"WIDGET_PROXY_REDIS_URL": request.getfixturevalue("_redis_server").url}
    )
    with Proxy(_upstream_server.url, tmp_path_factory.mktemp("strict") / "log", **LOW, **more) as server:
        yield server


@pytest.fixture
def strict(_strict_server: Proxy, upstream: FakeUpstream) -> Proxy:
    """A proxy with low rates, whose visitors come through a trusted proxy. Each test has addresses of its own."""
    return _strict_server


def start(proxy: Proxy, address: str, origin: str = SHOP_ORIGIN, **body: Any) -> Any:
    with proxy.client(origin) as client:
        return client.post("/v1/sites/shop/sessions", json=body, headers={"X-Forwarded-For": address})


def test_a_script_that_starts_sessions_in_a_loop_is_stopped_and_nobody_else(
    strict: Proxy, upstream: FakeUpstream
) -> None:
    script = [start(strict, "203.0.1.7") for _ in range(10)]
    assert [answer.status_code for answer in script] == [201, 201, *[429] * 8]
    refused = script[-1]
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["code"] == "too_many_requests"
    assert int(refused.headers["Retry-After"]) > 0
    assert '"starts-per-address";r=0' in refused.headers["RateLimit"]
    exposed = refused.headers["Access-Control-Expose-Headers"].split(", ")
    assert set(exposed) >= {"Retry-After", "RateLimit", "RateLimit-Policy"}
    assert start(strict, "203.0.1.8").status_code == 201
    assert len(upstream.requests("start")) == 3
    lines = [line for line in strict.output().splitlines() if "client=203.0.1.0/24" in line]
    assert len(lines) == 8
    assert "refused a start: reason=starts-per-address site=shop client=203.0.1.0/24" in lines[0]
    assert "203.0.1.7" not in strict.output()


def test_what_never_reaches_upstream_is_not_counted(strict: Proxy) -> None:
    for _ in range(5):
        assert start(strict, "203.0.2.7", "https://evil.example").status_code == 403
        assert start(strict, "203.0.2.7", nonsense=1).status_code == 400
    assert start(strict, "203.0.2.7").status_code == 201
    assert "refused a start: reason=origin_not_allowed site=shop client=203.0.2.0/24" in strict.output()


def test_a_session_that_goes_too_fast_is_told_so_and_a_message_told_twice_is_one(
    strict: Proxy, upstream: FakeUpstream
) -> None:
    handle = start(strict, "203.0.3.7").json()["handle"]
    with strict.client(handle=handle) as client:

        def send(text: str, key: str) -> Any:
            return client.post("/v1/session/messages", json={"message": text}, headers={"Idempotency-Key": key})

        assert [send("one", "a").status_code for _ in range(5)] == [202] * 5
        assert [send("more", key).status_code for key in "bc"] == [202, 202]
        refused = send("too many", "d")
        assert (refused.status_code, refused.json()["fate"]) == (429, "not_sent")
        assert send("too many", "d").status_code == 429, "its key is not used up"
        assert send("one", "a").status_code == 202, "what was sent stays told"
    assert len(upstream.requests("message")) == 3


def test_files_and_streams_of_a_session_have_their_rates(strict: Proxy, upstream: FakeUpstream) -> None:
    handle = start(strict, "203.0.4.7").json()["handle"]
    with strict.client(handle=handle) as client:
        sent = [client.post("/v1/session/files", files={"files": ("a.txt", b"hello")}) for _ in range(2)]
        assert [answer.status_code for answer in sent] == [201, 429]
        assert '"uploads-per-session"' in sent[1].headers["RateLimit"]
        assert len(upstream.requests("upload")) == 1
        with stream(client) as events:
            events.until("ready")
        assert client.get("/v1/session/messages").status_code == 200
        refused = client.get("/v1/session/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert '"streams-per-session"' in refused.headers["RateLimit"]


def test_fetched_files_of_a_session_have_their_rate_whoever_follows_the_link(
    strict: Proxy, upstream: FakeUpstream
) -> None:
    links = []
    for address in ("203.0.6.7", "203.0.6.8"):
        handle = start(strict, address).json()["handle"]
        links.append(link_of(strict, handle, attach(upstream)))
    with strict.client(None) as client:
        answers = [
            client.get(links[0], headers={"X-Forwarded-For": address, "Range": "bytes=0-9"})
            for address in ("203.0.6.7", "203.0.6.9", "203.0.6.10")
        ]
        assert [answer.status_code for answer in answers] == [206, 206, 429]
        assert '"downloads-per-session"' in answers[2].headers["RateLimit"]
        assert client.get(links[1]).status_code == 200, "another conversation has its own"
    assert len(upstream.requests("file")) == 3


def test_one_address_has_a_few_streams_open_at_once_and_others_have_theirs(strict: Proxy) -> None:
    mine, other = (start(strict, address).json()["handle"] for address in ("203.0.5.7", "203.0.5.8"))
    second = start(strict, "203.0.5.7").json()["handle"]
    here = {"X-Forwarded-For": "203.0.5.7"}
    with (
        strict.client(handle=mine) as client,
        strict.client(handle=second) as more,
        strict.client(handle=other) as friend,
    ):
        with stream(client, headers=here) as events, stream(more, headers=here):
            events.until("ready")
            refused = more.get("/v1/session/events", headers=here)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
            assert int(refused.headers["Retry-After"]) > 0
            with stream(friend, headers={"X-Forwarded-For": "203.0.5.8"}) as others:
                others.until("ready")
        with stream(client, headers=here) as again:
            again.until("ready")
