"""A reader of Server-Sent Events over a real socket, written from the standard and not from our encoder."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2


@dataclass(frozen=True, slots=True)
class Received:
    """One event as a client gets it."""

    name: str
    data: Any
    id: str | None


@dataclass(slots=True)
class Stream:
    """An open stream. `events` reads on; `seen` keeps what has been read."""

    response: httpx2.Response
    lines: Iterator[str]
    seen: list[Received] = field(default_factory=list)
    comments: int = 0
    retry: int | None = None

    def events(self) -> Iterator[Received]:
        """Events as they come, until the server ends the stream."""
        name, data, identity = "message", list[str](), None
        for line in self.lines:
            if not line:
                if data:
                    received = Received(name, json.loads("\n".join(data)), identity)
                    self.seen.append(received)
                    yield received
                name, data, identity = "message", [], None
                continue
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match key:
                case "":
                    self.comments += 1
                case "event":
                    name = value
                case "data":
                    data.append(value)
                case "id":
                    identity = value
                case "retry":
                    self.retry = int(value)

    def until(self, wanted: str | Callable[[Received], bool]) -> Received:
        """Read up to the first event of this name, or that fits; the stream's time-out bounds the wait."""
        for received in self.events():
            if received.name == wanted if isinstance(wanted, str) else wanted(received):
                return received
        raise AssertionError(f"the stream ended without {wanted}; it had {[one.name for one in self.seen]}")

    def named(self, name: str) -> list[Received]:
        """The events of this name read so far."""
        return [one for one in self.seen if one.name == name]

    @property
    def cursor(self) -> str | None:
        """The last id, as a client would send it back."""
        return next((one.id for one in reversed(self.seen) if one.id), None)


@contextmanager
def stream(client: httpx2.Client, path: str = "/v1/session/events", **options: Any) -> Iterator[Stream]:
    """Open a stream; it is closed, as a client leaving would, at the end of the block."""
    with client.stream("GET", path, **options) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield Stream(response, response.iter_lines())
