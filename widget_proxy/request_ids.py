"""Each request has an id, so that a visitor's error and the lines of the log about it are found from each other."""

import re
import secrets

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-Id"

# Ids of the usual kinds. Others would be a way to write into the log.
_SHAPE = re.compile(r"[A-Za-z0-9._:-]{8,64}")


class RequestIds:
    """Takes the id that the server in front gave (`X-Request-Id`), or makes one; puts it on the answer, and on each
    line that is logged meanwhile, as `request_id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _SHAPE.fullmatch(given) else secrets.token_hex(8)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_with_id)
