"""Server-Sent Events: a session's log, from a cursor, for as long as the reader stays.

An open stream is one task that waits for its reader to leave, and an entry in a list; what there is to write when the
log rings is written in batches with what others have, and heartbeats are one timer for all. sse-starlette encodes the
events and tells when the server is to exit; its response runs four tasks a stream, which cost more than everything
else here together.
"""

import json
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from itertools import chain, count

import anyio
from sse_starlette import ServerSentEvent
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from widget_proxy.broker import KEPT_EVENTS, Broker, BrokerUnavailable, Entry, Subscription
from widget_proxy.client_address import visitor_who
from widget_proxy.drain import until_exit
from widget_proxy.handles import AwaitedTask, ChatSession
from widget_proxy.hub import Hub
from widget_proxy.messages import ready_event
from widget_proxy.metrics import Metrics
from widget_proxy.problems import Problem
from widget_proxy.stream_writers import SLOW_SECONDS, StreamWriters, Writer

logger = logging.getLogger(__name__)

RETRY_MILLISECONDS = (1000, 3000)
"""After a broken stream a reader waits somewhere in between, so that they do not all return at once."""

BEATS = 15
"""Parts in which heartbeats go out, so that ten thousand are not written at one moment."""

CHUNK_BYTES = 65_536
"""A replay goes out in pieces of about this size."""

FIRST_READING_SECONDS = 10.0
"""How long whoever wants a transcript waits for upstream's history where it has not been read yet."""

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
)
_HEARTBEAT = b":\n\n"


def to_replay(backlog: Sequence[Entry], replay_from: int, awaited: Collection[str]) -> list[Entry]:
    """What a reader needs of the log: messages and ends from its cursor on, the end of each answer it still awaits
    wherever that is, and of the fleeting events only what holds now. Pure."""
    finished = {entry.event.data["task"] for entry in backlog if entry.event.name == "done"}
    last_progress = {
        entry.event.data["task"]: position for position, entry in enumerate(backlog) if entry.event.name == "progress"
    }
    last_of = {entry.event.name: position for position, entry in enumerate(backlog)}
    chosen = []
    for position, entry in enumerate(backlog):
        data = entry.event.data
        match entry.event.name:
            case "message":
                wanted = position >= replay_from
            case "done":
                wanted = position >= replay_from or data["task"] in awaited
            case "progress":
                wanted = last_progress[data["task"]] == position and data["task"] not in finished
            case "session":
                wanted = last_of["session"] == position
            case "notice":
                answered = last_of.get("message", -1) > position  # whoever published it may be gone
                wanted = last_of["notice"] == position and data["code"] != "restored" and not answered
            case _:
                wanted = False
        if wanted:
            chosen.append(entry)
    return chosen


async def is_ready(broker: Broker, session: ChatSession, backlog: Sequence[Entry]) -> bool:
    """Whether all that upstream has told is in the log."""
    if any(entry.event.name == "ready" for entry in backlog):
        return True
    if len(backlog) < KEPT_EVENTS:
        return False
    # It was trimmed from a long log, or is not yet said.
    return await broker.is_published(session.key, ready_event().identity or "")


async def first_reading(broker: Broker, session: ChatSession) -> None:
    """Wait until all that upstream has told is in the log, for a while. Somebody has to listen to the session."""
    async with broker.subscribe(session.key, None) as subscription:
        if await is_ready(broker, session, subscription.backlog):
            return
        with anyio.move_on_after(FIRST_READING_SECONDS):
            async for entry in subscription.live():
                if entry.event.name == "ready":
                    return


