"""Serves the official widget as a CDN would, and Open Chat Studio's API behind it, to pages of any origin."""

import gzip
import json
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.local_server import LocalServer

PACKAGES = Path(__file__).parent.parent / "node_modules"
NEWEST = "open-chat-studio-widget"


def version(package: str = NEWEST) -> str:
    """The package's version. Older ones are installed beside the newest, under names of their own."""
    found: str = json.loads((PACKAGES / package / "package.json").read_text())["version"]
    return found


class OfficialWidget(LocalServer):
    """Its files, gzipped once and at best, and its API, passed on to `upstream_url`."""

    def __init__(self, upstream_url: str, package: str = NEWEST) -> None:
        scripts = (PACKAGES / package / "dist/open-chat-studio-widget").glob("*.js")
        files = {f"/{path.name}": gzip.compress(path.read_bytes(), 9) for path in scripts}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path in files:
                    kind = {"Content-Type": "text/javascript", "Content-Encoding": "gzip"}
                    self._answer(200, files[self.path], kind | {"Cache-Control": "public, max-age=31536000"})
                else:
                    self._pass_on(None)

            def do_POST(self) -> None:
                self._pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def do_OPTIONS(self) -> None:
                allowed = {"Access-Control-Allow-Methods": "GET, POST", "Access-Control-Max-Age": "86400"}
                asked = self.headers.get("Access-Control-Request-Headers", "")
                self._answer(200, b"", allowed | {"Access-Control-Allow-Headers": asked})

            def _pass_on(self, body: bytes | None) -> None:
                names = ("Content-Type", "Origin", "X-Embed-Key", "X-OCS-Widget-Version")
                headers = {name: self.headers[name] for name in names if name in self.headers}
                request = urllib.request.Request(upstream_url + self.path, body, headers)  # noqa: S310 # a local one
                try:
                    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                        self._answer(response.status, response.read(), {"Content-Type": "application/json"})
                except urllib.error.HTTPError as refused:
                    self._answer(refused.code, refused.read(), {"Content-Type": "application/json"})

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"Access-Control-Allow-Origin": "*", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 # its name there
                """Silent."""

        super().__init__(Handler)
