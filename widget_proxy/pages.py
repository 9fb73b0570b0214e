"""Pages for people: what runs here, and the tag to paste."""

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from widget_proxy import __version__
from widget_proxy.assets import asset_directory
from widget_proxy.config import Settings

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Pages:
    """The front page and the liveness probe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._templates = Environment(
            loader=FileSystemLoader(asset_directory("templates")), autoescape=True, undefined=StrictUndefined
        )

    def routes(self) -> list[Route]:
        """The routes of the pages."""
        return [
            Route("/", self.front, methods=["GET"]),
            Route("/healthz", self.healthz, methods=["GET"]),
        ]

    async def front(self, request: Request) -> Response:
        """Which sites are served here, and the tag for each."""
        base = self._settings.server.public_url or str(request.base_url).rstrip("/")
        page = self._templates.get_template("front.html").render(
            base=base.rstrip("/"), sites=list(self._settings.sites.values()), version=__version__
        )
        return HTMLResponse(page, headers=_HEADERS)

    async def healthz(self, request: Request) -> Response:
        """Alive: the process answers. Nothing else is asked."""
        return JSONResponse({"status": "ok", "version": __version__}, headers={"Cache-Control": "no-store"})
