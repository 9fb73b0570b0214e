"""What only the chatbot's team may do to a session, as the hub asks it: on a clock that jumps."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import anyio
import pytest

from tests.servers import Redis
from tests.test_bearers import OAUTH
from tests.virtual_time import ANYIO_OPTIONS, elapsed
from tests.world import World, world
from widget_proxy.broker import BrokerUnavailable
from widget_proxy.broker.memory import MemoryBroker
from widget_proxy.broker.redis import RedisBroker
from widget_proxy.broker.thumbs import KEPT_THUMBS_SECONDS, MemoryThumbs, SharedThumbs
from widget_proxy.fake_upstream import DEMO_EMBED_KEY
from widget_proxy.fake_upstream.faults import Fault
from widget_proxy.hub.team import PAGE_SECONDS, PAUSE_SECONDS
from widget_proxy.messages import Event
from widget_proxy.page_context import RESERVED, STATE_KEY
from widget_proxy.upstream import CredentialsRefused, SessionEnded

pytestmark = pytest.mark.anyio

EMBEDDED = {"embed_key": DEMO_EMBED_KEY, "starts_with": "embed_key"}
KEYED = EMBEDDED | {"api_key": "demo-api-key-not-a-secret"}
TELLING = KEYED | {"page_as_state": True}
ENDING = KEYED | {"end_by_visitors": True}
OWN = {"X-RateLimit-Limit": "300", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"}
"""On a 429: these calls alone are meant."""

LAMP, DESK = {"product_name": "Lamp"}, {"product_name": "Desk"}


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


def kinds(w: World) -> list[str]:
    """What was asked of upstream for a visitor's sake, in order."""
    return [one.kind for one in w.api.ledger.requests if one.kind in {"start", "state", "message", "end", "tags"}]


# The page


async def test_a_page_is_told_before_the_message_and_when_it_has_changed() -> None:
    async with world(TELLING) as w:
        session = await w.start()
        for page in (LAMP, LAMP, DESK, dict(DESK)):
            await w.hub.send(session, "hello", context=page)
        assert kinds(w) == ["start", "state", "message", "message", "state", "message", "message"]
        (upstream,) = w.api.world.sessions.values()
        assert upstream.state == {STATE_KEY: DESK, "remote_context": DESK}, "the message puts its own there again"
        assert STATE_KEY not in RESERVED


async def test_a_message_that_says_nothing_of_its_page_tells_none() -> None:
    async with world(TELLING) as w:
        session = await w.start()
        await w.hub.send(session, "hello")
        assert kinds(w) == ["start", "message"]


async def test_where_a_site_does_not_want_it_nothing_is_told() -> None:
    async with world(KEYED) as w:
        session = await w.start()
        await w.hub.send(session, "hello", context=LAMP)
        assert kinds(w) == ["start", "message"]


async def test_each_session_has_a_page_of_its_own() -> None:
    async with world(TELLING) as w:
        for session in [await w.start(), await w.start()]:
            await w.hub.send(session, "hello", context=LAMP)
        assert [one.state[STATE_KEY] for one in w.api.world.sessions.values()] == [LAMP, LAMP]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
