"""Who may call `/v1`: pages of the configured origins, and the proxy's own chat pages; and whoever has a link to a
file may follow it (`downloads`). The check runs before anything else does, and every answer to an allowed origin
carries the CORS headers, errors too; a widget that cannot read an error cannot explain it. Another API in front of
the same application has a door of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from widget_proxy.downloads import PATH as FILES
from widget_proxy.problems import Problem

PREFLIGHT_SECONDS = 7200
"""Chromium's upper bound for a cached preflight."""


def _refusal(origin: str | None) -> Problem:
    """What a request from nowhere, or from elsewhere, gets."""
    detail = (
        "The request names no Origin; it has to come from a page of an allowed website."
        if origin is None
        else "This page's origin is not in the list of allowed origins."
    )
    return Problem("origin_not_allowed", detail)


@dataclass(frozen=True, slots=True)
class Door:
    """One API: where it is, who may call it, and what CORS lets a page send to it and read of it.

    `takes_referer`: whether a request without `Origin` may name its page in `Referer` instead, as programs do that
    are no browsers. It then counts as its origin. `answer` puts a refusal into the API's own shape.
    """

    prefix: str
    allows: Callable[[str], bool]
    own_origin: Callable[[Scope], str | None] = lambda scope: None
    headers: str = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID"
    exposed: str = "RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
    answer: Callable[[Problem, str | None], Response] = lambda problem, origin: problem.response()
    takes_referer: bool = False

    def origin(self, scope: Scope) -> tuple[Scope, str | None]:
        """Where a request comes from, and the request with that in its `Origin`; None for nowhere that may call."""
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        origin = origins[0].decode("latin-1") if len(origins) == 1 else None
        if origins:
            return scope, origin
        own = self.own_origin(scope)
        if own is not None and _is_from(own, scope):
            origin = own
        elif self.takes_referer:
            origin = _referring_origin(scope)
        if origin is not None:
            scope = {**scope, "headers": [*scope["headers"], (b"origin", origin.encode("latin-1"))]}
        return scope, origin


class BrowserGate:
    """ASGI middleware around the whole application, so that no error handler is outside of it. `refused` hears of
    each request that is not let in."""

    def __init__(
        self,
        app: ASGIApp,
        *doors: Door,
        refused: Callable[[Scope, Problem], None] = lambda scope, problem: None,
    ) -> None:
        self._app = app
        self._doors = doors
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        door = next((one for one in self._doors if path.startswith(one.prefix)), None)
        # A link that is followed names no origin, and no page is to read what is behind it: no CORS headers either.
        if scope["type"] != "http" or door is None or path.startswith(FILES):
            await self._app(scope, receive, send)
            return
        scope, origin = door.origin(scope)
        if origin is None or not (door.allows(origin) or origin == door.own_origin(scope)):
            problem = _refusal(origin)
            self._refused(scope, problem)
            refusal = door.answer(problem, origin)
            refusal.headers["Vary"] = "Origin"
            await refusal(scope, receive, send)
            return
        names = {name for name, _ in scope["headers"]}
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in names:
            await _preflight(door, origin, send)
            return

        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Expose-Headers"] = door.exposed
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


def _referring_origin(scope: Scope) -> str | None:
    """The origin of the one page that `Referer` names. Whether it is one to be let in is for others to say."""
    pages = [value.decode("latin-1") for name, value in scope["headers"] if name == b"referer"]
    try:
        parts = urlsplit(pages[0]) if len(pages) == 1 else None
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}" if parts is not None and parts.netloc else None


async def _preflight(door: Door, origin: str, send: Send) -> None:
    headers = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", door.headers.encode()),
        (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        (b"vary", b"Origin"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
