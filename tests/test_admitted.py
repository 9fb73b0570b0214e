"""Requests with what the site itself is let in by: each way, and what happens where upstream refuses it."""

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from tests.test_bearers import OAUTH
from tests.virtual_time import ANYIO_OPTIONS
from tests.world import world
from widget_proxy.fake_upstream.faults import Fault
from widget_proxy.upstream import CredentialsRefused, UpstreamError

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


async def test_a_revoked_token_costs_one_renewal_and_one_more_try() -> None:
    async with world(OAUTH, mode="oauth") as w:
        await w.start()
        w.api.world.bearers.clear()
        await w.start()
        assert [one.status for one in w.api.ledger.requests if one.kind == "start"] == [201, 401, 201]
        assert len(w.asked("token")) == 2
        assert len(w.api.world.sessions) == 2


async def test_a_channel_that_takes_no_bearer_is_asked_twice_and_no_more() -> None:
    async with world(OAUTH) as w:
        with pytest.raises(CredentialsRefused, match="does not take these credentials"):
            await w.start()
        assert (len(w.asked("start")), len(w.asked("token"))) == (2, 2)
        assert w.api.world.sessions == {}


@pytest.mark.parametrize("fault", ["close_after_accept", "status"])
async def test_a_start_of_unknown_fate_is_never_tried_again(fault: str) -> None:
    async with world(OAUTH, mode="oauth") as w:
        await w.start()
        w.api.faults.ordered.append(Fault("start", fault, status=500))
        with pytest.raises(UpstreamError) as error:
            await w.start()
        assert error.value.fate == "unknown"
        assert (len(w.asked("start")), len(w.asked("token"))) == (2, 1)


async def test_an_older_instance_takes_the_api_key_on_every_call() -> None:
    async with world({"api_key": "demo-api-key-not-a-secret"}, mode="api_key") as w:
        session = await w.start()
        assert session.token is None
        await w.hub.send(session, "hello")
        async with w.hub.watch(session):
            await anyio.sleep(10)
        assert len(await w.said(session)) == 1
        for one in w.api.ledger.requests:
            assert one.headers["x-api-key"] == "demo-api-key-not-a-secret"
            assert not {"authorization", "x-embed-key", "x-session-token"} & set(one.headers)


async def test_after_the_start_only_the_session_token_is_carried() -> None:
    async with world(OAUTH, mode="oauth") as w:
        session = await w.start()
        await w.hub.send(session, "hello")
        async with w.hub.watch(session):
            await anyio.sleep(10)
        later = [one for one in w.api.ledger.requests if one.kind in {"message", "task_poll", "message_poll"}]
        assert {one.kind for one in later} == {"message", "task_poll", "message_poll"}
        for one in later:
            assert "x-session-token" in one.headers
            assert not {"authorization", "x-api-key", "x-embed-key"} & set(one.headers)
        assert (await w.said(session)) != []
