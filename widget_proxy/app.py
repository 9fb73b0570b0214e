"""The one place where the parts are joined."""

import logging
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from widget_proxy.api import Api
from widget_proxy.assets import widget_routes
from widget_proxy.attention import Attention
from widget_proxy.audit import Audit
from widget_proxy.broker import Broker, BrokerUnavailable
from widget_proxy.broker.memory import MemoryBroker
from widget_proxy.browser_gate import BrowserGate, Door
from widget_proxy.client_address import ClientAddress
from widget_proxy.config import Settings, Site
from widget_proxy.drain import Drain
from widget_proxy.drop_in import DropIn, doors
from widget_proxy.files import Files
from widget_proxy.handles import Handles
from widget_proxy.hub import Hub
from widget_proxy.messages import Event, Message, message_event
from widget_proxy.openapi import openapi_routes
from widget_proxy.own_origin import chat_origin
from widget_proxy.pages import Pages
from widget_proxy.problems import (
    Problem,
    handle_broker_unavailable,
    handle_crash,
    handle_http_exception,
    handle_problem,
)
from widget_proxy.rates import Rates
from widget_proxy.render import render
from widget_proxy.request_ids import RequestIds
from widget_proxy.response_headers import ResponseHeaders
from widget_proxy.stream import Streams
from widget_proxy.upstream import UpstreamClient

logger = logging.getLogger(__name__)


def create_app(settings: Settings) -> ASGIApp:
    """The proxy as an ASGI application. Connections and followers live as long as its lifespan."""
    clients = {
        url: UpstreamClient(url, settings.upstream)
        for url in {settings.upstream_of(site) for site in settings.sites.values()}
    }

    def client_of(site: Site) -> UpstreamClient:
        return clients[settings.upstream_of(site)]

    broker = broker_of(settings)
    handles = Handles([key.get_secret_value() for key in settings.secret_key])
    hub = Hub(
        broker=broker,
        handles=handles,
        pacing=settings.pacing,
        site_of=settings.sites.get,
        client_of=client_of,
        present=present,
        workers=settings.server.workers,
    )
    streams = Streams(
        hub,
        broker,
        heartbeat=settings.server.heartbeat_seconds,
        most=min(settings.server.streams, _room_for_streams()),
        most_per_session=settings.server.streams_per_session,
        most_per_address=settings.server.streams_per_address,
    )
    drain = Drain(settings.server.drain_seconds)
    rates = Rates(settings.rates, settings.redis)
    audit = Audit(settings.sites.keys())
    api = Api(settings, handles, hub, broker, streams, drain, rates)
    files = Files(settings, handles, hub, drain, rates, api.session_of)
    attention = Attention(hub, broker, most=settings.server.streams)
    drop_in = DropIn(settings, handles, hub, broker, files, attention, drain, rates, audit.refused)
    pages = Pages(settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for client in clients.values():
                await stack.enter_async_context(client)
            await stack.enter_async_context(broker)
            await stack.enter_async_context(rates)
            await stack.enter_async_context(hub)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(streams.run)
                    group.start_soon(drain.run)
                    group.start_soon(attention.run)
                    yield
                    group.cancel_scope.cancel()
            except Exception:
                # uvicorn would serve on, without streams: rather a new process.
                logger.critical("the proxy cannot go on and ends", exc_info=True)
                signal.raise_signal(signal.SIGTERM)
                raise

    async def refuse(request: Request, error: Exception) -> Response:
        if isinstance(error, Problem):
            audit.refused(request.scope, error)
        return await handle_problem(request, error)

    app = Starlette(
        routes=[
            *api.routes(),
            *files.routes(),
            *drop_in.routes(),
            *pages.routes(),
            *openapi_routes(),
            *widget_routes(),
        ],
        exception_handlers={
            Problem: refuse,
            HTTPException: handle_http_exception,
            BrokerUnavailable: handle_broker_unavailable,
            Exception: handle_crash,
        },
        lifespan=lifespan,
    )
    gate = BrowserGate(
        app,
        Door(
            "/v1/",
            lambda origin: any(site.allows(origin) for site in settings.sites.values()),
            lambda scope: chat_origin(settings, scope),
        ),
        *doors(settings),
        refused=audit.refused,
    )
    # Outermost: whoever speaks of the client or the scheme speaks of the browser's.
    return ClientAddress(RequestIds(ResponseHeaders(gate)), settings.server.trusted_proxies)


def broker_of(settings: Settings) -> Broker:
    """Redis where it is configured, else this process's memory."""
    if settings.redis.url is None:
        return MemoryBroker()
    # Only then: redis-py takes its time to load.
    from widget_proxy.broker.redis import RedisBroker

    return RedisBroker(settings.redis.url.get_secret_value(), prefix=settings.redis.prefix)


def _room_for_streams() -> int:
    """Four fifths of the file descriptors this process may have; the rest is for upstream and short requests."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft * 4 // 5


def present(message: Message, key: str, task: str | None, site: Site) -> Event:
    """A message as visitors get it: rendered, and its attachments without upstream's addresses."""
    attachments = [
        {"name": one.name, "size": one.size, "content_type": one.content_type, "url": None}
        for one in message.attachments
    ]
    html = render(message.content, message.role, site.shows_images_of)
    return message_event(message, key, html, attachments, task)
