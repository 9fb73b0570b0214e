"""A listening socket that somebody else holds, as systemd does, without systemd."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.servers import HOST, FakeUpstream, Proxy, Redis
from tests.sse import stream
from widget_proxy.socket_activation import NotOurs, handed_over

HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


class Activated(Proxy):
    """A proxy that is started with a socket, as its third file descriptor."""

    def __init__(self, upstream_url: str, log: Path, listener: socket.socket, **overrides: str) -> None:
        super().__init__(upstream_url, log, **overrides)
        self._listener = listener
        self._command = [sys.executable, "-c", HAND_OVER, str(listener.fileno()), *self._command]

    def launch(self) -> None:
        """Start it, and go on."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[self._listener.fileno()],
            )

    def wait(self) -> None:
        """It need not answer yet: the socket takes connections before."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as held:
        held.bind((HOST, 0))
        held.listen(128)
        yield held


def client_on(listener: socket.socket) -> httpx2.Client:
    return httpx2.Client(base_url=f"http://{HOST}:{listener.getsockname()[1]}", timeout=60)


def test_a_connection_waits_through_a_restart(
    upstream: FakeUpstream, listener: socket.socket, tmp_path: Path
) -> None:
    proxy = Activated(upstream.url, tmp_path / "log", listener)
    with proxy, client_on(listener) as client:
        assert client.get("/healthz").status_code == 200
    with closing(socket.create_connection(listener.getsockname(), timeout=60)) as waiting:
        waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n")
        with proxy:
            assert waiting.recv(100).startswith(b"HTTP/1.1 200")
    assert "which was open before" in proxy.output()


def test_workers_share_the_socket_and_believe_no_other_is_for_them(
    upstream: FakeUpstream, listener: socket.socket, redis: Redis, tmp_path: Path
) -> None:
    overrides = {"WIDGET_PROXY_REDIS_URL": redis.url, "WIDGET_PROXY_SERVER__WORKERS": "2"}
    with Activated(upstream.url, tmp_path / "log", listener, **overrides) as proxy, client_on(listener) as client:
        assert client.get("/healthz").status_code == 200
        for worker in proxy.children():
            assert b"LISTEN_" not in Path(f"/proc/{worker}/environ").read_bytes()


def test_streams_flow_through_a_unix_socket(upstream: FakeUpstream, proxy: Proxy, tmp_path: Path) -> None:
    """nginx can reach the proxy by one; nobody else on the machine can then."""
    path = tmp_path / "proxy.sock"
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(path))
        held.listen(128)
        transport = httpx2.HTTPTransport(uds=str(path))
        headers = {"Authorization": f"Bearer {proxy.start_session()}", "Origin": "http://shop.localhost:8082"}
        client = httpx2.Client(base_url="http://proxy", transport=transport, headers=headers, timeout=60)
        with Activated(upstream.url, tmp_path / "log", held), client, stream(client) as read:
            read.until("ready")
            task = client.post("/v1/session/messages", json={"message": "hello"}).json()["task"]
            read.until(lambda event: event.name == "done" and event.data["task"] == task)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "7"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "8"},
        {"LISTEN_FDS": "0", "LISTEN_PID": "7"},
        {"LISTEN_FDS": "-1", "LISTEN_PID": "7"},
        {"LISTEN_FDS": "x", "LISTEN_PID": "7"},
    ],
)
def test_without_a_socket_for_this_very_process_it_opens_its_own(told: dict[str, str]) -> None:
    assert handed_over(told, 7) is None


def test_of_two_sockets_neither_is_taken() -> None:
    with pytest.raises(NotOurs, match="Keep one ListenStream"):
        handed_over({"LISTEN_FDS": "2", "LISTEN_PID": "7"}, 7)


@pytest.mark.parametrize(
    ("third", "finding"),
    [
        ("import os; os.dup2(0, 3)", "no socket"),
        ("import os, socket; s = socket.socket(); os.dup2(s.fileno(), 3)", "does not listen"),
        ("import os, socket; s = socket.socket(type=socket.SOCK_DGRAM); os.dup2(s.fileno(), 3)", "does not listen"),
    ],
)
def test_what_is_no_listening_socket_is_refused_with_its_mend(third: str, finding: str) -> None:
    """In a process of its own: the file descriptor is a fixed one."""
    program = f"""
import os
{third}
from widget_proxy.socket_activation import NotOurs, handed_over
try:
    handed_over({{"LISTEN_FDS": "1", "LISTEN_PID": "7"}}, 7)
except NotOurs as error:
    print(error)
os.fstat(3)  # still open: it is not ours to close
"""
    outcome = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert finding in outcome.stdout, outcome.stderr
    assert outcome.returncode == 0, outcome.stderr


def test_a_wrong_socket_ends_the_command_with_one_sentence(upstream: FakeUpstream, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as no_socket:
        proxy = Proxy(upstream.url, tmp_path / "log")
        outcome = subprocess.run(
            [sys.executable, "-c", HAND_OVER, str(no_socket.fileno()), *proxy._command],
            env=proxy._environment,
            pass_fds=[no_socket.fileno()],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert outcome.returncode == 1
    assert "widget-proxy cannot listen: LISTEN_FDS names file descriptor 3, and that is no socket" in outcome.stderr
    assert "Traceback" not in outcome.stderr
