"""The one place where the parts are joined."""

import logging
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from widget_proxy.api import Api
from widget_proxy.assets import widget_routes
from widget_proxy.attention import Attention
from widget_proxy.audit import Audit
from widget_proxy.broker import Broker, BrokerUnavailable
from widget_proxy.broker.memory import MemoryBroker
from widget_proxy.browser_gate import BrowserGate, Door
from widget_proxy.call_names import call_of
from widget_proxy.client_address import ClientAddress
from widget_proxy.config import CurrentSettings, Loaded, Settings, Site
from widget_proxy.conversation import Conversation
from widget_proxy.downloads import Downloads, file_url
from widget_proxy.drain import Drain, exit_with_supervisor
from widget_proxy.drop_in import DropIn, doors
from widget_proxy.files import Files
from widget_proxy.handles import ChatSession, Handles
from widget_proxy.hub import Hub
from widget_proxy.messages import Attachment, Event, Message, message_event
from widget_proxy.metrics import Metrics
from widget_proxy.monitoring import Monitoring
from widget_proxy.observing import Observer
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
from widget_proxy.rates import Rates, TooManyRequests
from widget_proxy.render import render
from widget_proxy.request_ids import RequestIds
from widget_proxy.response_headers import ResponseHeaders
from widget_proxy.stream import Streams
from widget_proxy.upstream import UpstreamClient
from widget_proxy.upstream.clients import Clients
from widget_proxy.upstream.watch import Watches

if TYPE_CHECKING:  # an extra, which may not be installed
    from widget_proxy.tracing import Tracing

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings, read: Callable[[], Loaded] | None = None, *, tracing: "Tracing | None" = None
) -> ASGIApp:
    """The proxy as an ASGI application. Connections and followers live as long as its lifespan. `read` reads the
    configuration anew, on SIGHUP or when a file of it has changed."""
    current = CurrentSettings(settings, read)
    metrics = Metrics()
    watches = Watches(metrics)
    clients = Clients(
        settings.upstream, watches.of if tracing is None else lambda address: tracing.watched(watches.of(address))
    )

    def client_of(site: Site) -> UpstreamClient:
        return clients.of(current.settings.upstream_of(site))

    broker = broker_of(settings)
    handles = Handles(_secret_keys(settings))
    hub = Hub(
        broker=broker,
        handles=handles,
        pacing=settings.pacing,
        site_of=lambda slug: current.settings.sites.get(slug),
        client_of=client_of,
        present=partial(present, url_of=partial(file_url, handles)),
        workers=settings.server.workers,
        metrics=metrics,
    )
    streams = Streams(
        hub,
        broker,
        heartbeat=settings.server.heartbeat_seconds,
        most=min(settings.server.streams, _room_for_streams()),
        most_per_session=settings.server.streams_per_session,
        most_per_address=settings.server.streams_per_address,
        metrics=metrics,
    )
    drain = Drain(settings.server.drain_seconds)
    rates = Rates(settings.rates, settings.redis)
    site_names = set(settings.sites)
    audit = Audit(site_names)

    def note_refusal(scope: Scope, problem: Problem) -> None:
        audit.refused(scope, problem)
        metrics.refused(call_of(scope), problem.policy if isinstance(problem, TooManyRequests) else problem.code)

    api = Api(current, handles, hub, broker, streams, drain, rates)
    files = Files(current, handles, hub, drain, rates, api.session_of)
    conversation = Conversation(current, hub, broker, drain, rates, api.session_of)
    attention = Attention(hub, broker, most=settings.server.streams)
    drop_in = DropIn(current, handles, hub, broker, files, attention, drain, rates, note_refusal)
    downloads = Downloads(current, handles, hub, drain, rates)
    pages = Pages(current)

    observer = Observer(metrics=metrics, streams=streams, hub=hub, files=files, broker=broker, watches=watches)
    monitoring = Monitoring(settings.server, metrics, observer)

    async def take_over(new: Settings) -> None:
        upstreams = {new.upstream_of(site) for site in new.sites.values()}
        await clients.open(upstreams)
        watches.use(upstreams)
        metrics.expect(new.sites, (watch.host for watch in watches.in_use))
        handles.rotate(_secret_keys(new))
        site_names.clear()
        site_names.update(new.sites)
        streams.keep(new.sites)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if tracing is not None:
                stack.push_async_callback(anyio.to_thread.run_sync, tracing.close)
            await stack.enter_async_context(clients)
            await take_over(settings)
            current.on_change(take_over)
            await stack.enter_async_context(broker)
            await stack.enter_async_context(rates)
            await stack.enter_async_context(hub)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(streams.run)
                    group.start_soon(drain.run)
                    group.start_soon(exit_with_supervisor)
                    group.start_soon(attention.run)
                    if read is not None:
                        group.start_soon(reload_on_signal, current)
                        if settings.server.watch_seconds > 0:
                            group.start_soon(current.watch, settings.server.watch_seconds)
                    group.start_soon(observer.run)
                    yield
                    group.cancel_scope.cancel()
            except Exception:
                # uvicorn would serve on, without streams: rather a new process.
                logger.critical("the proxy cannot go on and ends", exc_info=True)
                signal.raise_signal(signal.SIGTERM)
                raise

    async def refuse(request: Request, error: Exception) -> Response:
        if isinstance(error, Problem):
            note_refusal(request.scope, error)
        return await handle_problem(request, error)

    async def refuse_without_broker(request: Request, error: Exception) -> Response:
        metrics.refused(call_of(request.scope), "unavailable")
        return await handle_broker_unavailable(request, error)

    async def crash(request: Request, error: Exception) -> Response:
        metrics.refused(call_of(request.scope), "internal_error")
        return await handle_crash(request, error)

    app = Starlette(
        routes=[
            *api.routes(),
            *files.routes(),
            *conversation.routes(),
            *drop_in.routes(),
            *downloads.routes(),
            *pages.routes(),
            *monitoring.routes(),
            *openapi_routes(),
            *widget_routes(),
        ],
        exception_handlers={
            Problem: refuse,
            HTTPException: handle_http_exception,
            BrokerUnavailable: refuse_without_broker,
            Exception: crash,
        },
        lifespan=lifespan,
    )
    gate = BrowserGate(
        app,
        Door(
            "/v1/",
            lambda origin: any(site.allows(origin) for site in current.settings.sites.values()),
            lambda scope: chat_origin(current.settings, scope),
        ),
        *doors(current),
        refused=note_refusal,
    )
    traced = gate if tracing is None else tracing.requests(gate)
    # Outermost: whoever speaks of the client or the scheme speaks of the browser's.
    return ClientAddress(RequestIds(ResponseHeaders(traced)), settings.server.trusted_proxies)


async def reload_on_signal(current: CurrentSettings) -> None:
    """For ever: SIGHUP has sites and secrets read anew."""
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            await current.reload()


def _secret_keys(settings: Settings) -> list[str]:
    return [key.get_secret_value() for key in settings.secret_key]


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


def present(
    message: Message,
    key: str,
    task: str | None,
    site: Site,
    session: ChatSession,
    url_of: Callable[[ChatSession, Site, Attachment], str | None] = lambda session, site, attachment: None,
) -> Event:
    """A message as visitors get it: rendered, and its attachments with addresses of ours, where they have any."""
    attachments = [
        {"name": one.name, "size": one.size, "content_type": one.content_type, "url": url_of(session, site, one)}
        for one in message.attachments
    ]
    html = render(message.content, message.role, site.shows_images_of)
    return message_event(message, key, html, attachments, task)
