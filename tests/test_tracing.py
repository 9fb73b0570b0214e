"""Traces: what belongs to what, and that nothing of a visitor is in them."""

import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.testclient import TestClient

from tests.servers import EMBED_KEY, HOST, SECRET_KEY, SHOP_ORIGIN, FakeUpstream
from widget_proxy.app import create_app
from widget_proxy.config import Settings
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID
from widget_proxy.serving import _tracing
from widget_proxy.tracing import Tracing

TEXT = "marker-message-text"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def client(upstream: FakeUpstream, spans: InMemorySpanExporter) -> Iterator[TestClient]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    site = {
        "slug": "shop", "chatbot_id": DEMO_CHATBOT_ID, "embed_key": EMBED_KEY, "allowed_origins": [SHOP_ORIGIN],
        "upstream_url": upstream.url,
    }  # fmt: skip
    settings = Settings.model_validate({"secret_key": SECRET_KEY, "sites": {"shop": site}})
    with TestClient(create_app(settings, tracing=Tracing(provider)), headers={"Origin": SHOP_ORIGIN}) as client:
        yield client


def answered(client: TestClient) -> None:
    """One question, and its answer read."""
    handle = client.post("/v1/sites/shop/sessions", json={}).json()["handle"]
    client.headers["Authorization"] = f"Bearer {handle}"
    task = client.post("/v1/session/messages", json={"message": TEXT}).json()["task"]
    assert "event: done" in client.get(f"/v1/session/tasks/{task}/events").text


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    identity: int = span.context.trace_id
    return identity


def test_the_polls_for_an_answer_belong_to_its_message(client: TestClient, spans: InMemorySpanExporter) -> None:
    answered(client)
    (start,), (message,) = named(spans, "start"), named(spans, "message")
    assert trace_of(start) != trace_of(message)
    assert {trace_of(span) for span in named(spans, "upstream start")} == {trace_of(start)}
    polls = named(spans, "upstream task_poll")
    assert polls
    assert {trace_of(span) for span in [*polls, *named(spans, "upstream message")]} == {trace_of(message)}
    assert message.attributes is not None
    assert message.attributes["http.response.status_code"] == 202


def test_a_stream_is_no_span(client: TestClient, spans: InMemorySpanExporter) -> None:
    answered(client)
    assert {span.name for span in spans.get_finished_spans()} <= {
        "start", "message", "upstream start", "upstream message", "upstream task_poll", "upstream message_poll"
    }  # fmt: skip


def test_a_request_is_found_by_its_id_and_nothing_else_of_a_visitor_is_told(
    client: TestClient, upstream: FakeUpstream, spans: InMemorySpanExporter
) -> None:
    answered(client)
    refused = client.post("/v1/session/messages", json={"message": ""}, headers={"X-Request-Id": "given-id-1"})
    assert refused.status_code == 400
    told = "\n".join(span.to_json() for span in spans.get_finished_spans())
    assert '"request_id": "given-id-1"' in told
    secrets = [TEXT, EMBED_KEY, SECRET_KEY, SHOP_ORIGIN, client.headers["Authorization"].removeprefix("Bearer ")]
    for session in upstream.ask("sessions"):
        secrets += [session["id"], session["token"]]
    assert [secret for secret in secrets if secret in told] == []


def test_a_failure_is_named_and_not_quoted(
    client: TestClient, upstream: FakeUpstream, spans: InMemorySpanExporter
) -> None:
    upstream.order("faults", kind="start", fault="status", status=502, body="marker-upstream-text")
    assert client.post("/v1/sites/shop/sessions", json={}).status_code == 502
    (asked,), (start,) = named(spans, "upstream start"), named(spans, "start")
    assert (asked.status.status_code, asked.status.description) == (StatusCode.ERROR, "BadAnswer")
    assert start.status.status_code == StatusCode.ERROR
    assert "marker-upstream-text" not in asked.to_json() + start.to_json()


@pytest.mark.parametrize(
    "environ",
    [{}, {"OTEL_SERVICE_NAME": "x"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "TRUE"}],
)
def test_without_a_variable_that_asks_for_it_there_is_none(environ: dict[str, str]) -> None:
    assert _tracing(environ) is None


def test_where_the_extra_is_missing_the_log_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "widget_proxy.tracing", None)  # what an import of it then says
    assert _tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) is None
    assert "pip install 'widget-proxy[otel]'" in caplog.text


class Stuck(SpanProcessor):
    """Whose collector never answers."""

    def __init__(self) -> None:
        self.released = Event()

    def shutdown(self) -> None:
        self.released.wait()


def test_a_collector_that_does_not_answer_does_not_hold_up_the_exit() -> None:
    stuck = Stuck()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(stuck)
    Tracing(provider).close()
    assert not stuck.released.is_set(), "it went on without it"
    stuck.released.set()


def test_where_variables_ask_for_it_spans_go_there(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[str] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            received.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # its name there
            """Silent."""

    with ThreadingHTTPServer((HOST, 0), Collector) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{HOST}:{server.server_port}")
        tracing = _tracing(os.environ)
        assert tracing is not None
        with tracing._tracer.start_as_current_span("one"):
            pass
        tracing.close()
        server.shutdown()
        serving.join()
    assert received == ["/v1/traces"]
