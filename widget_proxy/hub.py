"""Decides when upstream is asked, and publishes what it answers. One follower of the history a session, however many
streams; one follower an awaited answer. Nothing is polled for a session nobody watches and that awaits nothing.
"""

import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from widget_proxy.broker import Broker
from widget_proxy.config import PacingSettings, Site
from widget_proxy.handles import AwaitedTask, ChatSession, Handles
from widget_proxy.history import History
from widget_proxy.messages import (
    Event,
    Message,
    done_event,
    done_identity,
    message_key,
    notice_event,
    progress_event,
    ready_event,
    session_event,
)
from widget_proxy.pacing import AnswerRhythm, Throttle, backoff, clamp_retry_after, next_message_poll
from widget_proxy.upstream import (
    BadAnswer,
    Complete,
    Credentials,
    Failed,
    Processing,
    RequestRefused,
    SessionEnded,
    SessionLost,
    Started,
    UpstreamBusy,
    UpstreamClient,
    UpstreamError,
    UpstreamUnreachable,
)

logger = logging.getLogger(__name__)

FAILED_DETAIL = "The assistant could not answer this. Please try again."
TIMEOUT_DETAIL = "No answer came. Please try again."
EXPIRED_DETAIL = "This conversation has expired."

# Upstream stores an apology beside the error of a failed task; around the failure, by upstream's clock.
_APOLOGY_WINDOW = timedelta(seconds=30)


class Present(Protocol):
    """Turns a message into the event that visitors get; rendering happens once, here, before it is published."""

    def __call__(self, message: Message, key: str, task: str | None) -> Event: ...


@dataclass(slots=True)
class _Unexplained:
    """A failed task whose apology has not been seen in the history yet."""

    task: AwaitedTask
    failed: datetime


