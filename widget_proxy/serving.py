"""Runs the application under uvicorn: in this process, or in several that share a port."""

import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from widget_proxy.app import create_app
from widget_proxy.config import ConfigError, ServerSettings, Settings, load_settings, read_settings
from widget_proxy.connections import BoundedProtocol, Connections
from widget_proxy.log import log_to_stderr
from widget_proxy.metrics import DIRECTORY_VARIABLE
from widget_proxy.socket_activation import NotOurs, handed_over

if TYPE_CHECKING:  # an extra, which may not be installed
    from widget_proxy.tracing import Tracing

logger = logging.getLogger(__name__)

TRACING_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Either says where traces go to. Without one there are none."""

VANISHED_SECONDS = 30
"""What was sent, a heartbeat too, and not taken for so long ends the connection."""


WORKER_SECONDS = 30
"""A worker that says nothing for so long is replaced. On a machine under load one takes several to start; with
uvicorn's five it would be killed again and again."""


class _Config(uvicorn.Config):
    """uvicorn's, by another name: a worker unpickles it first, and so imports this module, and with it what listens
    for the signal to exit, before it makes its server. After that it would come too late."""

    connections: Connections
    """What `BoundedProtocol` counts by; each process has its own."""


class _Supervisor(Multiprocess):
    """uvicorn's, which on SIGHUP replaces its workers and so ends every stream. Here the workers read sites and
    secrets anew, and streams live on."""

    def handle_hup(self) -> None:
        try:
            load_settings(os.environ)
        except ConfigError as error:
            logger.error("the new configuration is refused and the old one stays:\n%s", error)  # noqa: TRY400
            return
        for process in self.processes:
            # One that still starts has no ear for it yet and would be ended by it: it reads what is there now.
            if process.pid is not None and process.is_ready():
                os.kill(process.pid, signal.SIGHUP)


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal ends it. What a worker has to know beyond this is in the environment."""
    config = config_of(settings, host, port)
    _raise_file_limit()
    listener = listen(config)
    with _shared_counts(settings.server):
        _run(settings, config, listener)


def _run(settings: Settings, config: uvicorn.Config, listener: socket.socket) -> None:
    if settings.server.workers == 1:
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
        if not server.started:
            sys.exit(3)
    else:
        _Supervisor(config, sockets=[listener]).run()


@contextmanager
def _shared_counts(server: ServerSettings) -> Iterator[None]:
    """Where workers count together, if anybody is to read it: a directory that is new at each start."""
    if server.workers == 1 or server.metrics_token is None:
        yield
        return
    try:
        shared = TemporaryDirectory(prefix="widget-proxy-metrics-")
    except OSError as error:
        logger.critical("several workers count in a directory, and none can be made: %s. Set TMPDIR to one", error)
        sys.exit(3)
    with shared as directory:
        os.environ[DIRECTORY_VARIABLE] = directory
        yield


def config_of(settings: Settings, host: str, port: int) -> uvicorn.Config:
    """How uvicorn is to run."""
    server = settings.server
    config = _Config(
        "widget_proxy.serving:application",
        factory=True,
        workers=settings.server.workers,
        host=host,
        port=port,
        log_config=None,
        http=BoundedProtocol,
        ws="none",  # there are none; it would take connections out of the bounds
        proxy_headers=False,  # `client_address` reads them
        access_log=False,  # its lines would have task references in them
        server_header=False,
        timeout_worker_healthcheck=WORKER_SECONDS,
        timeout_graceful_shutdown=int(settings.server.drain_seconds),
    )
    config.connections = Connections(
        server.connections_per_address, server.head_seconds, server.head_bytes, server.trusted_proxies
    )
    return config


def listen(config: uvicorn.Config) -> socket.socket:
    """The socket that all workers accept from: one that was open before, or a new one."""
    try:
        listener = handed_over(os.environ, os.getpid())
    except NotOurs as error:
        sys.exit(f"widget-proxy cannot listen: {error}")
    if listener is None:
        listener = config.bind_socket()
    else:
        logger.info("serving on %s, which was open before", listener.getsockname())
    # Of a visitor who vanished without a word (a phone out of reach) nothing would be heard for a quarter of an hour.
    if hasattr(socket, "TCP_USER_TIMEOUT") and listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_SECONDS * 1000)
    return listener


def application() -> ASGIApp:
    """The application of one process, from its environment."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the application listens for it; by itself it would end us
    settings = load_settings(os.environ)
    log_to_stderr(settings.server.log_level, settings.server.log_format)
    return create_app(settings, lambda: read_settings(os.environ), tracing=_tracing(os.environ))


def _tracing(environ: Mapping[str, str]) -> "Tracing | None":
    """What the variables of OpenTelemetry ask for."""
    asked = any(name in environ for name in TRACING_VARIABLES)
    if not asked or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from widget_proxy.tracing import exporting
    except ImportError:
        logger.error(  # noqa: TRY400 # the sentence says it all
            "OTEL_… variables ask for traces, and what makes them is not installed: "
            "pip install 'widget-proxy[otel]', or unset them. There are no traces"
        )
        return None
    return exporting(environ)


def _raise_file_limit() -> None:
    """Every stream is an open file, and the usual soft limit of 1,024 is far below what a process can carry."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1_048_576
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
