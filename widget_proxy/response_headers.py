"""What every answer tells a browser about itself, unless its endpoint knows better."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DEFAULTS = (
    # Nothing here but the pages is a document, and those have a policy of their own.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    # Whoever may read an answer by CORS may do so all the same; this is about pages that embed without asking.
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class ResponseHeaders:
    """Adds the headers that an answer does not have yet."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_defaults(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message.get("headers", ())}
                message["headers"] = [
                    *message.get("headers", ()),
                    *(header for header in _DEFAULTS if header[0] not in own),
                ]
            await send(message)

        await self._app(scope, receive, send_with_defaults)
