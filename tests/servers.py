"""Real servers for the tests: each a process of its own on a port of this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from widget_proxy.config import RatesSettings
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID

HOST = "127.0.0.1"
START_SECONDS = 20.0

# All visitors of a test have one address, and hundreds of tests one proxy: that is no flood here.
ONE_ADDRESS = {f"WIDGET_PROXY_RATES__{name.upper()}": "1000000/1s" for name in RatesSettings.model_fields}
ONE_ADDRESS["WIDGET_PROXY_SERVER__STREAMS_PER_ADDRESS"] = "1000000"

# Marker values: recognisable in any byte they should not be in.
EMBED_KEY = "marker-embed-key-7f3a9c51"
SECRET_KEY = "marker-signing-secret-0d2b6e84-0d2b6e84"
VISITOR_SECRET = "marker-visitor-secret-5e1f77a0-5e1f77a0"
METRICS_TOKEN = "marker-metrics-token-5be1c7d2"
SHOP_ORIGIN = "http://shop.localhost:8082"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def client_of(url: str, headers: Mapping[str, str] | None = None) -> httpx2.Client:
    """A client for one server. Without TLS, whose certificates take longer to load than a test to run."""
    return httpx2.Client(base_url=url, headers=headers, timeout=10, verify=False)


class Server:
    """A process that serves HTTP. Its output goes to `log`, a file, so that a full pipe stops nobody."""

    def __init__(
        self, command: list[str], port: int, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.log = log
        self._command = [sys.executable, "-m", *command]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WIDGET_PROXY_")}
        self._environment = inherited | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it, and go on."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with socket.create_connection((HOST, self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"{self._command} did not start:\n{self.output()}")

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 15) -> int | None:
        """End it with this signal; its exit code, or None where it was not running."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def kill(self) -> None:
        """End it as a crash would."""
        self.stop(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, and go on."""
        if self._process is not None:
            self._process.send_signal(number)

    def forget(self, variable: str) -> None:
        """Start it without this variable."""
        del self._environment[variable]

    def run_instead(self, module: str, *arguments: str) -> None:
        """Start this module in place of the usual one, with the same environment."""
        self._command = [sys.executable, "-m", module, *arguments]

    def run_file_instead(self, file: Path) -> None:
        """Start this program in place of the usual one, with the same arguments and environment."""
        self._command = [sys.executable, str(file), *self._command[3:]]

    def ends_by_itself(self, seconds: float) -> int:
        """Wait until it has ended; its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def children(self) -> list[int]:
        """The processes it started that still run."""
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def output(self) -> str:
        """What it wrote so far."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Start these at the same time, and end them with the block, the last first."""
    try:
        for server in servers:
            server.launch()
        for server in servers:
            server.wait()
        yield
    finally:
        for server in reversed(servers):
            server.stop()


class Redis(Server):
    """A Redis server with nothing on disk. `more`: options of its own."""

    def __init__(self, log: Path, *more: str) -> None:
        port = free_port()
        super().__init__([], port, log)
        options = ["--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no"]
        self._command = ["redis-server", *options, *more]
        self.url = f"redis://{HOST}:{port}/0"


class FakeUpstream(Server):
    """The fake Open Chat Studio, and what tests ask and order of it."""

    def __init__(self, log: Path, *options: str) -> None:
        port = free_port()
        allowed = [item for domain in ("shop.localhost", "127.0.0.1") for item in ("--allowed-domain", domain)]
        command = ["widget_proxy.fake_upstream", "--port", str(port), "--embed-key", EMBED_KEY]
        super().__init__([*command, "--chatbot-id", DEMO_CHATBOT_ID, *allowed, *options], port, log)
        self._control = client_of(self.url)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 15) -> int | None:
        self._control.close()
        return super().stop(number, seconds)

    def order(self, what: str, **order: Any) -> Any:
        """`answers`, `faults`, `say`, `end`, `expire`, `channel`, `reset`."""
        response = self._control.post(f"/_fake/{what}", json=order)
        response.raise_for_status()
        return response.json() if response.content else None

    def clear(self, what: str) -> None:
        self._control.delete(f"/_fake/{what}").raise_for_status()

    def ask(self, what: str) -> Any:
        response = self._control.get(f"/_fake/{what}")
        response.raise_for_status()
        return response.json()

    def requests(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What was asked of it so far, but for sessions of an earlier test, whose last stream may still be closing."""
        known = {None, *(session["id"] for session in self.ask("sessions"))}
        return [one for one in self.ask("requests") if kind in {None, one["kind"]} and one["session"] in known]


class Figures:
    """Metrics as they were read once."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels. 0 where there are none."""
        return sum(
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == f"widget_proxy_{name}" and labels.items() <= sample.labels.items()
        )


class Proxy(Server):
    """The proxy, with one site `shop`, and one of another origin."""

    def __init__(self, upstream_url: str, log: Path, **overrides: str) -> None:
        port = free_port()
        sites = {"SHOP": SHOP_ORIGIN, "OTHER": "http://other.localhost:8083"}
        environment = ONE_ADDRESS | {
            "WIDGET_PROXY_SECRET_KEY": SECRET_KEY,
            "WIDGET_PROXY_UPSTREAM_URL": upstream_url,
            "WIDGET_PROXY_METRICS_TOKEN": METRICS_TOKEN,
            # Windows of a test are short: the rule is tested with its real number in `test_hub`.
            "WIDGET_PROXY_PACING__MESSAGE_POLL_SECONDS": "1",
            "WIDGET_PROXY_PACING__ANSWER_POLL_SHORTEST": "0.05",
            # One proxy serves hundreds of tests within the real window.
            "WIDGET_PROXY_PACING__BUDGET": "1000000/5m",
            "WIDGET_PROXY_SITES__SHOP__TITLE": "Ask the shop",
        }
        for site, origin in sites.items():
            environment[f"WIDGET_PROXY_SITES__{site}__CHATBOT_ID"] = DEMO_CHATBOT_ID
            environment[f"WIDGET_PROXY_SITES__{site}__EMBED_KEY"] = EMBED_KEY
            environment[f"WIDGET_PROXY_SITES__{site}__ALLOWED_ORIGINS"] = origin
        command = [
            "widget_proxy",
            "serve",
            "--host",
            HOST,
            "--port",
            str(port),
            "--log-level",
            overrides.pop("log_level", "debug"),
        ]
        super().__init__(command, port, log, environment | overrides)

    def client(self, origin: str | None = SHOP_ORIGIN, handle: str | None = None) -> httpx2.Client:
        """A client that calls as a page of `origin` would."""
        headers = {} if origin is None else {"Origin": origin}
        if handle is not None:
            headers["Authorization"] = f"Bearer {handle}"
        return client_of(self.url, headers)

    def figures(self) -> Figures:
        """What `/metrics` tells."""
        with client_of(self.url, {"Authorization": f"Bearer {METRICS_TOKEN}"}) as client:
            response = client.get("/metrics")
        response.raise_for_status()
        return Figures(response.text)

    def start_session(self, **body: Any) -> str:
        """A new session's handle."""
        with self.client() as client:
            response = client.post("/v1/sites/shop/sessions", json=body)
        response.raise_for_status()
        handle: str = response.json()["handle"]
        return handle

    def send(self, handle: str, message: str, **body: Any) -> str:
        """Send a message; its task."""
        with self.client(handle=handle) as client:
            response = client.post("/v1/session/messages", json={"message": message, **body})
        response.raise_for_status()
        task: str = response.json()["task"]
        return task
