"""We misbehave: the process is stopped, starved and blinded. What is asked for still comes, once."""

import resource
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.servers import FakeUpstream, Proxy
from tests.sse import stream
from tests.virtual_time import ANYIO_OPTIONS, elapsed, now
from tests.world import world
from widget_proxy.app import present
from widget_proxy.fake_upstream.state import Plan
from widget_proxy.handles import Handles
from widget_proxy.hub import Hub


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


@pytest.mark.anyio
@pytest.mark.parametrize("jump", [timedelta(days=365), timedelta(days=-365), timedelta(minutes=6)])
async def test_a_jump_of_the_clock_ends_no_answer_early_and_brings_none_twice(jump: timedelta) -> None:
    async with world() as w:
        jumped = timedelta()

        def jumping() -> datetime:
            return now() + jumped

        async with Hub(
            broker=w.broker,
            handles=Handles(["k" * 32], jumping),
            pacing=w.pacing,
            site_of=lambda slug: w.site,
            client_of=lambda site: w.client,
            present=present,
            clock=elapsed,
            now=jumping,
        ) as hub:
            session = await w.start()
            w.api.world.plans.append(Plan("in spite of it", 20))
            async with hub.watch(session):
                await hub.send(session, "hello")
                await anyio.sleep(2)
                jumped = jump
                await anyio.sleep(100)
        assert await w.said(session) == ["in spite of it"]
        assert [event.data["status"] for event in await w.log(session) if event.name == "done"] == ["complete"]


@pytest.fixture
def short_of_everything(upstream: FakeUpstream) -> Iterator[Proxy]:
    """A proxy whose log is on a full disk, and that may have few streams."""
    with Proxy(upstream.url, Path("/dev/full"), WIDGET_PROXY_SERVER__STREAMS="3") as server:
        yield server


def test_with_a_full_disk_for_its_log_it_serves_on(short_of_everything: Proxy) -> None:
    proxy = short_of_everything
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client, stream(client) as read:
        read.until("ready")
        proxy.send(handle, "hello")
        assert read.until("done").data["status"] == "complete"


def test_with_as_many_streams_as_it_may_have_new_ones_are_told_when_to_come_back(short_of_everything: Proxy) -> None:
    proxy = short_of_everything
    handle, another = proxy.start_session(), proxy.start_session()
    with proxy.client(handle=handle) as client, stream(client) as read, stream(client), stream(client):
        read.until("ready")
        with proxy.client(handle=another) as late:
            refused = late.get("/v1/session/events")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        proxy.send(handle, "hello")
        assert read.until("done").data["status"] == "complete", "the old ones live on"
    with proxy.client(handle=another) as late, stream(late) as after:
        after.until("ready")


def test_without_file_descriptors_open_streams_live_on_and_it_recovers(
    own_proxy: Proxy, upstream: FakeUpstream
) -> None:
    handle = own_proxy.start_session()
    with own_proxy.client(handle=handle) as client, stream(client) as read:
        read.until("ready")
        open_now = len(list(Path(f"/proc/{own_proxy.pid}/fd").iterdir()))
        before = resource.prlimit(own_proxy.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(own_proxy.pid, resource.RLIMIT_NOFILE, (open_now, before[1]))
        with own_proxy.client(handle=handle) as other:
            other.timeout = httpx2.Timeout(1)
            with pytest.raises(httpx2.TransportError):
                other.get("/v1/session/messages")
        upstream.order("say", session=upstream.ask("sessions")[0]["id"], text="Still here?")
        read.until(lambda event: event.name == "message" and event.data["content"] == "Still here?")
        resource.prlimit(own_proxy.pid, resource.RLIMIT_NOFILE, before)
        time.sleep(1.1)  # asyncio pauses accepting for a second
        task = own_proxy.send(handle, "hello")
        read.until(lambda event: event.name == "done" and event.data["task"] == task)


def test_a_process_that_stood_still_for_five_seconds_loses_nothing(own_proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = own_proxy.start_session()
    upstream.order("answers", text="After the pause.", delay=1.0)
    with own_proxy.client(handle=handle) as client, stream(client) as read:
        read.until("ready")
        task = own_proxy.send(handle, "hello")
        own_proxy.signal(signal.SIGSTOP)
        threading.Timer(5, own_proxy.signal, [signal.SIGCONT]).start()
        read.until(lambda event: event.name == "done" and event.data["task"] == task)
        assert [one.data["content"] for one in read.named("message") if one.data["role"] == "assistant"] == [
            "After the pause."
        ]
        assert len(upstream.requests("message")) == 1
