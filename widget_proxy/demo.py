"""The demo: the proxy, a stand-in for Open Chat Studio, and an example shop, each a process with a port of its own,
so that the shop's pages are of another origin than the chat, as on a real website."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Mapping
from pathlib import Path

import click
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from widget_proxy.assets import asset_directory
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID, DEMO_EMBED_KEY

HOST = "127.0.0.1"
STAND_IN_ADDRESS = b"https://chat.example.com"
"""What the shop's files say, as an owner would write it; the demo puts the proxy's address there."""

START_SECONDS = 30.0

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def create_shop(proxy_url: str, directory: Path | None = None) -> Starlette:
    """The example shop, with the proxy's address in its pages."""
    root = (directory or asset_directory("examples/shop")).resolve()

    async def serve(request: Request) -> Response:
        path = (root / (request.path_params["path"] or "index.html")).resolve()
        if not path.is_relative_to(root) or path.suffix not in _TYPES or not path.is_file():
            raise HTTPException(404)
        content = path.read_bytes()  # a demo: the files are small and local
        if path.suffix == ".html":
            content = content.replace(STAND_IN_ADDRESS, proxy_url.encode())
        return Response(content, media_type=_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})

    return Starlette(routes=[Route("/{path:path}", serve)])


def run_shop(port: int, proxy_url: str) -> None:
    """Serve the shop until a signal comes."""
    uvicorn.run(create_shop(proxy_url), host=HOST, port=port, log_level="warning", access_log=False)


def run_demo(port: int, *, open_browser: bool = False) -> int:
    """Start all three and wait for Ctrl-C. Returns the process's exit code."""
    ports = _free_ports(port)
    proxy, upstream, shop = (f"http://{HOST}:{one}" for one in ports)
    shop_origins = f"{shop},http://localhost:{ports[2]}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WIDGET_PROXY_")} | {
        "WIDGET_PROXY_CONFIG": str(asset_directory("examples/shop") / "widget-proxy.toml"),
        "WIDGET_PROXY_SECRET_KEY": secrets.token_urlsafe(32),
        "WIDGET_PROXY_UPSTREAM_URL": upstream,
        "WIDGET_PROXY_SITES__SHOP__CHATBOT_ID": DEMO_CHATBOT_ID,
        "WIDGET_PROXY_SITES__SHOP__EMBED_KEY": DEMO_EMBED_KEY,
        "WIDGET_PROXY_SITES__SHOP__ALLOWED_ORIGINS": shop_origins,
        "WIDGET_PROXY_SITES__SHOP__ATTACHMENTS": "true",
    }
    python = [sys.executable, "-m"]
    commands = {
        "stand-in for Open Chat Studio": [*python, "widget_proxy.fake_upstream", "--port", str(ports[1])],
        "proxy": [
            *python,
            "widget_proxy",
            "serve",
            "--host",
            HOST,
            "--port",
            str(ports[0]),
            "--log-level",
            "warning",
        ],
        "shop": [*python, "widget_proxy.demo", str(ports[2]), proxy],
    }
    processes: dict[str, subprocess.Popen[bytes]] = {}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        for name, command in commands.items():
            processes[name] = _start(command, environment)
        for name, url in (("proxy", f"{proxy}/healthz"), ("shop", f"{shop}/")):
            _wait_for(url, name, processes[name])
        click.echo(f"\n  Open the shop:  {click.style(shop + '/', bold=True, underline=True)}\n")
        click.echo(f"  proxy {proxy}   stand-in for Open Chat Studio {upstream}")
        click.echo("  Ctrl-C ends all three.")
        if open_browser:
            webbrowser.open(shop)
        return _watch(processes)
    except KeyboardInterrupt:
        click.echo("\n  Goodbye.")
        return 0
    except DemoFailed as error:
        click.echo(f"The demo cannot run: {error}", err=True)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave one of them behind
        _stop_all(processes)


class DemoFailed(Exception):
    """One of the three did not start, or ended."""


def _start(command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C in the terminal comes to us alone, and we end them in order.
    return subprocess.Popen(  # noqa: S603 # our own modules
        command, env=dict(environment), stdout=subprocess.DEVNULL, start_new_session=True
    )


def _wait_for(url: str, name: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoFailed(f"the {name} ended with code {process.returncode}; its message is above")
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 # our own loopback address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise DemoFailed(f"the {name} did not answer at {url} within {START_SECONDS:g} seconds")


def _watch(processes: Mapping[str, subprocess.Popen[bytes]]) -> int:
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                raise DemoFailed(f"the {name} ended with code {process.returncode}")
        time.sleep(0.25)


def _stop_all(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for process in processes.values():
        if process.poll() is None:
            process.terminate()
    for process in processes.values():
        try:
            process.wait(12)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(first: int) -> tuple[int, int, int]:
    """Three ports to listen on, `first` and the next ones where they are free."""
    chosen: list[int] = []
    candidate = first
    while len(chosen) < 3:
        if candidate > 65535:
            raise click.ClickException(f"there are no three free ports from {first} on. Name another with --port")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except OSError:
                pass
            else:
                chosen.append(candidate)
        candidate += 1
    return chosen[0], chosen[1], chosen[2]


if __name__ == "__main__":
    run_shop(int(sys.argv[1]), sys.argv[2])
