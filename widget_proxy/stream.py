"""Server-Sent Events: a session's log, from a cursor, for as long as the reader stays."""

import json
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent

from widget_proxy.broker import Broker, Entry
from widget_proxy.handles import AwaitedTask, ChatSession
from widget_proxy.hub import Hub

RETRY_MILLISECONDS = (1000, 3000)
"""After a broken stream a reader waits somewhere in between, so that they do not all return at once."""

SEND_SECONDS = 30.0
"""A reader that takes nothing for this long is dropped; it resumes from its cursor."""


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
                wanted = last_of["notice"] == position and data["code"] != "restored"
            case _:
                wanted = False
        if wanted:
            chosen.append(entry)
    return chosen


class Streams:
    """Makes the streaming answers. `drain` is set when the process is told to go."""

    def __init__(
        self, hub: Hub, broker: Broker, heartbeat: float, chance: Callable[[], float] = random.random
    ) -> None:
        self._hub = hub
        self._broker = broker
        self._heartbeat = heartbeat
        self._chance = chance
        self.drain = anyio.Event()

    def session(self, session: ChatSession, cursor: str | None, tasks: Sequence[AwaitedTask]) -> EventSourceResponse:
        """The stream of a session."""
        return self._response(self._session_events(session, cursor, tasks))

    def task(self, session: ChatSession, task: AwaitedTask) -> EventSourceResponse:
        """The stream of one answer; it ends with the answer."""
        return self._response(self._task_events(session, task))

    async def close_on_drain(self) -> None:
        """Ends every stream once `drain` is set, with a last event on each. Run it beside the application."""
        await self.drain.wait()
        self._broker.close_subscribers()

    async def _session_events(
        self, session: ChatSession, cursor: str | None, tasks: Sequence[AwaitedTask]
    ) -> AsyncIterator[ServerSentEvent]:
        yield self._retry()
        # Within the generator: a response that never runs must not leave a watcher behind.
        async with self._hub.watch(session), self._broker.subscribe(session.key, cursor) as subscription:
            for task in tasks:
                await self._hub.await_answer(session, task)
            backlog = subscription.backlog
            for entry in to_replay(backlog, subscription.replay_from, {task.ref for task in tasks}):
                yield _encode(entry)
            if any(entry.event.name == "ready" for entry in backlog):
                yield _ready(backlog[-1])
            async for entry in subscription.live():
                yield _ready(entry) if entry.event.name == "ready" else _encode(entry)
                if entry.event.name == "session" and entry.event.data["status"] == "expired":
                    break
        yield self._retry()

    async def _task_events(self, session: ChatSession, task: AwaitedTask) -> AsyncIterator[ServerSentEvent]:
        async with self._broker.subscribe(session.key, None) as subscription:
            await self._hub.await_answer(session, task)
            for entry in to_replay(subscription.backlog, 0, {task.ref}):
                if entry.event.data.get("task") == task.ref:
                    yield _encode(entry)
                    if entry.event.name == "done":
                        return
            async for entry in subscription.live():
                if entry.event.data.get("task") == task.ref:
                    yield _encode(entry)
                    if entry.event.name == "done":
                        return
        yield self._retry()

    def _response(self, events: AsyncIterator[ServerSentEvent]) -> EventSourceResponse:
        return EventSourceResponse(
            events,
            headers={"Cache-Control": "no-store, no-transform", "X-Content-Type-Options": "nosniff"},
            ping=self._heartbeat,
            ping_message_factory=lambda: ServerSentEvent(comment="", sep="\n"),
            sep="\n",
            send_timeout=SEND_SECONDS,
            shutdown_event=self.drain,
            shutdown_grace_period=5,
        )

    def _retry(self) -> ServerSentEvent:
        shortest, longest = RETRY_MILLISECONDS
        return ServerSentEvent(retry=int(shortest + (longest - shortest) * self._chance()), sep="\n")


def _encode(entry: Entry) -> ServerSentEvent:
    event = entry.event
    data = json.dumps(event.data, ensure_ascii=False, separators=(",", ":"))
    return ServerSentEvent(data, event=event.name, id=entry.cursor if event.name == "message" else None, sep="\n")


def _ready(entry: Entry) -> ServerSentEvent:
    return ServerSentEvent(json.dumps({"cursor": entry.cursor}), event="ready", sep="\n")
