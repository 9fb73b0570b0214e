"""Awaited answers: each is polled for by one worker, to its one end."""

import logging
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import anyio

from widget_proxy.answer_times import AnswerTimes
from widget_proxy.broker import Broker, BrokerUnavailable, PendingAnswer
from widget_proxy.config import PacingSettings
from widget_proxy.handles import AwaitedTask, ChatSession, HandleExpired, HandleInvalid, Handles
from widget_proxy.hub.followed import Followed
from widget_proxy.hub.reach import Reach
from widget_proxy.hub.reports import Reports
from widget_proxy.hub.turns import Turns
from widget_proxy.messages import Event, done_event, done_identity, message_key, progress_event
from widget_proxy.metrics import Metrics
from widget_proxy.pacing import Purpose, answer_polls, answer_stretch, thinking
from widget_proxy.upstream import Complete, Failed, Processing, RequestRefused, SessionLost, UpstreamError

logger = logging.getLogger(__name__)

FAILED_DETAIL = "The assistant could not answer this. Please try again."
TIMEOUT_DETAIL = "No answer came. Please try again."
EXPIRED_DETAIL = "This conversation has expired."

LEASE_SECONDS = 6.0
"""For so long an answer is one worker's without a sign of life. It is renewed between polls, and a poll may take
longer than this; two workers who poll for one answer cost requests and nothing else, a visitor's wait is worse."""

LOOKOUT_SECONDS = 2.0
"""How often each worker looks for answers whose worker is gone."""


