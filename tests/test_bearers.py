"""Access tokens: fetched once for all, renewed in time, and sealed where they lie. On a clock that jumps; what workers
share, on a real Redis as well."""

from collections.abc import AsyncIterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from tests.servers import Redis
from tests.virtual_time import ANYIO_OPTIONS, elapsed
from tests.world import World, world
from widget_proxy.broker import BrokerUnavailable
from widget_proxy.broker.bearers import MemoryBearers, SharedBearers
from widget_proxy.broker.memory import MemoryBroker
from widget_proxy.broker.redis import RedisBroker
from widget_proxy.fake_upstream.faults import Fault
from widget_proxy.upstream import CredentialsRefused, UpstreamUnreachable

pytestmark = pytest.mark.anyio

OAUTH = {"oauth_client_id": "demo-client", "oauth_client_secret": "demo-client-secret-not-a-secret"}


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


def bearers(w: World) -> set[str]:
    """The access tokens that starts carried."""
    return {one.headers["authorization"] for one in w.api.ledger.requests if one.kind == "start"}


async def test_many_who_start_at_once_share_one_access_token() -> None:
    async with world(OAUTH, mode="oauth") as w:
        other = w.worker(w.broker.beside("another"))
        async with other, anyio.create_task_group() as group:
            for number in range(20):
                hub = (w.hub, other)[number % 2]
                group.start_soon(partial(hub.start, w.site, origin="http://localhost", page_url="http://x"))
        assert len(w.asked("token")) == 1
        assert len(w.asked("start")) == 20
        assert len(bearers(w)) == 1


async def test_a_token_is_renewed_before_it_expires_and_nobody_waits_for_it() -> None:
    async with world(OAUTH, mode="oauth") as w:
        for _ in range(40):
            await w.start()
            await anyio.sleep(300)
        asked = w.asked("token")
        lives = [later - earlier for earlier, later in pairwise(asked)]
        assert len(asked) == 4
        assert all(0.75 * 3600 <= life <= 0.85 * 3600 + 300 for life in lives), "an hour is how long one is good"
        assert {one.status for one in w.api.ledger.requests} <= {200, 201}


async def test_while_it_cannot_be_renewed_the_old_one_does_and_then_visitors_are_told() -> None:
    async with world(OAUTH, mode="oauth") as w:
        await w.start()
        w.api.faults.ordered.append(Fault("token", "status", times=None, status=502))
        await anyio.sleep(0.9 * 3600)
        await w.start()
        await anyio.sleep(1)
        assert len(w.asked("token")) == 2
        await w.start()
        await anyio.sleep(0.2 * 3600)
        with pytest.raises(Exception, match="502"):
            await w.start()
        w.api.faults.ordered.clear()
        await w.start()


async def test_a_refused_application_is_not_asked_about_with_each_visitor() -> None:
    async with world(OAUTH | {"oauth_client_secret": "marker-wrong"}, mode="oauth") as w:
        for _ in range(30):
            with pytest.raises(CredentialsRefused, match="invalid_client") as error:
                await w.start()
            assert "marker" not in str(error.value)
        assert len(w.asked("token")) == 1
        await anyio.sleep(21)
        with pytest.raises(CredentialsRefused):
            await w.start()
        assert len(w.asked("token")) == 2
        assert w.asked("start") == []


async def test_a_worker_that_dies_while_it_fetches_is_waited_for_and_no_longer_than_its_claim() -> None:
    async with world(OAUTH, mode="oauth") as w:
        claimed: list[str] = []

        class Dead(MemoryBearers):
            async def claim(self, name: str, seconds: float) -> bool:
                granted = bool(claimed) and await super().claim(name, seconds)
                if not claimed:
                    claimed.append(name)
                    await super().claim(name, seconds)
                return granted

        broker = MemoryBroker(clock=elapsed)
        broker.bearers = Dead(elapsed)
        async with w.worker(broker) as hub:
            await hub.start(w.site, origin="http://localhost", page_url="http://x")
        assert 19.0 <= w.asked("token")[0] <= 21.0
        assert len(w.asked("token")) == 1


