"""Servers of streams, to be compared: each in groups of readers that get the same events."""

import http.client
import json
import os
import pwd
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.connections import SHOP, request
from benchmarks.processes import HOST, FakeUpstream, Measured, free_port, proxy, unbound_budget

MARK = "so-that-it-is-found"
EVENT = {
    "key": "d4735e3a265e16eee03f59718b9b5d03019c07d8",
    "role": "assistant",
    "content": f"Here is an answer of ordinary length, {MARK}, with a sentence more.",
    "html": f"<p>Here is an answer of ordinary length, {MARK}, with a sentence more.</p>",
    "created_at": "2026-11-20T23:28:16.129136Z",
    "attachments": [],
}
"""About what a visitor gets of an answer, for contenders without a bot."""

NCHAN_MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"


class Contender(Protocol):
    """One running server. A request of `orders` brings its group one event that has `MARK` in it."""

    name: str
    server: Measured
    opened: bytes
    """What a stream has read when it is open and has all that was known."""

    def prepare(self, groups: int) -> None:
        """Make groups; those of before are forgotten."""
        ...

    def stream(self, group: int) -> bytes:
        """The request that opens one more stream of a group."""
        ...

    def orders(self, groups: Sequence[int], delay: float = 0.2) -> list[bytes]:
        """Requests that bring one event to each of the groups. A bot needs `delay` seconds for it."""
        ...

    def upstream_requests(self) -> dict[str, int]:
        """What was asked of upstream so far, by kind."""
        ...


class Ours:
    """The proxy, before a fake upstream. A group is a session, its event the answer to a message sent in it."""

    name = "ours"
    opened = b"event: ready"

    def __init__(self, server: Measured, upstream: FakeUpstream) -> None:
        self.server = server
        self._upstream = upstream
        self._handles: list[str] = []

    def prepare(self, groups: int) -> None:
        with _client(self.server) as post:
            self._handles = [post("/v1/sites/shop/sessions", SHOP, {})["handle"] for _ in range(groups)]

    def stream(self, group: int) -> bytes:
        return request("GET", "/v1/session/events", self._headers(group))

    def orders(self, groups: Sequence[int], delay: float = 0.2) -> list[bytes]:
        with _client(self._upstream) as post:
            for _ in groups:
                post("/_fake/answers", {}, {"text": EVENT["content"], "delay": delay})
        return [
            request(
                "POST",
                "/v1/session/messages",
                self._headers(group) | {"Idempotency-Key": str(uuid.uuid4()), "Connection": "close"},
                {"message": "hello"},
            )
            for group in groups
        ]

    def upstream_requests(self) -> dict[str, int]:
        counts: dict[str, int] = self._upstream.ask("counts")["kinds"]
        return counts

    def _headers(self, group: int) -> dict[str, str]:
        return SHOP | {"Authorization": f"Bearer {self._handles[group]}"}


class Channels:
    """A server with channels: a group is one, its event is posted to it."""

    def __init__(self, name: str, server: Measured, opened: bytes, stream: str, publish: str) -> None:
        self.name = name
        self.server = server
        self.opened = opened
        self._stream = stream
        self._publish = publish
        self._prefix = ""

    def prepare(self, groups: int) -> None:
        self._prefix = uuid.uuid4().hex[:8]

    def stream(self, group: int) -> bytes:
        accept = {"Accept": "text/event-stream"}
        return request("GET", self._stream.format(f"{self._prefix}{group}"), accept)

    def orders(self, groups: Sequence[int], delay: float = 0.2) -> list[bytes]:
        headers = {"Connection": "close"}
        return [request("POST", self._publish.format(f"{self._prefix}{one}"), headers, EVENT) for one in groups]

    def upstream_requests(self) -> dict[str, int]:
        return {}


@contextmanager
def ours(
    directory: Path,
    settings: Mapping[str, str],
    *,
    command: Sequence[str] = ("widget_proxy",),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Contender]:
    """The proxy, started. `command` and `environment` may put a profiler around it."""
    defaults = {
        "PACING__MESSAGE_POLL_SECONDS": "30",
        "UPSTREAM__SEND_SECONDS": "60",
        "SERVER__STREAMS_PER_SESSION": "2000",
    }
    told = defaults | unbound_budget() | dict(settings)
    with ExitStack() as stack:
        upstream = stack.enter_context(FakeUpstream(directory / "upstream.log"))
        log = directory / "proxy.log"
        server = proxy(upstream.url, log, told, command=command, environment=environment)
        yield Ours(stack.enter_context(server), upstream)


@contextmanager
def bare(
    directory: Path, *, command: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Contender]:
    """`EventSourceResponse` alone, started."""
    port = free_port()
    arguments = [*command, "benchmarks.bare_app", str(port)]
    with Measured(arguments, port, directory / "bare.log", environment) as server:
        yield Channels("bare sse-starlette", server, b"retry:", "/{}/events", "/{}")


@contextmanager
def nchan(directory: Path, program: str, module: str) -> Iterator[Contender]:
    """nginx with nchan, started, with one worker."""
    port = free_port()
    configuration = directory / "nginx.conf"
    user = pwd.getpwuid(os.getuid()).pw_name
    configuration.write_text(
        f"""
load_module {module};
{f"user {user};" if os.getuid() == 0 else ""}
daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
events {{ worker_connections 19000; }}
http {{
  access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  nchan_shared_memory_size 256M;
  server {{
    listen {HOST}:{port} backlog=4096;
    location ~ ^/publish/(\\w+)$ {{ nchan_publisher http; nchan_channel_id $1; }}
    location ~ ^/events/(\\w+)$ {{
      nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message newest;
      nchan_eventsource_ping_interval 15; nchan_eventsource_ping_comment "ping"; nchan_eventsource_ping_event "";
    }}
  }}
}}
"""
    )
    arguments = ["-c", str(configuration), "-e", str(directory / "nginx-start.log")]
    with Measured(arguments, port, directory / "nginx.log", program=program) as server:
        yield Channels("nginx nchan", server, b": hi", "/events/{}", "/publish/{}")


def find_nchan() -> tuple[str, str] | None:
    """nginx and its nchan module, where both are here: in their usual places, or where `BENCHMARK_NGINX` and
    `BENCHMARK_NCHAN_MODULE` say."""
    program = os.environ.get("BENCHMARK_NGINX") or shutil.which("nginx")
    module = os.environ.get("BENCHMARK_NCHAN_MODULE", NCHAN_MODULE)
    return (program, module) if program and Path(program).exists() and Path(module).exists() else None


def nginx_version(program: str) -> str:
    """As nginx says it."""
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr
    return (re.search(r"nginx/\S+", told) or [told])[0]


class _Post(Protocol):
    def __call__(self, path: str, headers: Mapping[str, str], body: object) -> dict[str, str]: ...


@contextmanager
def _client(server: Measured | FakeUpstream) -> Iterator[_Post]:
    """Posts JSON on one connection that is kept."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)

    def post(path: str, headers: Mapping[str, str], body: object) -> dict[str, str]:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
        with connection.getresponse() as response:
            content = response.read()
            if response.status >= 300:
                raise RuntimeError(f"POST {path} answered {response.status}: {content[:300]!r}")
            answer: dict[str, str] = json.loads(content) if content else {}
            return answer

    try:
        yield post
    finally:
        connection.close()