class Answers:
    """Follows answers. `start` runs a follower in the hub's scope; `followed` finds or makes a session's record, and
    `forget` drops one that is idle."""

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
        followed: Callable[[ChatSession], Followed],
        forget: Callable[[Followed], None],
        metrics: Metrics,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._broker = broker
        self._handles = handles
        self._pacing = pacing
        self._reach = reach
        self._turns = turns
        self._reports = reports
        self._start = start
        self._followed = followed
        self._forget = forget
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._chance = chance
        self._times: dict[str, AnswerTimes] = {}

    async def attend(self, session: ChatSession, task: AwaitedTask) -> None:
        """See to it that somebody follows this answer to its end."""
        followed = self._followed(session)
        if task.ref in followed.tasks:
            return
        # Reserved before anything is awaited: who asks meanwhile must not start a second follower.
        followed.tasks[task.ref] = task
        try:
            ours = await self._attend(followed, task)
        except BaseException:
            self._dismiss(followed, task)
            raise
        if ours:
            self._start(self._follow, followed, task)
        else:
            self._dismiss(followed, task)

    async def look_out(self) -> None:
        """For ever: take over the answers of workers that are gone."""
        while True:
            await anyio.sleep(LOOKOUT_SECONDS * (0.75 + 0.5 * self._chance()))
            with suppress(BrokerUnavailable):  # the broker's own log line tells
                for answer in await self._broker.unattended_answers():
                    await self._take_over(answer)

    async def _take_over(self, answer: PendingAnswer) -> None:
        try:
            session = self._handles.open_session(answer.handle)
            task = self._handles.open_task(session, answer.ref)
        except (HandleInvalid, HandleExpired):
            await self._broker.finish_answer(answer.ref)  # too old, or sealed with a key that is gone
            return
        if not self._reach.knows(session):
            # A site of another worker's configuration, or of nobody's any more.
            if (self._now() - task.accepted).total_seconds() > self._pacing.answer_deadline_seconds:
                await self._broker.finish_answer(answer.ref)
            return
        logger.info("session %s: takes over an answer from a worker that is gone", session.key)
        await self.attend(session, task)

    async def _attend(self, followed: Followed, task: AwaitedTask) -> bool:
        session = followed.session
        try:
            if await self._broker.is_published(session.key, done_identity(task.ref)):
                await self._broker.finish_answer(task.ref)
                return False
            pending = PendingAnswer(task.ref, self._handles.seal_session(session))
            return await self._broker.attend_answer(session.key, pending, LEASE_SECONDS)
        except BrokerUnavailable:
            return True  # rather two who poll than nobody

    def _dismiss(self, followed: Followed, task: AwaitedTask) -> None:
        followed.tasks.pop(task.ref, None)
        self._forget(followed)

    async def _follow(self, followed: Followed, task: AwaitedTask) -> None:
        session = followed.session
        try:
            try:
                ending = await self._ending(followed, task)
            except Exception:  # a fault of ours must not take the other sessions with it
                logger.exception("session %s: following an answer failed", session.key)
                ending = [done_event(task.ref, "failed", FAILED_DETAIL)]
            if ending:
                await self._reports.publish(session, ending)
                self._metrics.answered(session.site, ending, task.accepted, self._now())
                await self._finish(task)
        except BaseException:
            with anyio.move_on_after(1.0, shield=True):
                await self._leave(task)
            raise
        finally:
            self._dismiss(followed, task)

    async def _finish(self, task: AwaitedTask) -> None:
        with suppress(BrokerUnavailable):  # whoever takes it over finds its end published
            await self._broker.finish_answer(task.ref)

    async def _leave(self, task: AwaitedTask) -> None:
        with suppress(BrokerUnavailable):  # then the lease runs out
            await self._broker.leave_answer(task.ref)

    async def _ending(self, followed: Followed, task: AwaitedTask) -> list[Event]:
        """Poll until the answer's end; the events that tell it. None: another worker sees to it."""
        session, client = followed.session, self._reach.client(followed.session)
        times = self._times.setdefault(session.site, AnswerTimes())
        # The reference tells the wall time, so that a restart does not begin the deadline anew.
        began = self._clock() - max(0.0, (self._now() - task.accepted).total_seconds())
        deadline = began + self._pacing.answer_deadline_seconds
        renew, failures, progress, stretch = self._clock() + LEASE_SECONDS / 3, 0, "", 1.0
        # At once for one that was awaited before; no answer is there the moment its question is. When such a one
        # became ready is not known, and so nothing to learn from.
        polled_before = self._clock() - began <= 1.0
        if polled_before and followed.answered_at is not None:
            followed.thinking = thinking(followed.thinking, began - followed.answered_at)
        wait = self._pause(followed, times, 0.0, stretch) if polled_before else 0.0
        while True:
            polled = self._clock()
            until = min(polled + wait, deadline)
            # A wait may be longer than the lease.
            while (now := self._clock()) < until or now >= renew:
                if now >= renew:
                    if not await self._keep(followed, task):
                        return []
                    renew = self._clock() + LEASE_SECONDS / 3
                await anyio.sleep(max(0.0, min(until, renew) - self._clock()))
            turn = await self._turns.take(client, Purpose.ANSWER.value)
            stretch = answer_stretch(turn.level)
            if turn.wait > 0:
                wait = max(
                    turn.wait, self._pause(followed, times, self._clock() - began, stretch) * (0.5 + self._chance())
                )
                if self._clock() >= deadline:
                    return self._timeout(followed, task)
                continue
            try:
                state = await client.poll_task(self._reach.credentials(session), task.task_id)
            except SessionLost:
                followed.over = True
                await self._reports.over(session, "expired")
                return [done_event(task.ref, "failed", EXPIRED_DETAIL)]
            except RequestRefused as error:
                logger.warning("session %s: upstream refuses the task: %s", session.key, error)
                return [done_event(task.ref, "failed", FAILED_DETAIL)]
            except UpstreamError as error:
                failures += 1
                wait = await self._reports.trouble(followed, client, error, failures)
            else:
                await self._reports.restored(followed)
                failures = 0
                waited = self._clock() - began
                match state:
                    case Complete(message=message):
                        self._learn(followed, times, polled if polled_before else None, waited)
                        if message is None:
                            return [done_event(task.ref, "complete")]
                        key = message_key(message)
                        done = done_event(task.ref, "complete", reply=key)
                        return [self._reach.present(session, message, key, task.ref), done]
                    case Failed(for_visitor=text):
                        self._learn(followed, times, polled if polled_before else None, waited)
                        # Upstream stores an apology as well; when the history brings it, it names this task, so that
                        # a client shows one outcome.
                        return [done_event(task.ref, "failed", text or FAILED_DETAIL, at=self._now())]
                    case Processing(progress=text) if text and text != progress:
                        progress = text
                        await self._reports.publish(session, [progress_event(task.ref, text)])
                polled_before = True
                wait = self._pause(followed, times, waited, stretch)
            if self._clock() >= deadline:
                return self._timeout(followed, task)

    def _learn(self, followed: Followed, times: AnswerTimes, polled: float | None, waited: float) -> None:
        """An answer came after `waited` seconds; it was not there yet at the moment `polled`, if that is known."""
        followed.answered_at = self._clock()
        if polled is not None:
            times.record(waited - (followed.answered_at - polled) / 2)

    def _timeout(self, followed: Followed, task: AwaitedTask) -> list[Event]:
        logger.warning("session %s: no answer within the deadline", followed.session.key)
        return [done_event(task.ref, "timeout", TIMEOUT_DETAIL)]

    def _pause(self, followed: Followed, times: AnswerTimes, waited: float, stretch: float) -> float:
        """Seconds until the next poll, by everybody's budget and by the session's own allowance."""
        pacing, interval = self._pacing, self._pacing.answer_poll_shortest * stretch
        if followed.only_polled:
            interval = max(interval, pacing.answer_poll_drop_in * stretch)
        standing = self._turns.standing(self._reach.client(followed.session), followed.session.session_id)
        if standing:
            _, remaining, reset = standing
            if remaining < 1:
                return reset
            polls = answer_polls(*standing, times.mean + followed.thinking) / max(1, len(followed.tasks))
            interval = max(interval, times.interval(polls))
        return times.next_poll(waited, interval, pacing.answer_poll_longest)

    async def _keep(self, followed: Followed, task: AwaitedTask) -> bool:
        try:
            if await self._broker.keep_answer(task.ref, LEASE_SECONDS):
                return True
        except BrokerUnavailable:
            return True
        # Lost to another worker, or with all that Redis knew.
        return await self._attend(followed, task)