async def test_without_the_broker_each_worker_fetches_its_own() -> None:
    class Away(MemoryBearers):
        async def kept(self, name: str) -> str | None:
            raise BrokerUnavailable("ordered")

        async def keep(self, name: str, sealed: str, seconds: float) -> None:
            raise BrokerUnavailable("ordered")

        async def release(self, name: str) -> None:
            raise BrokerUnavailable("ordered")

    async with world(OAUTH, mode="oauth") as w:
        broker = MemoryBroker(clock=elapsed)
        broker.bearers = Away()
        async with w.worker(broker) as hub:
            for _ in range(3):
                await hub.start(w.site, origin="http://localhost", page_url="http://x")
            assert len(w.asked("token")) == 1
            w.api.world.bearers.clear()
            w.api.faults.ordered.append(Fault("token", "close_after_accept"))
            with pytest.raises(Exception, match="answer"):
                await hub.start(w.site, origin="http://localhost", page_url="http://x")


async def test_what_lies_in_the_broker_is_sealed_and_its_name_tells_nothing() -> None:
    kept: dict[str, str] = {}

    class Seen(MemoryBearers):
        async def keep(self, name: str, sealed: str, seconds: float) -> None:
            kept[name] = sealed
            await super().keep(name, sealed, seconds)

    async with world(OAUTH, mode="oauth") as w:
        broker = MemoryBroker(clock=elapsed)
        broker.bearers = Seen(elapsed)
        async with w.worker(broker) as hub:
            await hub.start(w.site, origin="http://localhost", page_url="http://x")
        (token,) = w.api.world.bearers
        ((name, sealed),) = kept.items()
        for secret in (token, "demo-client", "upstream.test"):
            assert secret not in name + sealed
        # What cannot be opened is as good as nothing.
        broker.bearers = Seen(elapsed)
        await broker.bearers.keep(name, "forged." + sealed, 3600)
        async with w.worker(broker) as hub:
            await hub.start(w.site, origin="http://localhost", page_url="http://x")
        assert len(w.asked("token")) == 2


async def test_with_another_secret_the_old_ones_token_is_used_no_more() -> None:
    async with world(OAUTH, mode="oauth") as w:
        await w.start()
        w.api.settings.oauth_client_secret = "marker-new"
        w.site = w.site.model_copy(update={"oauth_client_secret": SecretStr("marker-new")})
        await w.start()
        assert len(w.asked("token")) == 2
        assert len(bearers(w)) == 2


async def test_upstream_away_is_upstream_away() -> None:
    async with world(OAUTH, mode="oauth") as w:
        w.api.faults.ordered.append(Fault("token", "hang", seconds=600))
        with pytest.raises(UpstreamUnreachable):
            await w.start()


# What workers share


@pytest.fixture(params=["memory", "redis"])
async def shared(request: pytest.FixtureRequest, redis: Redis) -> AsyncIterator[SharedBearers]:
    if request.param == "memory":
        yield MemoryBearers()
    else:
        async with RedisBroker(redis.url, prefix="test") as broker:
            yield broker.bearers


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_one_claims_and_what_it_keeps_is_there_for_all_until_it_ends(shared: SharedBearers) -> None:
    assert await shared.kept("a") is None
    assert await shared.claim("a", 30) is True
    assert await shared.claim("a", 30) is False
    assert await shared.claim("b", 30) is True
    await shared.keep("a", "sealed", 30)
    assert await shared.kept("a") == "sealed"
    assert await shared.claim("a", 30) is True, "who kept it has claimed it no longer"
    await shared.release("a")
    assert await shared.claim("a", 0.001) is True
    await anyio.sleep(0.01)
    assert await shared.claim("a", 30) is True, "a claim runs out"
    await shared.keep("b", "sealed", 0.001)
    await anyio.sleep(0.01)
    assert await shared.kept("b") is None
