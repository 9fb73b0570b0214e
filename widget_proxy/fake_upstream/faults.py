"""Faults that tests order: which call, how often, what happens. An ASGI application cannot reset a connection or send
a broken status line; ending an answer before its announced length makes the server close it, which is as near."""

import gzip
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

HUGE = 1_000_000_000


@dataclass(slots=True)
class Fault:
    """One order. `kind` is a request's kind or `any`; `times` None: until cleared; `session`: of this one only.

    `fault`: `status` (with `body`, `content_type`, `headers`) · `delay` and `hang` (for `seconds`; a delay goes on
    after it) · `drip` (a byte a second) · `reset` (cut in the middle) · `malformed` · `wrong_types` · `huge` ·
    `gzip_bomb` · `close_after_accept` (the request is acted on, and its answer never comes).
    """

    kind: str
    fault: str
    times: int | None = 1
    session: str | None = None
    status: int = 500
    body: str = "<h1>Server Error (500)</h1>"
    content_type: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 30.0

    def fits(self, kind: str, session: str | None) -> bool:
        """Whether it strikes this request."""
        return self.kind in {"any", kind} and self.session in {None, session} and self.times != 0


class Faults:
    """The orders, first come first served."""

    def __init__(self) -> None:
        self.ordered: list[Fault] = []

    def take(self, kind: str, session: str | None) -> Fault | None:
        """The fault that strikes this request, if any; it is used up by one."""
        for fault in self.ordered:
            if fault.fits(kind, session):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


class Broken:
    """An answer that is none, as an ASGI application."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match self._fault.fault:
            case "malformed":
                await _whole(send, b'{"messages": [{"role": "assi')
            case "wrong_types":
                await _whole(send, b'{"messages": 7, "task_id": [], "session_id": {}, "status": 1, "message": true}')
            case "gzip_bomb":
                await _whole(send, gzip.compress(b"0" * 50_000_000), [(b"content-encoding", b"gzip")])
            case "huge":
                await _begin(send, HUGE)
                for _ in range(64):
                    await send({"type": "http.response.body", "body": b" " * 1_000_000, "more_body": True})
                raise ConnectionAbortedError("ordered: huge")
            case _:  # reset, close_after_accept
                if self._fault.fault == "reset":
                    await _begin(send, 100)
                    await send({"type": "http.response.body", "body": b'{"task', "more_body": True})
                else:
                    # Announced and never sent: the server closes the connection.
                    await _begin(send, 100)
                raise ConnectionAbortedError(f"ordered: {self._fault.fault}")


class Dripping:
    """A byte a second, for as long as the client stays."""

    def __init__(self, fault: Fault, sleep: object) -> None:
        self._fault = fault
        self._sleep = sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _begin(send, 1000)
        for _ in range(int(self._fault.seconds)):
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await self._sleep(1.0)  # type: ignore[operator] # an awaitable sleep, from the settings
        raise ConnectionAbortedError("ordered: drip")


async def _begin(send: Send, length: int) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _whole(send: Send, body: bytes, more: list[tuple[bytes, bytes]] | None = None) -> None:
    headers = [(b"content-type", b"application/json"), *(more or [])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
