"""Pages for people: the sites with a tag to build and copy, and the chat as a page of its own."""

import io
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import segno
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from widget_proxy import __version__
from widget_proxy.api import about
from widget_proxy.assets import asset_directory, languages, widget_loader
from widget_proxy.config import CurrentSettings, Look, Settings, Site
from widget_proxy.config.context_schema import DocumentedKey
from widget_proxy.own_origin import chat_origin, request_origin, shown_origin
from widget_proxy.problems import Problem

_HEADERS = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Robots-Tag": "noindex",
}

# Each page names what it needs beyond this; nothing runs or styles that is not a file of ours.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}


class Pages:
    """The front page and the full-page chat."""

    def __init__(self, current: CurrentSettings) -> None:
        self._current = current
        self._templates = Environment(
            loader=FileSystemLoader(asset_directory("templates")), autoescape=True, undefined=StrictUndefined
        )
        self._integrity = widget_loader().integrity
        self._languages = languages()

    @property
    def _settings(self) -> Settings:
        return self._current.settings

    def routes(self) -> list[Route]:
        """The routes of the pages that are switched on. The chat's is there in any case: people may have its link."""
        routes = [
            Route("/sites/{site}/chat", self.chat, methods=["GET"]),
            Route("/sites/{site}/qr.svg", self.qr_code, methods=["GET"]),
        ]
        if self._settings.pages.front:
            routes += [
                Route("/", self.front, methods=["GET"]),
                Route("/sites/{site}/preview", self.preview, methods=["GET"]),
            ]
        if self._settings.server.metrics_token is not None:
            routes.append(Route("/status", self.status, methods=["GET"]))
        return routes

    async def front(self, request: Request) -> Response:
        """The sites, and the tag of one of them to build and copy: the first, or `?site=`."""
        sites = self._settings.sites
        site = sites.get(request.query_params.get("site", next(iter(sites))))
        if site is None:
            return self._missing()
        return self._page(
            "front.html",
            {"frame-src": "'self'"},
            base=_origin(shown_origin(self._settings, request.scope)),
            chat=self._chat_address(request, site),
            chat_is_on=self._settings.pages.chat,
            chosen=_chosen(site),
            context_keys=_context_keys(site),
            integrity=self._integrity,
            languages=self._languages,
            site=site,
            sites=list(sites.values()),
            standard=_standard(site),
        )

    async def preview(self, request: Request) -> Response:
        """An empty page with the real widget on it. It has no origin of its own (`sandbox`), may fetch nothing but
        the widget's files and images, and answers what the widget asks by itself: no message goes anywhere."""
        site = self._settings.sites.get(request.path_params["site"])
        if site is None:
            return self._missing()
        return self._page(
            "preview.html",
            {
                "connect-src": f"{_origin(request_origin(request.scope))}/widget/",
                "img-src": "'self' blob: data: https:",  # the owner's own, as an icon
                "frame-ancestors": "'self'",
                "sandbox": "allow-scripts allow-forms",  # without forms, no `submit` event
            },
            site=site,
            about=about(site),
        )

    async def chat(self, request: Request) -> Response:
        """The chat and nothing else, for a link or a QR code."""
        site = self._settings.sites.get(request.path_params["site"])
        if site is None or self._chat_address(request, site) is None:
            return self._missing()
        images = ["'self'", "blob:", "data:", *(host.source for host in site.image_hosts)]
        sources = ["'self'"]
        if site.look.translations_url is not None:
            sources.append("https://" + urlsplit(site.look.translations_url).netloc)
        return self._page(
            "chat.html",
            {"connect-src": " ".join(sources), "img-src": " ".join(images)},
            # The gate knows this page by it.
            {"Referrer-Policy": "same-origin"},
            site=site,
        )

    async def status(self, request: Request) -> Response:
        """How the proxy is doing. The page is empty: its figures are for who types the token."""
        return self._page("status.html", {"connect-src": "'self'"})

    async def qr_code(self, request: Request) -> Response:
        """The full-page chat's address, to print and to scan."""
        site = self._settings.sites.get(request.path_params["site"])
        address = None if site is None else self._chat_address(request, site)
        if address is None:
            raise Problem("not_found", "There is no such chat page.")
        drawn = io.BytesIO()
        code = segno.make(address, error="m", micro=False)
        code.save(drawn, kind="svg", scale=8, dark="#000", light="#fff", title=address, nl=False)
        return Response(drawn.getvalue(), headers=_HEADERS, media_type="image/svg+xml")

    def _chat_address(self, request: Request, site: Site) -> str | None:
        origin = chat_origin(self._settings, request.scope)
        # On a page of ours nobody has a token.
        return None if origin is None or site.takes_tokens == "required" else f"{origin}/sites/{site.slug}/chat"

    def _missing(self) -> Response:
        return self._page("missing.html", status=404)

    def _page(
        self,
        template: str,
        policy: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        status: int = 200,
        **values: Any,
    ) -> Response:
        text = self._templates.get_template(template).render(version=__version__, **values)
        directives = "; ".join(f"{name} {value}" for name, value in (_POLICY | dict(policy or {})).items())
        sent = _HEADERS | {"Content-Security-Policy": directives}
        return HTMLResponse(text, status, {**sent, **(headers or {})})


def _origin(origin: str | None) -> str:
    if origin is None:
        raise Problem("bad_request", "The request's Host is not one this server can have.")
    return origin


def _standard(site: Site) -> dict[str, str | list[str]]:
    """What a tag without attributes makes of this site; the builder leaves these values out. The panel reads the
    site's configuration when it opens, the launcher is drawn before anything is asked."""
    look = {name.replace("_", "-"): _attribute(value) for name, value in site.look}
    return look | {
        "position": Look().position,
        "accent": Look().accent,
        "language": site.look.language or "en",
        "button-text": "",
        "button-label": "",
        "button-shape": "round",
        "icon-url": "",
        "show-button": "true",
        "visible": "false",
        "persistent-session": "true",
        "persistent-session-expire": "1440",
        "page-context": "auto",
        "background-stream": "false",
    }


def _context_keys(site: Site) -> list[DocumentedKey]:
    """What a page can tell the bot: the keys of the site's schema, and those it takes signed only."""
    keys = site.page_context_schema.documented() if site.page_context_schema else []
    named = {key.name for key in keys}
    return keys + [DocumentedKey(name, "", "", required=False) for name in site.signed_only if name not in named]


def _attribute(value: str | bool | tuple[str, ...] | None) -> str | list[str]:
    """What an attribute says to mean this; a list is written by the page."""
    if isinstance(value, bool):
        return str(value).lower()
    return list(value) if isinstance(value, tuple) else value or ""


def _chosen(site: Site) -> dict[str, str | list[str]]:
    """What the builder begins with: the site's own look."""
    look, name = site.look, site.texts.launcher
    return _standard(site) | {"position": look.position, "accent": look.accent.lower(), "button-label": name or ""}
