"""Decides when upstream is asked, and publishes what it answers: one poller of a session's messages, however many
streams and workers; one of an awaited answer. Nothing is polled for a session nobody listens to and that awaits
nothing.

`answers` and `histories` do the polling, `turns` says whether there is room to, `reports` publishes. `admitted` asks
with what the site itself is let in by, `bearers` has the access tokens for it, `team` what only that is good for.
"""

import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import anyio
from anyio.abc import TaskGroup

from widget_proxy.broker import Broker, BrokerUnavailable
from widget_proxy.config import PacingSettings, Site
from widget_proxy.handles import AwaitedTask, ChatSession, Handles
from widget_proxy.hub.admitted import Admitted
from widget_proxy.hub.answers import FAILED_DETAIL, TIMEOUT_DETAIL, Answers
from widget_proxy.hub.bearers import Bearers
from widget_proxy.hub.followed import Followed
from widget_proxy.hub.histories import Histories
from widget_proxy.hub.reach import Present, Reach
from widget_proxy.hub.reports import Reports
from widget_proxy.hub.team import Team
from widget_proxy.hub.turns import Turns
from widget_proxy.messages import session_event
from widget_proxy.metrics import Metrics
from widget_proxy.upstream import (
    Key,
    SessionEnded,
    SessionLost,
    Started,
    Upload,
    UploadedFile,
    UpstreamBusy,
    UpstreamClient,
    WidgetVersion,
    start_credential,
    team_credential,
)
from widget_proxy.upstream.file_reply import FileReply

logger = logging.getLogger(__name__)

TOLD_SECONDS = 2.0
"""How long whoever ends a session waits for it to be told."""


