"""What the hub tells visitors about the connection to the bot, and how it is sure to be told."""

import logging
import random
from collections.abc import Callable, Sequence

import anyio

from widget_proxy.broker import Broker, BrokerUnavailable
from widget_proxy.handles import ChatSession
from widget_proxy.hub.followed import Followed
from widget_proxy.hub.turns import Turns
from widget_proxy.messages import Event, notice_event, ready_event, session_event
from widget_proxy.pacing import backoff
from widget_proxy.upstream import BadAnswer, UpstreamBusy, UpstreamClient, UpstreamError, UpstreamUnreachable

logger = logging.getLogger(__name__)


class Reports:
    """Publishes. `chance` draws a number from 0 up to 1."""

    def __init__(self, broker: Broker, turns: Turns, chance: Callable[[], float] = random.random) -> None:
        self._broker = broker
        self._turns = turns
        self._chance = chance

    async def publish(self, session: ChatSession, events: Sequence[Event]) -> None:
        """Publish, however long the broker is away."""
        failures = 0
        while True:
            try:
                await self._broker.publish(session.key, events)
            except BrokerUnavailable:
                failures += 1
                await anyio.sleep(backoff(failures, self._chance(), base=0.2, longest=2.0))
            else:
                return

    async def trouble(self, followed: Followed, client: UpstreamClient, error: UpstreamError, failures: int) -> float:
        """Upstream did not answer as it should; seconds to wait before the next try."""
        session = followed.session
        if isinstance(error, UpstreamBusy):
            wait = await self._turns.note_busy(client, session.session_id, error)
            code, detail = "upstream_busy", "The chat is busy. It goes on by itself."
        else:
            wait = backoff(failures, self._chance())
            code, detail = "upstream_unreachable", "The assistant cannot be reached just now. Trying again."
            if not isinstance(error, UpstreamUnreachable | BadAnswer):
                logger.error("session %s: %s", session.key, error)
        # One miss is nothing a visitor needs to know of.
        if not followed.troubled and (failures > 1 or code == "upstream_busy"):
            followed.troubled = True
            logger.warning("session %s: upstream trouble: %s", session.key, error)
            await self.publish(session, [notice_event(code, detail, wait)])
        return wait

    async def restored(self, followed: Followed) -> None:
        """Upstream answers again."""
        if followed.troubled:
            followed.troubled = False
            await self.publish(followed.session, [notice_event("restored", "The assistant can be reached again.")])

    async def over(self, session: ChatSession, status: str) -> None:
        """The session ended or expired."""
        ending = session_event("expired" if status == "expired" else "ended")
        await self.publish(session, [ending, ready_event()])
