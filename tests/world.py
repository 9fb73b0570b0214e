"""A hub, its broker and its upstream in one process, all on a clock that jumps."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from uuid import UUID

import httpx

from tests.virtual_time import BEGIN, elapsed, now
from widget_proxy.app import present
from widget_proxy.broker import Broker
from widget_proxy.broker.memory import MemoryBroker
from widget_proxy.config import OriginPattern, PacingSettings, Site, UpstreamSettings
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID, DEMO_EMBED_KEY, Channel, FakeUpstreamSettings, create_app
from widget_proxy.fake_upstream.api import ChatApi
from widget_proxy.handles import ChatSession, Handles
from widget_proxy.hub import Hub
from widget_proxy.messages import Event
from widget_proxy.upstream import UpstreamClient

ORIGIN = "http://localhost:8082"


class World:
    """A hub, its broker and its upstream, all on the same jumping clock."""

    def __init__(self, broker: MemoryBroker, api: ChatApi, site: Site, client: UpstreamClient) -> None:
        self.broker, self.api, self.site, self.client = broker, api, site, client
        self.pacing = PacingSettings()
        self.hub = self.worker(broker)

    def worker(self, broker: Broker) -> Hub:
        """Another hub on this broker, or on what another worker has of it."""
        return Hub(
            broker=broker,
            handles=Handles(["k" * 32], now),
            pacing=self.pacing,
            site_of={self.site.slug: self.site}.get,
            client_of=lambda site: self.client,
            present=present,
            clock=elapsed,
            now=now,
            chance=random.Random(7).random,
        )

    async def start(self) -> ChatSession:
        session, _, _ = await self.hub.start(self.site, origin=ORIGIN, page_url=ORIGIN)
        return session

    async def log(self, session: ChatSession) -> list[Event]:
        async with self.broker.subscribe(session.key, None) as subscription:
            return [entry.event for entry in subscription.backlog]

    async def names(self, session: ChatSession) -> list[str]:
        return [event.name for event in await self.log(session)]

    async def said(self, session: ChatSession, role: str = "assistant") -> list[str]:
        log = await self.log(session)
        return [event.data["content"] for event in log if event.name == "message" and event.data["role"] == role]

    def asked(self, kind: str) -> list[float]:
        """When upstream was asked, in seconds since the beginning."""
        return [request.at - BEGIN.timestamp() for request in self.api.ledger.requests if request.kind == kind]

    def gaps(self, kind: str) -> list[float]:
        times = self.asked(kind)
        return [later - earlier for earlier, later in pairwise(times)]


@asynccontextmanager
async def world(keys: dict[str, Any] | None = None, **channel: Any) -> AsyncIterator[World]:
    """`keys`: what the site starts sessions with."""
    settings = FakeUpstreamSettings(
        channels=[Channel(**channel)], think_seconds=2.0, clock=lambda: now().timestamp(), sleep=asyncio.sleep
    )
    app = create_app(settings)
    keys = {"embed_key": DEMO_EMBED_KEY} if keys is None else keys
    origins = (OriginPattern.parse(ORIGIN),)
    site = Site(slug="shop", chatbot_id=UUID(DEMO_CHATBOT_ID), allowed_origins=origins, **keys)
    broker = MemoryBroker(clock=elapsed)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with UpstreamClient("http://upstream.test", UpstreamSettings(), transport, elapsed) as client:
        w = World(broker, app.state.api, site, client)
        async with w.hub:
            yield w