class Streams:
    """All open streams of this process. Run `run` beside the application."""

    def __init__(
        self,
        hub: Hub,
        broker: Broker,
        *,
        heartbeat: float,
        most: int,
        most_per_session: int,
        most_per_address: int,
        metrics: Metrics | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.metrics = metrics or Metrics()
        self.hub = hub
        self.broker = broker
        self.draining = False
        self._heartbeat = heartbeat
        self.most = most
        self._most_per_session = most_per_session
        self._most_per_address = most_per_address
        self._chance = chance
        self._open: dict[EventStream, set[EventStream]] = {}  # to the part it has its heartbeats with
        self._parts: list[set[EventStream]] = [set() for _ in range(BEATS)]
        self._opened = count()
        self._per_session: Counter[str] = Counter()
        self._per_address: Counter[str | None] = Counter()
        self._writers: StreamWriters | None = None

    def session(self, session: ChatSession, cursor: str | None, tasks: Sequence[AwaitedTask]) -> "EventStream":
        """The stream of a session."""
        return EventStream(self, session, cursor, tasks)

    def task(self, session: ChatSession, task: AwaitedTask) -> "EventStream":
        """The stream of one answer; it ends with the answer."""
        return EventStream(self, session, None, (task,), only=task.ref)

    async def run(self) -> None:
        """For ever: heartbeats, and the end of every stream once the server is to exit, with a last event on each."""
        async with anyio.create_task_group() as group:
            self._writers = StreamWriters(group, self.metrics.streams_written)
            group.start_soon(self._beat)
            await until_exit()
            self.draining = True
            self.broker.close_subscribers()

    async def _beat(self) -> None:
        while True:
            for part in self._parts:
                await anyio.sleep(self._heartbeat / BEATS)
                for stream in tuple(part):
                    stream.beat()

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    @property
    def full(self) -> bool:
        """Whether no more may be opened."""
        return len(self._open) >= self.most

    def enter(self, stream: "EventStream") -> None:
        """Count a stream in. Raises `Problem` where there are too many."""
        key = stream.session.key
        if self.draining or self.full:
            if not self.draining:
                logger.warning("%d streams are open, as many as server.streams allows", len(self._open))
            raise Problem("unavailable", "There are too many visitors just now.", headers=self._try_again())
        if self._per_session[key] >= self._most_per_session:
            raise Problem("too_many_requests", "This conversation is open too many times.", headers=self._try_again())
        if stream.visitor is not None and self._per_address[stream.visitor] >= self._most_per_address:
            raise Problem("too_many_requests", "Too much is open from your network.", headers=self._try_again())
        self.metrics.stream_opened()
        part = self._open[stream] = self._parts[next(self._opened) % BEATS]
        part.add(stream)
        self._per_session[key] += 1
        self._per_address[stream.visitor] += 1

    def leave(self, stream: "EventStream") -> None:
        """Undoes `enter`."""
        self._open.pop(stream).discard(stream)
        key = stream.session.key
        self._per_session[key] -= 1
        if not self._per_session[key]:
            del self._per_session[key]
        self._per_address[stream.visitor] -= 1
        if not self._per_address[stream.visitor]:
            del self._per_address[stream.visitor]

    def keep(self, sites: Collection[str]) -> None:
        """End the streams of all other sites. Whoever comes back is told that there is none."""
        for stream in [one for one in self._open if one.session.site not in sites]:
            stream.end()

    def write(self, writer: Writer) -> None:
        """Run a stream's writer."""
        if self._writers is None:
            raise RuntimeError("streams are not running: run `Streams.run` beside the application")
        self._writers.add(writer)

    def retry(self) -> bytes:
        """Tells a reader how long to wait before it comes back."""
        shortest, longest = RETRY_MILLISECONDS
        return ServerSentEvent(retry=int(shortest + (longest - shortest) * self._chance()), sep="\n").encode()

    def _try_again(self) -> dict[str, str]:
        return {"Retry-After": str(2 + int(8 * self._chance()))}


class EventStream(Response):
    """One open stream, as an ASGI response. `only`: events of this task, to its end."""

    def __init__(
        self,
        streams: Streams,
        session: ChatSession,
        cursor: str | None,
        tasks: Sequence[AwaitedTask],
        only: str | None = None,
    ) -> None:
        # Not the base's: it would keep a body, and headers of each stream's own.
        self.session = session
        self.visitor: str | None = None
        self._streams = streams
        self._cursor = cursor
        self._tasks = tasks
        self._only = only
        self._send: Send | None = None
        self._subscription: Subscription | None = None
        self._scope = anyio.CancelScope()
        self._writing = self._over = self._ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": list(_HEADERS)}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        self.visitor = visitor_who(scope)
        self._streams.enter(self)
        try:
            async with self._streams.broker.subscribe(self.session.key, self._cursor) as subscription:
                await send(start)
                await self._stay(subscription, receive, send)
        finally:
            self._streams.leave(self)

    async def _stay(self, subscription: Subscription, receive: Receive, send: Send) -> None:
        self._send = send
        # Only with somebody there to read: a response that never runs leaves no listener behind.
        listening = self._streams.hub.listen(self.session) if self._only is None else None
        try:
            with self._scope:
                for task in self._tasks:
                    await self._streams.hub.await_answer(self.session, task)
                await self._replay(subscription)
                self._subscription = subscription
                subscription.on_change(self._ring)
                while (await receive())["type"] != "http.disconnect":
                    pass
        finally:
            self._subscription = None
            if listening is not None:
                self._streams.hub.listen_no_more(listening)

    def end(self) -> None:
        """End it as soon as what is being written is."""
        self._ending = True
        self._ring()

    def beat(self) -> None:
        """Send a heartbeat, unless something is being written anyway."""
        if self._subscription is not None and not self._writing:
            self._writing = True
            self._streams.write(self._write_heartbeat)

    async def _replay(self, subscription: Subscription) -> None:
        backlog = subscription.backlog
        try:
            ready = await is_ready(self._streams.broker, self.session, backlog)
        except BrokerUnavailable:
            ready = False
        entries = to_replay(backlog, subscription.replay_from, {task.ref for task in self._tasks})
        last_ready = [Entry(backlog[-1].cursor, ready_event())] if ready else []
        # In one piece with what there is to tell: each write is a system call, and most streams open with little.
        for chunk in _chunks(chain([self._streams.retry()], self._wires([*entries, *last_ready]))):
            await self._patiently(self._write(chunk))
        subscription.backlog = ()
        self._tasks = ()
        if self._over or self._ending:
            await self._patiently(self._finish())

    def _wires(self, entries: Sequence[Entry]) -> Iterator[bytes]:
        """The entries this stream tells, encoded, up to the one that ends it."""
        for entry in entries:
            event = entry.event
            if self._over or (self._only is not None and event.data.get("task") != self._only):
                continue
            yield _wire(entry)
            if self._only is not None:
                self._over = event.name == "done"
            elif event.name == "session" and event.data["status"] == "expired":
                self._over = True

    def _ring(self) -> None:
        if not self._writing and self._subscription is not None:
            self._writing = True
            self._streams.write(self._write_news)

    async def _write_news(self) -> None:
        await self._guarded(self._tell_news())

    async def _write_heartbeat(self) -> None:
        await self._guarded(self._write(_HEARTBEAT))
        self._ring()  # what came meanwhile

    async def _guarded(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        except anyio.get_cancelled_exc_class():
            if not self._streams.draining:
                self._drop_slow()
            raise
        except Exception:  # one stream's fault must not take the others with it
            logger.exception("session %s: writing to a stream failed", self.session.key)
            self._leave()
        finally:
            self._writing = False

    async def _tell_news(self) -> None:
        while (subscription := self._subscription) is not None:
            entries = subscription.take()
            for chunk in _chunks(self._wires(entries)):
                await self._write(chunk)
            if self._over or self._ending or subscription.closed:
                await self._finish()
                return
            if not entries:
                return

    async def _finish(self) -> None:
        """End the response: the reader comes back, unless it was told that all is said."""
        if self._send is not None:
            await self._send({"type": "http.response.body", "body": b"" if self._over else self._streams.retry()})
        self._leave()

    async def _write(self, chunk: bytes) -> None:
        if self._send is not None:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _patiently(self, writing: Awaitable[None]) -> None:
        """Write in the stream's own task, which no batch looks after."""
        with anyio.move_on_after(SLOW_SECONDS) as limit:
            await writing
        if limit.cancelled_caught:
            self._drop_slow()

    def _drop_slow(self) -> None:
        logger.warning("session %s: a reader took nothing for %g s and is dropped", self.session.key, SLOW_SECONDS)
        self._streams.metrics.stream_dropped()
        self._leave()

    def _leave(self) -> None:
        self._send = None
        self._scope.cancel()

    __hash__ = object.__hash__


def _chunks(wires: Iterator[bytes]) -> Iterator[bytes]:
    """Joined to pieces of about `CHUNK_BYTES`."""
    parts: list[bytes] = []
    size = 0
    for wire in wires:
        parts.append(wire)
        size += len(wire)
        if size >= CHUNK_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def _wire(entry: Entry) -> bytes:
    """The event as it goes down the socket; made once for all who read it."""
    if entry.wire is None:
        event = entry.event
        data = {"cursor": entry.cursor} if event.name == "ready" else event.data
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        cursor = entry.cursor if event.name == "message" else None
        entry.wire = ServerSentEvent(text, event=event.name, id=cursor, sep="\n").encode()
    return entry.wire
