"""What a visitor does to the whole conversation, and only the chatbot's team may ask of upstream: end it, and rate
what was said. Each where the site wants it."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from widget_proxy.bodies import FeedbackBody, read_body
from widget_proxy.broker import Broker
from widget_proxy.config import CurrentSettings, Site
from widget_proxy.drain import Drain
from widget_proxy.handles import ChatSession
from widget_proxy.hub import Hub
from widget_proxy.hub.team import OF_THE_TEAM
from widget_proxy.messages import session_event
from widget_proxy.problems import Problem, from_upstream, unavailable
from widget_proxy.rates import Rates
from widget_proxy.sending import DRAIN_SHARE
from widget_proxy.upstream import CredentialsRefused, RequestRefused, UpstreamError

logger = logging.getLogger(__name__)

TAGS: Final[Mapping[str, str]] = {"up": "feedback:up", "down": "feedback:down"}
"""Two for all sessions of a team, since each tag that is used once stays in the team's list of them."""


class Conversation:
    """`POST /v1/session/end` and `POST /v1/session/feedback`. Both count as messages, in rates and in the budget."""

    def __init__(
        self,
        current: CurrentSettings,
        hub: Hub,
        broker: Broker,
        drain: Drain,
        rates: Rates,
        session_of: Callable[[Request], ChatSession],
    ) -> None:
        self._current = current
        self._hub = hub
        self._broker = broker
        self._drain = drain
        self._rates = rates
        self._session_of = session_of

    def routes(self) -> list[Route]:
        """The two routes."""
        return [
            Route("/v1/session/end", self.end, methods=["POST"]),
            Route("/v1/session/feedback", self.feedback, methods=["POST"]),
        ]

    async def end(self, request: Request) -> Response:
        """End the conversation. One that has ended costs nothing."""
        session, site = self._opened(request)
        if not site.end_by_visitors:
            raise Problem("not_found", "On this site, conversations are not ended by visitors.")
        if not await self._broker.is_published(session.key, session_event("ended").identity or ""):
            await self._rates.spend("messages", request, session.site, session.key)
            await self._ask(site, self._hub.end(session))
        return _done()

    async def feedback(self, request: Request) -> Response:
        """Keep the thumb under a message, and the session's tags as all its thumbs together say."""
        session, site = self._opened(request)
        body = await read_body(request, FeedbackBody, self._current.settings.server.body_bytes)
        if not site.feedback_as_tags:
            raise Problem("not_found", "This site takes no feedback.")
        if not await self._broker.is_published(session.key, body.key):
            raise Problem("bad_request", "key is not of a message of this conversation.")
        standing = await self._broker.thumbs.standing(session.key)
        if standing.get(body.key) == body.value:
            return _done()
        add, remove = changes(standing, body.key, body.value)
        if add or remove:
            await self._rates.spend("messages", request, session.site, session.key)
            await self._ask(site, self._hub.tag(session, add, remove))
        # Afterwards: if upstream fails, the same thumb pressed again is new.
        await self._broker.thumbs.note(session.key, body.key, body.value)
        return _done()

    def _opened(self, request: Request) -> tuple[ChatSession, Site]:
        session = self._session_of(request)
        return session, self._current.settings.sites[session.site]

    async def _ask(self, site: Site, call: Awaitable[None]) -> None:
        done = False
        with self._drain.within(DRAIN_SHARE):
            try:
                await call
            except (CredentialsRefused, RequestRefused) as error:
                logger.error(  # noqa: TRY400 # the sentence says it all
                    "site %s: upstream does not let the site act as the chatbot's team (%s). Check sites.%s.api_key: "
                    + OF_THE_TEAM,
                    site.slug,
                    error,
                    site.slug,
                )
                raise Problem("misconfigured", "This cannot be done just now. Please try again later.") from error
            except UpstreamError as error:
                raise from_upstream(error, site.slug) from error
            done = True
        if not done:
            raise unavailable()


def changes(standing: Mapping[str, str], key: str, value: str | None) -> tuple[list[str], list[str]]:
    """Which tags to add to a session and which to remove when the thumb under the message `key` becomes `value`, and
    `standing` are all thumbs until then. A tag holds as long as one of its thumbs stands. Pure."""
    others = {one: thumb for one, thumb in standing.items() if one != key}
    before, after = set(standing.values()), {*others.values()} | ({value} if value else set())
    return [TAGS[one] for one in sorted(after - before)], [TAGS[one] for one in sorted(before - after)]


def _done() -> Response:
    return Response(status_code=204, headers={"Cache-Control": "no-store"})