class Hub:
    """Open it with `async with`: whatever it started ends with that scope, and its answers are left to others.

    `client_of` and `site_of` find a session's upstream and its site; `workers` is how many of us share a broker here;
    `clock` is monotonic seconds, `now` wall time,
    `chance` draws a number from 0 up to 1.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        handles: Handles,
        pacing: PacingSettings,
        site_of: Callable[[str], Site | None],
        client_of: Callable[[Site], UpstreamClient],
        present: Present,
        workers: int = 1,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._broker = broker
        self._handles = handles
        self._metrics = metrics or Metrics()
        self._now = now
        self._followed: dict[str, Followed] = {}
        self._group: TaskGroup | None = None
        self._reach = Reach(site_of, client_of, present)
        self._turns = Turns(broker, pacing.budget, chance, clock, workers)
        self._reports = Reports(broker, self._turns, chance)
        self._admitted = Admitted(
            self._reach,
            self._turns,
            Bearers(broker=broker, handles=handles, turns=self._turns, start=self._start, now=now, chance=chance),
        )
        self._team = Team(self._admitted, self._reach, clock)
        self._answers = Answers(
            broker=broker,
            handles=handles,
            pacing=pacing,
            reach=self._reach,
            turns=self._turns,
            reports=self._reports,
            start=self._start,
            followed=self._of,
            forget=self._forget_if_idle,
            metrics=self._metrics,
            clock=clock,
            now=now,
            chance=chance,
        )
        self._histories = Histories(
            broker=broker,
            handles=handles,
            pacing=pacing,
            reach=self._reach,
            turns=self._turns,
            reports=self._reports,
            start=self._start,
            forget=self._forget_if_idle,
            clock=clock,
            now=now,
            chance=chance,
        )

    async def __aenter__(self) -> "Hub":
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._histories.run)
        self._group.start_soon(self._answers.look_out)
        return self

    async def __aexit__(self, *exception: Any) -> bool | None:
        if self._group is None:
            return None
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(*exception)

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
        widget: WidgetVersion | None = None,
    ) -> tuple[ChatSession, Started, AwaitedTask | None]:
        """Start a session; with it, on instances that have one, the bot's first message in the making."""
        bucket = str(site.chatbot_id)

        async def ask(client: UpstreamClient, key: Key) -> Started:
            return await client.start(
                chatbot_id=bucket,
                key=key,
                origin=origin,
                page_url=page_url,
                page_context=page_context,
                participant_id=participant_id,
                participant_name=participant_name,
                session_data=session_data,
                widget=widget,
            )

        started = await self._admitted.ask(site, start_credential(site), bucket, ask)
        self._metrics.session_started(site.slug)
        moment = self._now().replace(microsecond=0)
        session = ChatSession(site.slug, started.session_id, started.token, origin, moment)
        seed = None
        if started.seed_task_id is not None:
            seed = self._handles.seal_task(session, started.seed_task_id, moment)
            await self._answers.attend(session, seed)
        return session, started, seed

    async def send(
        self,
        session: ChatSession,
        message: str,
        *,
        context: Mapping[str, Any] | None = None,
        attachment_ids: Sequence[int] = (),
        widget: WidgetVersion | None = None,
    ) -> AwaitedTask:
        """Send a visitor's message, once, and await its answer."""
        await self._refuse_if_ended(session)
        await self._team.tell_page(session, context)
        async with self._turn(session) as client:
            task_id = await client.send(
                self._reach.credentials(session),
                message,
                context=context,
                attachment_ids=attachment_ids,
                widget=widget,
            )
        self._metrics.message_sent(session.site)
        task = self._handles.seal_task(session, task_id, self._now())
        await self._answers.attend(session, task)
        return task

    async def upload(self, session: ChatSession, file: Upload) -> UploadedFile:
        """Hand a visitor's file over; it costs as much of the budget as a message. What its content raises comes out
        as it is."""
        async with self._turn(session) as client:
            return await client.upload(self._reach.credentials(session), file)

    async def open_file(self, site: Site, file_id: str, method: str, headers: Mapping[str, str]) -> FileReply:
        """A file of a conversation, as the site; it costs as much as a message. The caller closes it."""
        credential = team_credential(site)
        if credential is None:
            raise LookupError(f"site {site.slug!r} has nothing to fetch files with")
        bucket = f"files {site.slug}"

        async def ask(client: UpstreamClient, key: Key) -> FileReply:
            return await client.open_file(key, file_id, method, headers, bucket)

        return await self._admitted.ask(site, credential, bucket, ask)

    @property
    def sessions_followed(self) -> int:
        """Sessions somebody listens to or awaits an answer in, of this process."""
        return len(self._followed)

    @property
    def answers_awaited(self) -> int:
        """Answers that this process polls for."""
        return sum(len(followed.tasks) for followed in self._followed.values())

    def budget_levels(self) -> dict[str, float]:
        """How full the budget of each upstream is, from 0 to 1, by its address."""
        return self._turns.levels()

    async def end(self, session: ChatSession) -> None:
        """End the session, as the site, and tell all who listen; it costs as much as a message."""
        await self._team.end(session)
        # Before whoever asked hears of it, so that what they send next is refused; but not for as long as the broker
        # is away. The history is read on: upstream may have something to say yet.
        ending = [session_event("ended")]
        with anyio.move_on_after(TOLD_SECONDS) as waiting:
            await self._reports.publish(session, ending)
        if waiting.cancelled_caught:
            self._start(self._reports.publish, session, ending)

    async def tag(self, session: ChatSession, add: Sequence[str], remove: Sequence[str]) -> None:
        """Tag the session, as the site; each of the two, where there is any, costs as much as a message."""
        await self._team.tag(session, add, remove)

    async def await_answer(self, session: ChatSession, task: AwaitedTask) -> None:
        """See to it that a task is followed to its end, unless it is already or its end is known."""
        await self._answers.attend(session, task)

    @asynccontextmanager
    async def watch(self, session: ChatSession, *, polls: bool = False) -> AsyncIterator[None]:
        """While this is open somebody listens to the session, so its history is followed. `polls`: by asking about
        once a second."""
        followed = self.listen(session)
        followed.pollers += polls
        try:
            yield
        finally:
            followed.pollers -= polls
            self.listen_no_more(followed)

    def listen(self, session: ChatSession) -> Followed:
        """Somebody listens to the session, until what this returns is handed to `listen_no_more`."""
        followed = self._of(session)
        followed.watchers += 1
        self._histories.follow(followed)
        return followed

    def listen_no_more(self, followed: Followed) -> None:
        """Undoes one `listen`."""
        followed.watchers -= 1
        self._forget_if_idle(followed)

    async def _refuse_if_ended(self, session: ChatSession) -> None:
        """Upstream goes on to take messages in a session that was ended as the site."""
        if not self._reach.site(session).end_by_visitors:
            return
        with suppress(BrokerUnavailable):  # then upstream's word is all there is
            if await self._broker.is_published(session.key, session_event("ended").identity or ""):
                raise SessionEnded("the visitor ended the session")

    @asynccontextmanager
    async def _turn(self, session: ChatSession) -> AsyncIterator[UpstreamClient]:
        """A visitor's own request: it waits for its turn, and what its answer says of the session is told."""
        client = self._reach.client(session)
        await self._turns.take_for_send(client, session.session_id)
        try:
            yield client
        except UpstreamBusy as error:
            await self._turns.note_busy(client, session.session_id, error)
            raise
        except SessionLost:
            self._end(session, "expired")
            raise
        except SessionEnded:
            self._end(session, "ended")
            raise

    def _end(self, session: ChatSession, status: str) -> None:
        if (followed := self._followed.get(session.key)) is not None:
            followed.over = True
        # Beside the request, which has its own answer to give, broker or no broker.
        self._start(self._reports.over, session, status)

    def _start(self, follower: Callable[..., Any], *arguments: object) -> None:
        if self._group is None:
            raise RuntimeError("the hub is not open: use it within `async with`")
        self._group.start_soon(_guarded, follower, *arguments)

    def _of(self, session: ChatSession) -> Followed:
        return self._followed.setdefault(session.key, Followed(session))

    def _forget_if_idle(self, followed: Followed) -> None:
        key = followed.session.key
        if followed.idle and self._followed.get(key) is followed:
            del self._followed[key]


async def _guarded(follower: Callable[..., Any], *arguments: object) -> None:
    try:
        await follower(*arguments)
    except Exception:  # a fault of ours in one session must not take the others with it
        logger.exception("following a session failed")


__all__ = ["FAILED_DETAIL", "TIMEOUT_DETAIL", "Hub", "Present"]
