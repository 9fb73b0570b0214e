"""The front servers of `deploy/`, run for real before the proxy: TLS, HTTP/2, streams, reloads, visitors' addresses."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from tests.fronts import FRONTS, NAME, Front, answers_plainly
from tests.servers import EMBED_KEY, HOST, FakeUpstream, Proxy
from tests.sse import Received, Stream, stream

HEARTBEAT = 0.2
SCALED = {"read_timeout 75s": "read_timeout 1000ms"}
"""The fronts' time-out in the same proportion to the heartbeat: 75 s to 15 s is 1 s to 0.2 s."""


@pytest.fixture(scope="module", params=FRONTS, ids=lambda kind: kind.__name__.lower())
def kind(request: pytest.FixtureRequest) -> type[Front]:
    """nginx, then Caddy."""
    chosen: type[Front] = request.param
    return chosen


@pytest.fixture(scope="module")
def backend(_upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy that stands behind; its heart beats often."""
    overrides = {
        "WIDGET_PROXY_SERVER__HEARTBEAT_SECONDS": str(HEARTBEAT),
        "WIDGET_PROXY_RATES__STARTS_PER_ADDRESS": "2/5m",
        "WIDGET_PROXY_SITES__SHOP__ATTACHMENTS": "true",
    }
    with Proxy(_upstream_server.url, tmp_path_factory.mktemp("backend") / "log", **overrides) as server:
        yield server


@pytest.fixture(scope="module")
def front(kind: type[Front], backend: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front server before it, its time-outs scaled as the heartbeat is."""
    with kind(tmp_path_factory.mktemp("front"), backend.port, SCALED) as server:
        yield server


@pytest.fixture(autouse=True)
def as_new(upstream: FakeUpstream) -> None:
    """Upstream forgets the test before."""


_addresses = (f"127.0.1.{number}" for number in range(1, 255))


@pytest.fixture
def address() -> str:
    """A visitor nobody has seen: starts are counted by address."""
    return next(_addresses)


def start(client: httpx2.Client) -> str:
    response = client.post("/v1/sites/shop/sessions", json={})
    response.raise_for_status()
    handle: str = response.json()["handle"]
    return handle


def say(client: httpx2.Client, text: str) -> str:
    response = client.post("/v1/session/messages", json={"message": text})
    assert response.status_code == 202, response.text
    task: str = response.json()["task"]
    return task


def done(task: str) -> Callable[[Received], bool]:
    return lambda event: event.name == "done" and event.data["task"] == task


def answers(*streams: Stream) -> list[str]:
    """What was answered, each message once for its key as in the widget."""
    shown = {one.data["key"]: one.data for read in streams for one in read.named("message")}
    return [one["content"] for one in shown.values() if one["role"] == "assistant"]


def connection_of(response: httpx2.Response) -> tuple[str, int]:
    address: tuple[str, int] = response.extensions["network_stream"].get_extra_info("client_addr")
    return address


def test_a_browser_without_tls_is_sent_to_where_there_is_some(front: Front) -> None:
    answer = answers_plainly(front)
    assert answer.startswith(("HTTP/1.1 308", "HTTP/1.0 308"))
    assert f"ocation: https://{NAME}/widget.js?x=1" in answer


@pytest.mark.parametrize("http2", [True, False])
def test_each_event_arrives_as_it_is_written(front: Front, address: str, http2: bool) -> None:
    """Each message is sent only when the answer before was read: what a front server holds back never comes."""
    with front.client(local=address, http2=http2) as client:
        client.headers["Authorization"] = f"Bearer {start(client)}"
        with stream(client) as read:
            assert read.response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            read.until("ready")
            for number in range(3):
                read.until(done(say(client, f"question {number}")))
            assert len(answers(read)) == 3


def test_a_stream_outlives_the_time_outs_by_its_heartbeats(front: Front, address: str) -> None:
    with front.client(local=address) as client:
        client.headers["Authorization"] = f"Bearer {start(client)}"
        with stream(client) as read:
            read.until("ready")
            beats = iter(line for line in read.lines if line.startswith(":"))
            for _ in range(8):  # the time-out, and half of it again
                next(beats)
            read.until(done(say(client, "still there?")))
            assert len(answers(read)) == 1


def test_heartbeats_rarer_than_the_time_out_would_not_keep_it_open(
    kind: type[Front], backend: Proxy, address: str, tmp_path: Path
) -> None:
    """So that the test before says something."""
    with backend.client() as client:
        client.headers["X-Forwarded-For"] = address
        handle = start(client)
    with ExitStack() as stack:
        front = stack.enter_context(kind(tmp_path, backend.port, {"read_timeout 75s": "read_timeout 100ms"}))
        client = stack.enter_context(front.client(handle))
        stack.enter_context(pytest.raises((AssertionError, httpx2.HTTPError)))
        stack.enter_context(stream(client)).until("what never comes")


@pytest.mark.parametrize("http2", [True, False])
def test_ten_tabs_read_the_same_answer(front: Front, address: str, http2: bool) -> None:
    with ExitStack() as tabs, front.client(local=address, http2=http2) as client:
        client.headers["Authorization"] = f"Bearer {start(client)}"
        reading = [tabs.enter_context(stream(client)) for _ in range(10)]
        connections = {connection_of(read.response) for read in reading}
        assert len(connections) == (1 if http2 else 10)
        for read in reading:
            read.until("ready")
        task = say(client, "hello")
        for read in reading:
            read.until(done(task))
            assert len(answers(read)) == 1


def say_until(stopped: threading.Event, client: httpx2.Client) -> list[str]:
    """Send one message after the other, as the widget does: with a key, and again with the same one where the
    connection went away. Their tasks."""
    tasks: list[str] = []
    while not stopped.is_set() or not tasks:
        key = {"Idempotency-Key": str(uuid4())}
        for _ in range(3):
            with suppress(httpx2.TransportError):
                sent = client.post("/v1/session/messages", json={"message": f"m{len(tasks)}"}, headers=key)
                break
        assert sent.status_code == 202, sent.text
        tasks.append(sent.json()["task"])
    return tasks


def test_messages_sent_while_the_front_reloads_are_answered_once(
    front: Front, address: str, upstream: FakeUpstream
) -> None:
    stopped = threading.Event()
    with ExitStack() as stack:
        # On HTTP/2 a reload says that the connection takes no more requests, and this client drops what it reads.
        client = stack.enter_context(front.client(local=address, http2=False))
        sender = stack.enter_context(front.client(local=address))
        threads = stack.enter_context(ThreadPoolExecutor())
        client.headers["Authorization"] = sender.headers["Authorization"] = f"Bearer {start(client)}"
        with stream(client) as read:
            read.until("ready")
            sending = threads.submit(say_until, stopped, sender)
            try:
                front.reload()
            finally:
                stopped.set()
            tasks = sending.result(timeout=10)
            read.until(lambda _: {one.data["task"] for one in read.named("done")} >= set(tasks))
    ended = [one.data["task"] for one in read.named("done")]
    assert sorted(ended) == sorted(tasks)
    assert len(answers(read)) == len(upstream.requests("message")) == len(tasks) >= 1


def test_a_stream_that_a_reload_cuts_comes_back_with_its_cursor_and_misses_nothing(
    kind: type[Front], backend: Proxy, address: str, tmp_path: Path, upstream: FakeUpstream
) -> None:
    """As long after a reload as it may be, connections of before are cut."""
    soon = {"Nginx": {"worker_shutdown_timeout 5m": "worker_shutdown_timeout 300ms"}}
    cut = soon.get(kind.__name__, {"grace_period 10s": "grace_period 300ms"})
    with kind(tmp_path, backend.port, cut) as front, front.client(local=address) as client:
        handle = start(client)
        client.headers["Authorization"] = f"Bearer {handle}"
        with stream(client) as first:
            first.until("ready")
            first.until(done(say(client, "before")))
            upstream.order("answers", text="In the meantime.", delay=1.0)
            task = say(client, "meanwhile")
            front.reload()
            with pytest.raises((AssertionError, httpx2.HTTPError)):
                first.until(done(task))
        back = {"Last-Event-ID": str(first.cursor)}
        with (
            front.client(handle, local=address, headers=back) as fresh,
            stream(fresh, params={"task": task}) as second,
        ):
            second.until(done(task))
        before = {one.data["key"] for one in first.named("message")}
        after = [one.data for one in second.named("message")]
        assert not before & {one["key"] for one in after}, "it goes on where it broke off"
        assert [one["content"] for one in after if one["role"] == "assistant"] == ["In the meantime."]


@contextmanager
def echo() -> Iterator[ThreadingHTTPServer]:
    """A server that answers with the headers it was asked with."""

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer((HOST, 0), Echo) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield server
        finally:
            server.shutdown()
            serving.join()


def test_the_proxy_is_told_the_truth_whatever_a_visitor_claims(kind: type[Front], tmp_path: Path) -> None:
    claimed = {
        "X-Forwarded-For": "203.0.113.9, 127.0.0.1",
        "X-Forwarded-Proto": "gopher",
        "X-Request-Id": "claimed-id",
    }
    with ExitStack() as stack:
        front = stack.enter_context(kind(tmp_path, stack.enter_context(echo()).server_port))
        client = stack.enter_context(front.client(local="127.0.0.7", headers=claimed))
        told = client.get("/v1/sites/shop").json()
    values = {name: [value for key, value in told if key == name] for name, _ in told}
    assert values["x-forwarded-for"] == ["127.0.0.7"]
    assert values["x-forwarded-proto"] == ["https"]
    assert values["host"] == [NAME]
    assert len(values["x-request-id"]) == 1
    assert "claimed-id" not in values["x-request-id"]
    assert "connection" not in values, "the next request finds it open"


def test_visitors_are_counted_by_their_own_addresses(front: Front, address: str) -> None:
    """Two starts an address: in half a minute nobody has a third, and nobody stands in for a neighbour."""
    neighbour = next(_addresses)
    with front.client(local=address) as client, front.client(local=neighbour) as other:
        body: dict[str, str] = {}
        statuses = [client.post("/v1/sites/shop/sessions", json=body).status_code for _ in range(3)]
        forged = client.post("/v1/sites/shop/sessions", json=body, headers={"X-Forwarded-For": neighbour})
        assert statuses[0] == 201
        assert statuses[-1] == forged.status_code == 429
        assert other.post("/v1/sites/shop/sessions", json=body).status_code == 201


def test_an_answer_has_the_id_that_the_front_gave(front: Front, backend: Proxy) -> None:
    with front.client() as client:
        identity = client.get("/v1/sites/nowhere").headers["X-Request-Id"]
    assert len(identity) in {32, 36}, "nginx writes 32 digits, Caddy a UUID; the proxy's own has 16"


def test_bodies_as_large_as_a_visitors_file_pass_and_others_do_not(
    front: Front, address: str, upstream: FakeUpstream
) -> None:
    with front.client(local=address) as client:
        client.headers["Authorization"] = f"Bearer {start(client)}"
        large = b"x" * 3_000_000  # nginx by itself takes 1 MB
        sent = client.post("/v1/session/files", files={"files": ("notes.txt", large, "text/plain")})
        assert sent.status_code == 201, sent.text
        assert sent.json()["files"][0]["size"] == len(large)
        refused = client.post("/v1/session/messages", json={"message": "x" * 100_000})
        assert refused.is_error, "the proxy stops reading: 413, or the front's 502 where that comes first"
        assert upstream.requests("message") == []


def test_what_is_for_programs_is_not_for_visitors(front: Front) -> None:
    with front.client() as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/metrics", "/readyz", "/status", "/status.json"):
            refused = client.get(path)
            assert refused.status_code == 404
            assert "problem+json" not in refused.headers.get("Content-Type", ""), "the proxy never heard of it"


def logged(front: Front) -> str:
    return "".join(path.read_text("utf-8", "replace") for path in front.directory.glob("*.log"))


def test_no_log_of_a_front_has_a_key_a_handle_or_a_reference(front: Front, address: str) -> None:
    with front.client(local=address) as client:
        handle = start(client)
        client.headers["Authorization"] = f"Bearer {handle}"
        task = say(client, "a question nobody else should read")
        with stream(client, f"/v1/session/tasks/{task}/events", params={"task": task}) as read:
            read.until(done(task))
    for secret in (handle, task, EMBED_KEY, "a question nobody"):
        assert secret not in logged(front)


def test_a_front_without_its_proxy_says_so_and_does_not_hang(kind: type[Front], tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind((HOST, 0))
        with kind(tmp_path, closed.getsockname()[1]) as front, front.client() as client:
            assert client.get("/v1/sites/shop").status_code == 502
            for path in ("/v1/files/", "/api/chat/"):
                assert client.get(f"{path}marker-reference/", headers={"X-Marker": "marker"}).status_code == 502
            assert "marker" not in logged(front), "a path that opens something"
