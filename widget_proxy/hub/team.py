"""What only the chatbot's team may do to a session, asked as the site: end it, tag it, set its state."""

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio

from widget_proxy.broker import BrokerUnavailable
from widget_proxy.config import Site
from widget_proxy.handles import ChatSession
from widget_proxy.hub.admitted import Admitted
from widget_proxy.hub.reach import Reach
from widget_proxy.page_context import STATE_KEY
from widget_proxy.upstream import (
    ApiKey,
    CredentialsRefused,
    Key,
    OAuthClient,
    RequestRefused,
    UpstreamClient,
    UpstreamError,
    team_credential,
)

logger = logging.getLogger(__name__)

PAGE_SECONDS = 3.0
"""How long a message waits for its page to be told as state, the turn for it included. Then it goes without."""

PAUSE_SECONDS = 60.0
"""After it failed, no page of the site is told for so long: no message waits in vain for what is broken."""

OF_THE_TEAM = "it has to be of the chatbot's team; an OAuth application needs the scope sessions:write"
"""What to look at where upstream does not let the site do these. A session that a visitor's calls find, and the
team's own do not, is another team's."""

KEPT_PAGES = 10_000
"""Sessions whose last page is remembered, some 200 bytes each. Telling a page again costs a request, no more."""


class Team:
    """`clock` is monotonic seconds."""

    def __init__(self, admitted: Admitted, reach: Reach, clock: Callable[[], float]) -> None:
        self._admitted = admitted
        self._reach = reach
        self._clock = clock
        self._pages: OrderedDict[str, bytes] = OrderedDict()
        self._paused: dict[str, float] = {}  # sites, and until when

    async def end(self, session: ChatSession) -> None:
        """End it."""
        bucket, session_id = _bucket(session), session.session_id
        await self._ask(session, lambda client, key: client.end_session(key, session_id, bucket))

    async def tag(self, session: ChatSession, add: Sequence[str], remove: Sequence[str]) -> None:
        """Add tags, then remove others: between the two there are too many rather than too few."""
        bucket, session_id = _bucket(session), session.session_id
        if add:
            await self._ask(session, lambda client, key: client.add_tags(key, session_id, add, bucket))
        if remove:
            await self._ask(session, lambda client, key: client.remove_tags(key, session_id, remove, bucket))

    async def tell_page(self, session: ChatSession, context: Mapping[str, Any] | None) -> None:
        """Set the session's state to the page, where the site wants it and it is not what was told last. Whatever
        fails here is logged, and nobody's concern: the message goes all the same, with its own `context`.

        Before the message and not beside it: upstream puts that `context` into the same state, which this replaces.
        """
        site = self._reach.site(session)
        if not site.page_as_state or context is None or self._paused.get(site.slug, 0.0) > self._clock():
            return
        page = hashlib.sha256(json.dumps(context, sort_keys=True).encode()).digest()
        if self._pages.get(session.key) == page:
            return
        bucket, session_id, state = _bucket(session), session.session_id, {STATE_KEY: dict(context)}
        # Whatever comes of it, what was told before may be gone.
        self._pages.pop(session.key, None)
        failure: str | None = f"it took longer than {PAGE_SECONDS:g} s"
        try:
            with anyio.move_on_after(PAGE_SECONDS):
                await self._ask(session, lambda client, key: client.replace_state(key, session_id, state, bucket))
                failure = None
        except (CredentialsRefused, RequestRefused) as error:
            failure = f"{error}. Check sites.{site.slug}.api_key: {OF_THE_TEAM}"
        except (UpstreamError, BrokerUnavailable) as error:
            failure = str(error) or type(error).__name__
        if failure is None:
            self._pages[session.key] = page
            while len(self._pages) > KEPT_PAGES:
                self._pages.popitem(last=False)
            return
        self._paused[site.slug] = self._clock() + PAUSE_SECONDS
        logger.warning(
            "site %s: a page could not be told as session state (for %.0f s none is): %s",
            site.slug,
            PAUSE_SECONDS,
            failure,
        )

    async def _ask(self, session: ChatSession, request: Callable[[UpstreamClient, Key], Awaitable[None]]) -> None:
        site = self._reach.site(session)
        await self._admitted.ask(site, _credential(site), _bucket(session), request)


def _bucket(session: ChatSession) -> str:
    return f"sessions {session.site}"


def _credential(site: Site) -> ApiKey | OAuthClient:
    credential = team_credential(site)
    if credential is None:  # refused when settings are read
        raise LookupError(f"site {site.slug!r} has nothing that lets it in as the chatbot's team")
    return credential
