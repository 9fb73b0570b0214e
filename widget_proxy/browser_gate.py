"""Who may call `/v1`: pages of the configured origins, and the proxy's own chat pages; and whoever has a link to a
file may follow it (`downloads`). The check runs before anything else does, and every answer to an allowed origin
carries the CORS headers, errors too; a widget that cannot read an error cannot explain it."""

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from widget_proxy.downloads import PATH as FILES
from widget_proxy.problems import Problem

PREFLIGHT_SECONDS = 7200
"""Chromium's upper bound for a cached preflight."""

_METHODS = "GET, POST"
_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID"
_EXPOSED = "RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"


class BrowserGate:
    """ASGI middleware around the whole application, so that no error handler is outside of it. `refused` hears of
    each request that is not let in."""

    def __init__(
        self,
        app: ASGIApp,
        allows: Callable[[str], bool],
        own_origin: Callable[[Scope], str | None] = lambda scope: None,
        refused: Callable[[Scope, Problem], None] = lambda scope, problem: None,
    ) -> None:
        self._app = app
        self._allows = allows
        self._own_origin = own_origin
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A link that is followed names no origin, and no page is to read what is behind it: no CORS headers either.
        if scope["type"] != "http" or not scope["path"].startswith("/v1/") or scope["path"].startswith(FILES):
            await self._app(scope, receive, send)
            return
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        origin = origins[0].decode("latin-1") if len(origins) == 1 else None
        if not origins and (own := self._own_origin(scope)) is not None and _is_from(own, scope):
            origin = own
            scope = {**scope, "headers": [*scope["headers"], (b"origin", own.encode("latin-1"))]}
        if origin is None or not (self._allows(origin) or origin == self._own_origin(scope)):
            detail = (
                "The request names no Origin; it has to come from a page of an allowed website."
                if origin is None
                else "This page's origin is not in the list of allowed origins."
            )
            refusal = Problem("origin_not_allowed", detail, headers={"Vary": "Origin"})
            self._refused(scope, refusal)
            await refusal.response()(scope, receive, send)
            return
        names = {name for name, _ in scope["headers"]}
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in names:
            await _preflight(origin, send)
            return

        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Expose-Headers"] = _EXPOSED
                headers.add_vary_header("Origin")
            await send(message)

        await self._app(scope, receive, send_with_cors)


def _is_from(own: str, scope: Scope) -> bool:
    """Whether a page of `own` asks. Browsers put no `Origin` on a GET to the page's own server, but two other headers
    that no script can write. `Referer` names the page. `Sec-Fetch-Site` says only that it is of the server it asks,
    whatever that is called there: a name somebody else pointed here is not ours."""
    headers = Headers(scope=scope)
    site = headers.get("Sec-Fetch-Site")
    if site not in {None, "same-origin"}:
        return False
    if headers.get("Referer", "").startswith(f"{own}/"):
        return True
    return site is not None and headers.get("Host", "").lower() == urlsplit(own).netloc


async def _preflight(origin: str, send: Send) -> None:
    headers = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-methods", _METHODS.encode()),
        (b"access-control-allow-headers", _HEADERS.encode()),
        (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        (b"vary", b"Origin"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