@dataclass(slots=True)
class _Record:
    """What the hub knows of a session while it is followed."""

    session: ChatSession
    watchers: int = 0
    changed: anyio.Event = field(default_factory=anyio.Event)
    history: History = field(default_factory=History)
    follows_history: bool = False
    tasks: dict[str, AwaitedTask] = field(default_factory=dict)
    unexplained: list[_Unexplained] = field(default_factory=list)
    over: bool = False
    troubled: bool = False

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class Hub:
    """Open it with `async with`: whatever it started ends with that scope.

    `client_of` and `site_of` find a session's upstream and its site; `clock` is monotonic seconds, `now` wall time,
    `chance` draws a number from 0 up to 1.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        handles: Handles,
        pacing: PacingSettings,
        site_of: Callable[[str], Site],
        client_of: Callable[[Site], UpstreamClient],
        present: Present,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._broker = broker
        self._handles = handles
        self._pacing = pacing
        self._rhythm = AnswerRhythm(
            pacing.answer_poll_shortest, pacing.answer_poll_longest, pacing.answer_poll_growth
        )
        self._site_of = site_of
        self._client_of = client_of
        self._present = present
        self._clock = clock
        self._now = now
        self._chance = chance
        self._throttles: dict[str, Throttle] = {}
        self._records: dict[str, _Record] = {}
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> "Hub":
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> bool | None:
        if self._group is None:
            return None
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(*exception)

    # What visitors ask for

    async def start(
        self,
        site: Site,
        *,
        origin: str,
        page_url: str,
        page_context: Mapping[str, Any] | None = None,
        participant_id: str | None = None,
        participant_name: str | None = None,
        session_data: Mapping[str, Any] | None = None,
    ) -> tuple[ChatSession, Started, AwaitedTask | None]:
        """Start a session; with it, on instances that have one, the bot's first message in the making."""
        started = await self._client_of(site).start(
            chatbot_id=str(site.chatbot_id),
            embed_key=site.embed_key.get_secret_value(),
            origin=origin,
            page_url=page_url,
            page_context=page_context,
            participant_id=participant_id,
            participant_name=participant_name,
            session_data=session_data,
        )
        moment = self._now().replace(microsecond=0)
        session = ChatSession(site.slug, started.session_id, started.token, origin, moment)
        seed = None
        if started.seed_task_id is not None:
            seed = self._handles.seal_task(session, started.seed_task_id, moment)
            await self.await_answer(session, seed)
        return session, started, seed

    async def send(
        self,
        session: ChatSession,
        message: str,
        *,
        context: Mapping[str, Any] | None = None,
        attachment_ids: Sequence[int] = (),
    ) -> AwaitedTask:
        """Send a visitor's message, once, and await its answer."""
        try:
            task_id = await self._client(session).send(
                self._credentials(session), message, context=context, attachment_ids=attachment_ids
            )
        except UpstreamBusy as error:
            self._slow_down(session, error)
            raise
        except SessionLost:
            await self._end(session, "expired")
            raise
        except SessionEnded:
            await self._end(session, "ended")
            raise
        task = self._handles.seal_task(session, task_id, self._now())
        await self.await_answer(session, task)
        return task

    async def await_answer(self, session: ChatSession, task: AwaitedTask) -> None:
        """Follow a task to its end, unless it is followed already or its end is known."""
        if await self._broker.is_published(session.key, done_identity(task.ref)):
            return
        record = self._record(session)
        if task.task_id not in record.tasks:
            record.tasks[task.task_id] = task
            self._start(self._follow_answer, record, task)

    @asynccontextmanager
    async def watch(self, session: ChatSession) -> AsyncIterator[None]:
        """While this is open somebody listens to the session, so its history is followed."""
        record = self._record(session)
        record.watchers += 1
        if not record.follows_history and not record.over:
            record.follows_history = True
            self._start(self._follow_history, record)
        try:
            yield
        finally:
            record.watchers -= 1
            record.wake()
            self._forget_if_idle(record)

    # Followers

    async def _follow_answer(self, record: _Record, task: AwaitedTask) -> None:
        session = record.session
        try:
            ending = await self._answer(record, task)
            await self._broker.publish(session.key, ending)
        except Exception:  # a fault of ours must not take the other sessions with it
            logger.exception("session %s: following an answer failed", session.key)
            await self._broker.publish(session.key, [done_event(task.ref, "failed", FAILED_DETAIL)])
        finally:
            del record.tasks[task.task_id]
            self._forget_if_idle(record)

    async def _answer(self, record: _Record, task: AwaitedTask) -> list[Event]:
        """Poll until the task ends; the events that tell its end."""
        session, client = record.session, self._client(record.session)
        # The reference tells the wall time, so that a restart does not begin the deadline anew.
        began = self._clock() - max(0.0, (self._now() - task.accepted).total_seconds())
        failures, progress = 0, ""
        # At once for one that was awaited before; no answer is there the moment its question is.
        wait = 0.0 if self._clock() - began > self._rhythm.longest else self._rhythm.shortest
        while True:
            await anyio.sleep(max(wait, self._throttle(session).wait(self._clock())))
            try:
                state = await client.poll_task(self._credentials(session), task.task_id)
            except SessionLost:
                await self._end(session, "expired")
                return [done_event(task.ref, "failed", EXPIRED_DETAIL)]
            except RequestRefused as error:
                logger.warning("session %s: upstream refuses the task: %s", session.key, error)
                return [done_event(task.ref, "failed", FAILED_DETAIL)]
            except UpstreamError as error:
                failures += 1
                wait = await self._trouble(record, error, failures)
            else:
                await self._restored(record)
                failures = 0
                match state:
                    case Complete(message=None):
                        return [done_event(task.ref, "complete")]
                    case Complete(message=message) if message is not None:
                        reply = self._present(message, message_key(message), task.ref)
                        return [reply, done_event(task.ref, "complete")]
                    case Failed(for_visitor=text):
                        # Upstream stores an apology as well; when the history brings it, it names this task, so
                        # that a client shows one outcome.
                        record.unexplained.append(_Unexplained(task, self._now()))
                        return [done_event(task.ref, "failed", text or FAILED_DETAIL)]
                    case Processing(progress=text) if text and text != progress:
                        progress = text
                        await self._broker.publish(session.key, [progress_event(task.ref, text)])
                wait = self._rhythm.next_poll(self._clock() - began)
            if self._clock() - began >= self._pacing.answer_deadline_seconds:
                logger.warning("session %s: no answer within the deadline", session.key)
                return [done_event(task.ref, "timeout", TIMEOUT_DETAIL)]

    async def _follow_history(self, record: _Record) -> None:
        session, failures = record.session, 0
        try:
            while record.watchers and not record.over:
                # A pause that upstream ordered counts for everybody; only then the session's own interval.
                wait = self._throttle(session).wait(self._clock())
                wait = wait or await self._broker.claim_message_poll(session.key, self._pacing.message_poll_seconds)
                if wait == 0.0:
                    try:
                        await self._read_history(record)
                        failures = 0
                        await self._restored(record)
                        wait = next_message_poll(self._pacing.message_poll_seconds, self._chance())
                    except SessionLost:
                        await self._end(session, "expired")
                        break
                    except UpstreamError as error:
                        failures += 1
                        wait = await self._trouble(record, error, failures)
                    # Even where the first reading failed: a reader then has all that is known.
                    await self._broker.publish(session.key, [ready_event()])
                await self._wait_while_watched(record, wait)
        except Exception:
            logger.exception("session %s: following the history failed", session.key)
        finally:
            record.follows_history = False
            self._forget_if_idle(record)

    async def _wait_while_watched(self, record: _Record, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            while record.watchers and not record.over:
                await record.changed.wait()

    async def _read_history(self, record: _Record) -> None:
        """One poll of the message list, published. Its mark has been claimed."""
        session = record.session
        request = record.history.next_request()
        page = await self._client(session).poll_messages(self._credentials(session), request.since, request.limit)
        reading = record.history.accept(page.messages, has_more=page.has_more)
        events = [
            self._present(message, key, self._explained_task(record, message))
            for key, message in reading.messages
            if not await self._broker.is_published(session.key, key)
        ]
        await self._broker.publish(session.key, events)
        if page.ended and reading.complete:
            await self._end(session, "ended")

    def _explained_task(self, record: _Record, message: Message) -> str | None:
        """The failed task whose apology this is, if it is one."""
        if message.role != "assistant" or message.created_at is None:
            return None
        for failure in record.unexplained:
            begin = failure.task.accepted - _APOLOGY_WINDOW
            if begin <= message.created_at <= failure.failed + _APOLOGY_WINDOW:
                record.unexplained.remove(failure)
                return failure.task.ref
        return None

    # Trouble

    async def _trouble(self, record: _Record, error: UpstreamError, failures: int) -> float:
        """Note that upstream did not answer as it should; seconds to wait before the next try."""
        session = record.session
        if isinstance(error, UpstreamBusy):
            wait = self._slow_down(session, error)
            code, detail = "upstream_busy", "The chat is busy. It goes on by itself."
        else:
            wait = backoff(failures, self._chance())
            code, detail = "upstream_unreachable", "The assistant cannot be reached just now. Trying again."
            if not isinstance(error, UpstreamUnreachable | BadAnswer):
                logger.error("session %s: %s", session.key, error)
        # One miss is nothing a visitor needs to know of.
        if not record.troubled and (failures > 1 or code == "upstream_busy"):
            record.troubled = True
            logger.warning("session %s: upstream trouble: %s", session.key, error)
            await self._broker.publish(session.key, [notice_event(code, detail, wait)])
        return wait

    async def _restored(self, record: _Record) -> None:
        if record.troubled:
            record.troubled = False
            await self._broker.publish(
                record.session.key, [notice_event("restored", "The assistant can be reached again.")]
            )

    def _slow_down(self, session: ChatSession, error: UpstreamBusy) -> float:
        seconds = clamp_retry_after(error.retry_after, self._chance())
        self._throttle(session).pause(self._clock(), seconds)
        return seconds

    async def _end(self, session: ChatSession, status: str) -> None:
        record = self._records.get(session.key)
        if record is not None:
            record.over = True
            record.wake()
        await self._broker.publish(
            session.key, [session_event("expired" if status == "expired" else "ended"), ready_event()]
        )

    # Small things

    def _start(self, follower: Callable[..., Any], *arguments: object) -> None:
        if self._group is None:
            raise RuntimeError("the hub is not open: use it within `async with`")
        self._group.start_soon(follower, *arguments)

    def _record(self, session: ChatSession) -> _Record:
        return self._records.setdefault(session.key, _Record(session))

    def _forget_if_idle(self, record: _Record) -> None:
        idle = not record.watchers and not record.tasks and not record.follows_history
        if idle and self._records.get(record.session.key) is record:
            del self._records[record.session.key]

    def _client(self, session: ChatSession) -> UpstreamClient:
        return self._client_of(self._site_of(session.site))

    def _credentials(self, session: ChatSession) -> Credentials:
        site = self._site_of(session.site)
        return Credentials(session.session_id, session.token, site.embed_key.get_secret_value(), session.origin)

    def _throttle(self, session: ChatSession) -> Throttle:
        return self._throttles.setdefault(self._client(session).base_url, Throttle())
