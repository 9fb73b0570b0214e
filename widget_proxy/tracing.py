"""Traces for OpenTelemetry: a span for each request that is answered at once, one for each request to upstream. An
answer's polls belong to the message they are for.

Off unless a variable `OTEL_…` asks for it; then it needs `pip install widget-proxy[otel]`. Spans hold no message, no
id of upstream's and no address: what they have of a visitor is the request's id, which the log has as well.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import Thread

import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from widget_proxy.call_names import call_of
from widget_proxy.upstream.watch import Kind, UpstreamWatch, Watch

CLOSE_SECONDS = 1.0
"""What spans get of the time until the process exits."""

UNTRACED = ("stream", "answer_stream", "page")
"""Streams stay open for hours, and a span is told of when it ends."""


class Tracing:
    """Spans of one application, into `provider`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("widget_proxy")

    def close(self) -> None:
        """Send what is left, for as long as there is time; whoever calls waits."""
        # By itself it waits for a collector that is away for ten seconds and more, and the process has to be gone.
        sending = Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(CLOSE_SECONDS)

    def watched(self, watch: UpstreamWatch) -> Watch:
        """The same watch, with a span for each request."""
        return partial(self._upstream, watch)

    @contextmanager
    def _upstream(self, watch: UpstreamWatch, kind: Kind) -> Iterator[None]:
        """Around one request to upstream."""
        attributes = {"server.address": watch.host}
        with self._tracer.start_as_current_span(
            f"upstream {kind}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,  # its text may be upstream's
            set_status_on_exception=False,
        ) as span:
            try:
                with watch(kind):
                    yield
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def requests(self, app: ASGIApp) -> ASGIApp:
        """The application, with a span for each request. Within `RequestIds`, whose id the spans have."""
        return _TracedRequests(self, app)

    async def request(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Around one request of a visitor."""
        call = call_of(scope)
        if call in UNTRACED:
            await app(scope, receive, send)
            return
        attributes = {"http.request.method": scope["method"]}
        if request_id := structlog.contextvars.get_contextvars().get("request_id"):
            attributes["request_id"] = request_id
        with self._tracer.start_as_current_span(
            call, kind=SpanKind.SERVER, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:

            async def send_and_note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            await app(scope, receive, send_and_note)


class _TracedRequests:
    def __init__(self, tracing: Tracing, app: ASGIApp) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._tracing.request(self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)


def exporting(environ: Mapping[str, str]) -> Tracing:
    """Spans to where the variables of OpenTelemetry say, in batches, from a thread of its own."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {} if "OTEL_SERVICE_NAME" in environ else {"service.name": "widget-proxy"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
