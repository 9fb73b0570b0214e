"""What Prometheus reads: who may, that it is true, and that nothing of a visitor is in it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.servers import METRICS_TOKEN, SHOP_ORIGIN, FakeUpstream, Figures, Proxy, Redis, client_of
from tests.sse import stream
from widget_proxy.app import create_app
from widget_proxy.call_names import CALLS, call_of
from widget_proxy.config import RatesSettings, ServerSettings, Settings
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID
from widget_proxy.messages import Message, done_event, message_event
from widget_proxy.metrics import Metrics, forget_dead_workers
from widget_proxy.problems import CODES
from widget_proxy.serving import _shared_counts
from widget_proxy.upstream.watch import KINDS, OUTCOMES

SITE = {
    "slug": "shop",
    "chatbot_id": UUID(DEMO_CHATBOT_ID),
    "embed_key": "marker-embed-key",
    "allowed_origins": [SHOP_ORIGIN],
    "upstream_url": "http://127.0.0.1:9",
}


def application(token: str | None) -> TestClient:
    server = {} if token is None else {"metrics_token": token}
    settings = {"secret_key": "k" * 32, "server": server, "sites": {"shop": SITE}}
    return TestClient(create_app(Settings.model_validate(settings)))


def read(client: TestClient, token: str = METRICS_TOKEN) -> httpx2.Response:
    response: httpx2.Response = client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    return response


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


@pytest.mark.parametrize("path", ["/metrics", "/status.json"])
def test_without_a_token_configured_there_are_no_figures(path: str) -> None:
    assert application(None).get(path, headers={"Authorization": "Bearer "}).status_code == 404


@pytest.mark.parametrize("path", ["/metrics", "/status.json"])
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", f"Basic {METRICS_TOKEN}", "Bearer wrong", "Bearer \u00e9"]
)
def test_who_has_not_the_token_reads_nothing(path: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {b"Authorization": authorization.encode()}
    response = application(METRICS_TOKEN).get(path, headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "token_invalid")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "widget_proxy_" not in response.text


def test_who_has_the_token_reads_them_and_not_the_token() -> None:
    response = read(application(METRICS_TOKEN))
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert response.headers["Cache-Control"] == "no-store"
    assert Figures(response.text)("workers") == 1
    assert METRICS_TOKEN not in response.text


def test_what_alerts_ask_for_is_there_from_the_beginning() -> None:
    with application(METRICS_TOKEN) as client:
        figures = Figures(read(client).text)
    there = {
        (sample.name, frozenset(sample.labels.values())) for family in figures.families for sample in family.samples
    }
    assert ("widget_proxy_upstream_requests_total", frozenset({"127.0.0.1:9", "message", "busy"})) in there
    assert ("widget_proxy_answers_total", frozenset({"shop", "timeout"})) in there
    assert ("widget_proxy_refusals_total", frozenset({"start", "internal_error"})) in there


def test_two_applications_in_one_process_count_each_for_itself() -> None:
    one, other = application(METRICS_TOKEN), application(METRICS_TOKEN)
    one.get("/v1/sites/shop", headers={"Origin": "https://evil.example"})
    counts = [
        Figures(read(client).text)("refusals_total", call="site", reason="origin_not_allowed")
        for client in (one, other)
    ]
    assert counts == [1, 0]


def test_a_visitors_way_is_counted(proxy: Proxy, upstream: FakeUpstream) -> None:
    before = proxy.figures()
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client, stream(client) as events:
        events.until("ready")
        task = proxy.send(handle, "hello")
        events.until(lambda event: event.name == "done" and event.data["task"] == task)
        after = proxy.figures()
        assert after("streams_open") >= 1
        assert after("sessions_followed") >= 1

    def grown(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert grown("sessions_started_total", site="shop") == 1
    assert grown("messages_sent_total", site="shop") == 1
    assert grown("answers_total", site="shop", status="complete") == 1
    assert grown("answer_seconds_count", site="shop") == 1
    assert 0.2 <= grown("answer_seconds_sum", site="shop") < 15, "the bot thinks for 0.2 s"
    assert grown("reply_delay_seconds_count", site="shop") == 1
    assert grown("streams_opened_total") == 1
    assert grown("stream_write_seconds_count") >= 1
    host = upstream.url.removeprefix("http://")
    for kind in ("start", "message"):
        assert grown("upstream_requests_total", upstream=host, kind=kind, outcome="ok") == 1
    asked = [len(upstream.requests(kind)) for kind in ("task_poll", "message_poll")]
    assert 1 <= grown("upstream_requests_total", kind="task_poll", outcome="ok") <= asked[0]
    assert 1 <= grown("upstream_requests_total", kind="message_poll", outcome="ok") <= asked[1]
    assert grown("upstream_request_seconds_count", kind="start") == 1
    assert 0 < after("budget_level", upstream=host) <= 1
    assert after("upstream_last_answer_timestamp_seconds", upstream=host) > time.time() - 60
    assert after("process_memory_bytes") > 10e6
    assert 3 < after("process_open_files") < after("process_open_files_allowed")
    assert after("process_cpu_seconds_total") > 0
    wait_for(lambda: proxy.figures()("event_loop_lag_seconds_count") > 0)
    wait_for(lambda: proxy.figures()("broker_seconds_count") > 0)
    assert proxy.figures()("broker_up") == 1


def test_what_upstream_does_wrong_has_a_name(own_proxy: Proxy, upstream: FakeUpstream) -> None:
    before = own_proxy.figures()
    handle = own_proxy.start_session()
    upstream.order("faults", kind="message", fault="status", status=429)
    with own_proxy.client(handle=handle) as client:
        assert client.post("/v1/session/messages", json={"message": "hello"}).status_code == 503
    upstream.clear("faults")
    after = own_proxy.figures()
    counted = [one("upstream_requests_total", kind="message", outcome="busy") for one in (before, after)]
    assert counted[1] - counted[0] == 1
    refused = [one("refusals_total", call="message", reason="upstream_busy") for one in (before, after)]
    assert refused[1] - refused[0] == 1


def test_no_label_holds_what_a_visitor_or_a_session_is(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session(participant={"id": "marker-visitor"})
    with proxy.client(handle=handle) as client, stream(client) as events:
        events.until("ready")
        proxy.send(handle, "hello")
        events.until("done")
    with proxy.client("https://marker-origin.example") as client:
        client.get("/v1/sites/marker-site")
        client.get("/v1/marker-path")
        client.post("/v1/sites/marker-site/sessions", json={})
    with proxy.client() as client:
        client.get("/v1/sites/marker-site")
        client.get("/v1/session/tasks/marker-task/events")
    policies = {name.replace("_", "-") for name in RatesSettings.model_fields}
    known: dict[str, set[str]] = {
        "site": {"shop", "other"},
        "status": {"complete", "failed", "timeout"},
        "call": set(CALLS),
        "reason": set(CODES) | policies,
        "upstream": {upstream.url.removeprefix("http://")},
        "kind": set(KINDS),
        "outcome": {"ok", "aborted", *OUTCOMES.values()},
    }
    families = proxy.figures().families
    assert len(families) > 20
    for family in families:
        for sample in family.samples:
            for name, value in sample.labels.items():
                if name in known:
                    assert value in known[name], f"{sample.name} {name}={value}"
                else:
                    assert name in {"le", "version"}


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/v1/sites/x/sessions", "start"), ("GET", "/v1/sites/x", "site"), ("POST", "/v1/session/messages", "message"),
        ("GET", "/v1/session/messages", "transcript"), ("GET", "/v1/session/events", "stream"),
        ("GET", "/v1/session/tasks/x/events", "answer_stream"), ("POST", "/v1/session/files", "upload"),
        ("POST", "/v1/session/end", "end"), ("POST", "/v1/session/feedback", "feedback"),
        ("POST", "/api/chat/start/", "start"), ("POST", "/api/chat/x/message/", "message"),
        ("POST", "/api/chat/x/upload/", "upload"), ("GET", "/api/chat/x/poll/", "poll"), ("GET", "/api/chat/x/y/poll/", "poll"),
        ("GET", "/v1/files/x", "file"), ("GET", "/", "page"), ("GET", "//v1/sites/x/sessions", "page"), ("GET", "", "page"),
    ],
)  # fmt: skip
def test_a_call_has_one_of_few_names(method: str, path: str, call: str) -> None:
    assert call_of({"type": "http", "method": method, "path": path}) == call
    assert call in CALLS


def value(metrics: Metrics, name: str) -> float:
    return Figures(metrics.exposition().decode())(name)


NOW = datetime(2026, 11, 20, 12, 0, 10, tzinfo=UTC)


def test_a_reply_is_as_late_as_its_event_comes_after_upstreams_stamp() -> None:
    metrics = Metrics()
    reply = message_event(Message(NOW - timedelta(seconds=0.4), "assistant", "Hi."), "k", "Hi.")
    metrics.answered("shop", [reply, done_event("t", "complete")], NOW - timedelta(seconds=3), NOW)
    assert value(metrics, "reply_delay_seconds_sum") == pytest.approx(0.4)
    assert value(metrics, "answer_seconds_sum") == pytest.approx(3)


def test_a_clock_that_is_ahead_makes_no_delay_and_an_unreadable_moment_none_at_all() -> None:
    metrics = Metrics()
    early = message_event(Message(NOW + timedelta(seconds=5), "assistant", "Hi."), "k", "Hi.")
    undated = message_event(Message(None, "assistant", "Hi."), "k", "Hi.")
    metrics.answered("shop", [early, undated], NOW, NOW)
    assert (value(metrics, "reply_delay_seconds_count"), value(metrics, "reply_delay_seconds_sum")) == (1, 0)


def test_an_answer_that_failed_is_no_answer_time() -> None:
    metrics = Metrics()
    metrics.answered("shop", [done_event("t", "timeout")], NOW, NOW + timedelta(seconds=300))
    assert (value(metrics, "answers_total"), value(metrics, "answer_seconds_count")) == (1, 0)


# Several workers


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis.log") as server:
        yield server


@pytest.fixture
def supervised(upstream: FakeUpstream, own_redis: Redis, tmp_path: Path) -> Iterator[Proxy]:
    overrides = {"WIDGET_PROXY_REDIS_URL": own_redis.url, "WIDGET_PROXY_SERVER__WORKERS": "2"}
    with Proxy(upstream.url, tmp_path / "proxy.log", **overrides, TMPDIR=str(tmp_path)) as server:
        wait_for(lambda: server.output().count("Application startup complete") == 2)
        yield server


def workers_of(proxy: Proxy) -> list[int]:
    return [pid for pid in proxy.children() if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_whichever_worker_is_asked_tells_the_sum_and_a_killed_ones_counts_stay(
    supervised: Proxy, tmp_path: Path
) -> None:
    for _ in range(8):
        supervised.start_session()
    wait_for(lambda: supervised.figures()("workers") == 2)
    assert {supervised.figures()("sessions_started_total", site="shop") for _ in range(8)} == {8}
    memory = supervised.figures()("process_memory_bytes")
    killed = workers_of(supervised)[0]
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: supervised.output().count("Application startup complete") == 3)
    wait_for(lambda: supervised.figures()("workers") == 2)
    assert supervised.figures()("sessions_started_total", site="shop") == 8, (
        "a sum that falls would look like a restart"
    )
    assert supervised.figures()("process_memory_bytes") < 1.5 * memory, "the dead one's is not in it"
    (directory,) = tmp_path.glob("widget-proxy-metrics-*")
    assert not list(directory.glob(f"gauge_live*_{killed}.db"))
    supervised.stop()
    assert not directory.exists()


def test_without_a_place_to_count_in_serve_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")  # as where everything is read-only
    server = ServerSettings.model_validate({"workers": 2, "metrics_token": METRICS_TOKEN})
    with pytest.raises(SystemExit), _shared_counts(server):
        raise AssertionError("it went on")
    assert "Set TMPDIR" in caplog.text


def test_gauges_of_a_worker_that_lives_are_kept(tmp_path: Path) -> None:
    mine = tmp_path / f"gauge_livesum_{os.getpid()}.db"
    mine.write_bytes(b"")
    gone = tmp_path / "gauge_livesum_4194304.db"  # above any process's number
    gone.write_bytes(b"")
    counts = tmp_path / "counter_4194304.db"
    counts.write_bytes(b"")
    forget_dead_workers(tmp_path)
    assert (mine.exists(), gone.exists(), counts.exists()) == (True, False, True)


def test_a_probe_needs_no_token_and_figures_do_on_a_running_proxy(proxy: Proxy) -> None:
    with client_of(proxy.url) as client:
        assert client.get("/healthz").json()["status"] == "ok"
        assert client.get("/metrics").status_code == 401