async def test_a_page_that_is_refused_costs_no_message_and_is_left_for_a_while(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(TELLING) as w:
        session = await w.start()
        w.api.faults.ordered.append(
            Fault(
                "state", "status", status=status, body='{"error": "no"}', content_type="application/json", headers=OWN
            )
        )
        for _ in range(3):
            await w.hub.send(session, "hello", context=LAMP)
        assert kinds(w) == ["start", "state", "message", "message", "message"]
        (told,) = [one.getMessage() for one in caplog.records if "session state" in one.getMessage()]
        assert ("Check sites.shop.api_key" in told) == (status in {401, 403, 404})
        assert "Lamp" not in caplog.text
        assert "demo-api-key" not in caplog.text
        await anyio.sleep(PAUSE_SECONDS + 300)
        await w.hub.send(session, "hello", context=LAMP)
        assert kinds(w)[-2:] == ["state", "message"]
        (upstream,) = w.api.world.sessions.values()
        assert upstream.state[STATE_KEY] == LAMP


async def test_a_message_waits_no_longer_than_it_has_to_for_its_page() -> None:
    async with world(TELLING) as w:
        session = await w.start()
        w.api.faults.ordered.append(Fault("state", "hang", seconds=600))
        began = elapsed()
        await w.hub.send(session, "hello", context=LAMP)
        assert elapsed() - began == pytest.approx(PAGE_SECONDS)
        assert len(w.asked("message")) == 1


async def test_an_oauth_application_tells_it_as_well_and_renews_a_token_that_was_revoked() -> None:
    async with world(EMBEDDED | OAUTH | {"page_as_state": True}) as w:
        session = await w.start()
        await w.hub.send(session, "hello", context=LAMP)
        w.api.world.bearers.clear()
        await w.hub.send(session, "hello", context=DESK)
        assert [one.status for one in w.api.ledger.requests if one.kind == "state"] == [200, 401, 200]
        (upstream,) = w.api.world.sessions.values()
        assert upstream.state[STATE_KEY] == DESK


# The end


async def test_who_ended_a_session_is_refused_by_every_worker_though_upstream_would_go_on() -> None:
    async with world(ENDING) as w, w.worker(w.broker.beside("another")) as other:
        session = await w.start()
        await w.hub.end(session)
        assert [one.data for one in await w.log(session) if one.name == "session"] == [{"status": "ended"}]
        for hub in (w.hub, other):
            with pytest.raises(SessionEnded):
                await hub.send(session, "hello")
        assert kinds(w) == ["start", "end"]
        (upstream,) = w.api.world.sessions.values()
        assert upstream.closed


async def test_an_answer_in_the_making_comes_after_the_end() -> None:
    async with world(ENDING) as w:
        session = await w.start()
        async with w.hub.watch(session):
            await w.hub.send(session, "What does it cost?")
            await w.hub.end(session)
            await anyio.sleep(60)
            assert (await w.names(session)).count("done") == 1
            assert len(await w.said(session)) == 1


async def test_what_upstream_refuses_to_end_goes_on() -> None:
    async with world(ENDING | {"api_key": "marker-wrong-key"}) as w:
        session = await w.start()
        with pytest.raises(CredentialsRefused):
            await w.hub.end(session)
        assert "session" not in await w.names(session)
        await w.hub.send(session, "hello")


async def test_an_end_is_told_once_the_broker_is_back() -> None:
    class Away(MemoryBroker):
        until = 0.0

        async def publish(self, session: str, events: Sequence[Event]) -> None:
            if elapsed() < self.until:
                raise BrokerUnavailable
            await super().publish(session, events)

    async with world(ENDING) as w:
        broker = Away(elapsed)
        async with w.worker(broker) as hub:
            session = await w.start()
            broker.until = elapsed() + 20
            await hub.end(session)
            assert elapsed() < broker.until, "whoever asked does not wait so long"
            assert await broker.entries(session.key) == ()
            await anyio.sleep(30)
            assert [entry.event.data for entry in await broker.entries(session.key)] == [{"status": "ended"}]


# Thumbs, as workers share them


@pytest.fixture(params=["memory", "redis"])
async def thumbs(request: pytest.FixtureRequest, redis: Redis) -> AsyncIterator[SharedThumbs]:
    if request.param == "memory":
        yield MemoryThumbs()
    else:
        async with RedisBroker(redis.url, prefix="test") as broker:
            yield broker.thumbs


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_message_has_one_thumb_and_a_session_many(thumbs: SharedThumbs) -> None:
    assert await thumbs.standing("s") == {}
    await thumbs.note("s", "a", "up")
    await thumbs.note("s", "b", "down")
    await thumbs.note("s", "a", "down")
    assert await thumbs.standing("s") == {"a": "down", "b": "down"}
    assert await thumbs.standing("t") == {}
    await thumbs.note("s", "a", None)
    await thumbs.note("s", "never", None)
    assert await thumbs.standing("s") == {"b": "down"}


async def test_thumbs_are_kept_as_long_as_a_handle_and_for_so_many_sessions() -> None:
    thumbs = MemoryThumbs(elapsed, kept=2)
    for session in ("s", "t", "u"):
        await thumbs.note(session, "a", "up")
    assert await thumbs.standing("s") == {}
    assert await thumbs.standing("t") == {"a": "up"}
    await anyio.sleep(KEPT_THUMBS_SECONDS)
    assert await thumbs.standing("u") == {}
