"""Sessions somebody listens to: their message list is polled by one worker, seldom, and more seldom the quieter it is
and the less of the budget is left."""

import heapq
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

import anyio

from widget_proxy.broker import Broker, BrokerUnavailable, Entry
from widget_proxy.config import PacingSettings
from widget_proxy.handles import HandleInvalid, Handles
from widget_proxy.history import History, Reading
from widget_proxy.hub.followed import Followed
from widget_proxy.hub.reach import Reach
from widget_proxy.hub.reports import Reports
from widget_proxy.hub.turns import Turns
from widget_proxy.messages import Message, ready_event
from widget_proxy.pacing import Purpose, jittered, message_interval, message_pause, message_reserve, message_stretch
from widget_proxy.upstream import AnswerTooLarge, SessionLost, UpstreamError

logger = logging.getLogger(__name__)

APOLOGY_WINDOW = timedelta(seconds=30)
"""Upstream stores an apology beside the error of a failed task; around the failure, by upstream's clock."""

BROKER_PAUSE = 2.0
"""Seconds until the broker is asked again where it could not be reached."""

ASKING_AT_ONCE = 8
"""Sessions for which the broker is asked whether it is their turn, at a time. After a stall all are due at once, and
visitors' own requests have to find its connections free: it has 32."""


class Histories:
    """A schedule of sessions. One task runs it; a session costs an entry while it waits for its turn."""

    def __init__(
        self,
        *,
        broker: Broker,
        handles: Handles,
        pacing: PacingSettings,
        reach: Reach,
        turns: Turns,
        reports: Reports,
        start: Callable[..., None],
        forget: Callable[[Followed], None],
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._broker = broker
        self._handles = handles
        self._shortest = pacing.message_poll_seconds
        self._reach = reach
        self._turns = turns
        self._reports = reports
        self._start = start
        self._forget = forget
        self._clock = clock
        self._now = now
        self._chance = chance
        self._due: list[tuple[float, int, Followed]] = []
        self._refused = 0  # sessions the budget has no room for just now
        self._numbers = count()
        self._sooner = anyio.Event()
        self._asking = anyio.Semaphore(ASKING_AT_ONCE)

    def follow(self, followed: Followed) -> None:
        """Somebody listens to the session now."""
        if not followed.follows_history and not followed.over:
            followed.follows_history = True
            self._schedule(followed, 0.0)

    async def run(self) -> None:
        """For ever: poll what is due."""
        while True:
            self._sooner = anyio.Event()
            now = self._clock()
            while self._due and self._due[0][0] <= now:
                self._start(self._visit, heapq.heappop(self._due)[2])
            with anyio.move_on_after(self._due[0][0] - now if self._due else None):
                await self._sooner.wait()

    def _schedule(self, followed: Followed, wait: float) -> None:
        due = self._clock() + wait
        heapq.heappush(self._due, (due, next(self._numbers), followed))
        if self._due[0][0] >= due:
            self._sooner.set()

    async def _visit(self, followed: Followed) -> None:
        wait: float | None = None
        try:
            if followed.watchers and not followed.over and self._reach.knows(followed.session):
                wait = await self._poll_if_due(followed)
        except BrokerUnavailable:
            wait = jittered(BROKER_PAUSE, self._chance())
        except Exception:  # a fault of ours must not take the other sessions with it
            logger.exception("session %s: following the history failed", followed.session.key)
            wait = jittered(self._shortest, self._chance())
        if wait is None or followed.over:
            self._let(followed)
            followed.follows_history = False
            self._forget(followed)
        else:
            self._schedule(followed, wait)

    async def _poll_if_due(self, followed: Followed) -> float | None:
        """One visit; seconds until the next."""
        session, client = followed.session, self._reach.client(followed.session)
        async with self._asking:
            complete = await self._broker.is_published(session.key, ready_event().identity or "")
            if not complete and not followed.between_pages:
                # A new log, or one that Redis lost: whatever was told before has to be told again.
                followed.history = History()
            # Whoever listens has nothing to read before the first poll: that one does not stretch.
            interval = self._shortest if not complete else self._interval(followed)
            due = await self._broker.claim_message_poll(session.key, interval, ask_only=True)
        followed.quiet = due.quiet
        if due.wait > 0:
            # Sooner, so that activity is noticed which another worker sees.
            return jittered(min(due.wait, self._shortest), self._chance())
        turn = await self._turns.take(client, self._reserve(followed, complete=complete))
        if turn.wait > 0:
            return self._again(followed, turn.wait)
        self._let(followed)
        granted = await self._broker.claim_message_poll(session.key, interval)
        if granted.wait > 0:
            await self._turns.give_back(client)
            return jittered(granted.wait, self._chance())
        try:
            try:
                complete_now = await self._read(followed)
            finally:
                # Upstream may have been reached later than the mark was set: from here the next is an interval away.
                await self._broker.claim_message_poll(session.key, 0.0)
        except SessionLost:
            followed.over = True
            await self._reports.over(session, "expired")
            return None
        except UpstreamError as error:
            if isinstance(error, AnswerTooLarge) and followed.history.halve():
                logger.info(
                    "session %s: a page of the history was too large, and half of it is asked for", session.key
                )
                followed.between_pages = True
                return jittered(self._shortest, self._chance())
            followed.failures += 1
            wait = await self._reports.trouble(followed, client, error, followed.failures)
            # Even where the first reading failed: a reader then has all that is known.
            await self._reports.publish(session, [ready_event()])
            return max(wait, jittered(self._shortest, self._chance()))
        followed.failures = 0
        await self._reports.restored(followed)
        # Not where it was published before: if Redis lost the log meanwhile, the next visit has to see that.
        if complete_now and not complete:
            await self._reports.publish(session, [ready_event()])
        return jittered(self._shortest, self._chance())

    def _reserve(self, followed: Followed, *, complete: bool) -> float:
        if not complete:
            return Purpose.TRANSCRIPT.value
        overdue = 0.0 if followed.refused_since is None else self._clock() - followed.refused_since
        return message_reserve(overdue, self._is_active(followed), self._shortest)

    def _again(self, followed: Followed, wait: float) -> float:
        """The budget has no room. Everybody who waits for it comes back within the time it needs for all of them: a
        thousand readers after a restart must not ask all the time whether it is their turn."""
        if followed.refused_since is None:
            followed.refused_since = self._clock()
            self._refused += 1
        shortest = self._shortest * 0.01
        return max(wait, shortest) * (1 + self._chance()) + self._refused / self._turns.rate * self._chance()

    def _let(self, followed: Followed) -> None:
        if followed.refused_since is not None:
            followed.refused_since = None
            self._refused -= 1

    def _is_active(self, followed: Followed) -> bool:
        return followed.quiet < 2 * self._shortest

    def _interval(self, followed: Followed) -> float:
        client = self._reach.client(followed.session)
        standing = self._turns.standing(client, followed.session.session_id)
        own = message_pause(*standing) if standing else 0.0
        usual = message_interval(self._shortest, followed.quiet)
        if not self._is_active(followed):
            usual *= message_stretch(self._turns.level(client))
        return max(usual, own)

    async def _read(self, followed: Followed) -> bool:
        """One poll of the message list, published; its mark has been claimed. Whether upstream has no more."""
        session = followed.session
        request = followed.history.next_request()
        credentials = self._reach.credentials(session)
        page = await self._reach.client(session).poll_messages(credentials, request.since, request.limit)
        reading = followed.history.accept(page.messages, has_more=page.has_more, now=self._now())
        try:
            await self._tell(followed, reading)
        except BaseException:
            # Accepted and not published, it would count as told: the next poll reads everything again.
            followed.history, followed.between_pages = History(), False
            raise
        followed.between_pages = not reading.complete
        if page.ended and reading.complete:
            followed.over = True
            await self._reports.over(session, "ended")
        return reading.complete

    async def _tell(self, followed: Followed, reading: Reading) -> None:
        session = followed.session
        fresh = [one for one in reading.messages if not await self._broker.is_published(session.key, one[0])]
        apologies: Mapping[str, str] = {}
        if any(message.role == "assistant" for _, message in fresh):
            apologies = self._apologies(followed, fresh, await self._broker.entries(session.key))
        events = [self._reach.present(session, message, key, apologies.get(key)) for key, message in fresh]
        await self._reports.publish(session, events)

    def _apologies(
        self, followed: Followed, fresh: Sequence[tuple[str, Message]], log: Sequence[Entry]
    ) -> dict[str, str]:
        """Which of these messages are apologies for which failed tasks, by the messages' keys: of those said around a
        failure the nearest to it, and one for each failure. A client shows one message a task, so that a second one
        of the same would be lost."""
        explained = {entry.event.data.get("task") for entry in log if entry.event.name == "message"}
        found: dict[str, str] = {}
        for entry in log:
            event = entry.event
            if event.name != "done" or event.at is None or event.data["task"] in explained:
                continue
            near = [
                (abs(message.created_at - event.at), key)
                for key, message in fresh
                if message.role == "assistant"
                and message.created_at is not None
                and key not in found
                and self._is_around(followed, event.data["task"], event.at, message.created_at)
            ]
            if near:
                found[min(near)[1]] = event.data["task"]
        return found

    def _is_around(self, followed: Followed, ref: str, failed: datetime, said: datetime) -> bool:
        try:
            task = self._handles.open_task(followed.session, ref)
        except HandleInvalid:
            return False
        return task.accepted - APOLOGY_WINDOW <= said <= failed + APOLOGY_WINDOW
