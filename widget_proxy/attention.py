"""Whoever polls the proxy listens to a session as a stream does, but says so only now and then: each poll counts for
a while. Until that is over the session's history is followed, and its log is at hand."""

import logging
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from widget_proxy.broker import Broker, BrokerUnavailable
from widget_proxy.handles import ChatSession
from widget_proxy.hub import Hub

logger = logging.getLogger(__name__)

POLL_SECONDS = 30.0
"""The longest rhythm of the official widget while it is open."""

ATTENTION_SECONDS = 2 * POLL_SECONDS
"""How long a poll counts as listening."""


class Attention:
    """Whom the polls listen to. Run `run` beside the application; `most` sessions at once, the one polled longest ago
    going first."""

    def __init__(self, hub: Hub, broker: Broker, *, most: int, now: Callable[[], float] = anyio.current_time) -> None:
        self._hub = hub
        self._broker = broker
        self._most = most
        self._now = now
        self._scopes: dict[str, anyio.CancelScope] = {}  # in the order of their last polls
        self._group: TaskGroup | None = None

    @property
    def sessions(self) -> int:
        """How many are listened to."""
        return len(self._scopes)

    async def run(self) -> None:
        """For ever: the scope that everything here ends with."""
        async with anyio.create_task_group() as self._group:
            await anyio.sleep_forever()

    def attends(self, session: ChatSession) -> bool:
        """Whether it is listened to."""
        scope = self._scopes.get(session.key)
        return scope is not None and not scope.cancel_called

    def attend(self, session: ChatSession) -> None:
        """Somebody polls this session."""
        if self._group is None:
            raise RuntimeError("attention is not running: run `Attention.run` beside the application")
        begins = not self.attends(session)
        scope = self._scopes.pop(session.key, None)
        if scope is None or begins:
            scope = anyio.CancelScope()
        scope.deadline = self._now() + ATTENTION_SECONDS
        self._scopes[session.key] = scope
        if not begins:
            return
        if len(self._scopes) > self._most:
            logger.warning("more than %d sessions are polled, as many as server.streams allows", self._most)
            self._scopes.pop(next(iter(self._scopes))).cancel()
        self._group.start_soon(self._listen, session, scope)

    async def _listen(self, session: ChatSession, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                # The log as well: where it is Redis's, it is then read once and not for each poll.
                async with (
                    self._hub.watch(session, polls=True),
                    self._broker.subscribe(session.key, None) as subscription,
                ):
                    async for _ in subscription.live():
                        pass
        except BrokerUnavailable:
            pass  # its own log line tells, and whoever polls next begins anew
        except Exception:  # a fault of ours in one session must not take the others with it
            logger.exception("session %s: listening for polls failed", session.key)
        finally:
            if self._scopes.get(session.key) is scope:
                del self._scopes[session.key]
