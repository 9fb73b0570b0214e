"""The widget's files, read once and compressed once: what is served is what is written in `static/`."""

import base64
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from widget_proxy import __version__
from widget_proxy.problems import Problem

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}

_CACHE = "public, max-age=300, stale-while-revalidate=86400"
_CACHE_FOR_EVER = "public, max-age=31536000, immutable"


def asset_directory(name: str) -> Path:
    """Where `static`, `templates` or `examples/shop` is: in the package when installed from a wheel, else at the top
    of the checkout."""
    packaged = Path(__file__).parent / name
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / name


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, ready to send."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str
    integrity: str

    @classmethod
    def read(cls, path: Path) -> "Asset":
        content = path.read_bytes()
        return cls(
            content=content,
            compressed=gzip.compress(content, 9, mtime=0),
            media_type=_TYPES[path.suffix],
            etag=f'"{hashlib.sha256(content).hexdigest()[:20]}"',
            integrity=f"sha384-{base64.b64encode(hashlib.sha384(content).digest()).decode()}",
        )

    async def respond(self, request: Request) -> Response:
        """The answer for the file's own address."""
        return self.response(request, _CACHE)

    def response(self, request: Request, cache: str) -> Response:
        """The file, or that it has not changed."""
        headers = {
            "Cache-Control": cache,
            "ETag": self.etag,
            "Vary": "Accept-Encoding",
            # Modules of another origin need CORS, and pages with COEP need CORP. Nothing in the files is private.
            "Access-Control-Allow-Origin": "*",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        if self.etag in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(self.compressed, headers=headers, media_type=self.media_type)
        return Response(self.content, headers=headers, media_type=self.media_type)


def widget_loader() -> Asset:
    """The one file that a page names."""
    return Asset.read(asset_directory("static") / "widget.js")


def languages() -> list[str]:
    """The languages the widget itself speaks, English first."""
    found = sorted(path.stem for path in (asset_directory("static") / "widget/languages").glob("*.json"))
    return ["en", *(code for code in found if code != "en")]


def widget_routes() -> list[Route]:
    """A route for each file in `static/`, the modules and languages under `/widget/`; and the loader once more,
    under an address with its version in it, which is never another file."""
    directory = asset_directory("static")
    routes = []
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.suffix in _TYPES:
            asset = Asset.read(path)
            routes.append(Route("/" + path.relative_to(directory).as_posix(), asset.respond, methods=["GET"]))
    loader = widget_loader()

    async def pinned(request: Request) -> Response:
        if request.path_params["version"] != __version__:
            raise Problem(
                "not_found",
                f"The page pins another version of the widget than {__version__}, which runs here. Copy its tag anew "
                "from this server's front page, or name /widget.js, which is always the running one.",
                headers={"Access-Control-Allow-Origin": "*"},
            )
        return loader.response(request, _CACHE_FOR_EVER)

    return [*routes, Route("/widget@{version}.js", pinned, methods=["GET"])]
