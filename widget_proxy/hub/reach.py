"""How the hub reaches a session's upstream, and how what it brings looks to visitors."""

from collections.abc import Callable
from typing import Protocol

from widget_proxy.config import Site
from widget_proxy.handles import ChatSession
from widget_proxy.messages import Event, Message
from widget_proxy.upstream import Credentials, UpstreamClient, session_credentials


class Present(Protocol):
    """Turns a message into the event that visitors get; rendering happens once, here, before it is published."""

    def __call__(self, message: Message, key: str, task: str | None, site: Site, session: ChatSession) -> Event: ...


class Reach:
    """`site_of` finds a site by its name, `client_of` its upstream."""

    def __init__(
        self, site_of: Callable[[str], Site | None], client_of: Callable[[Site], UpstreamClient], present: Present
    ) -> None:
        self._site_of = site_of
        self.client_of = client_of
        self._present = present

    def knows(self, session: ChatSession) -> bool:
        """Whether the session's site is configured here."""
        return self._site_of(session.site) is not None

    def client(self, session: ChatSession) -> UpstreamClient:
        """The client of the session's upstream."""
        return self.client_of(self.site(session))

    def present(self, session: ChatSession, message: Message, key: str, task: str | None) -> Event:
        """A message of the session as its visitors get it."""
        return self._present(message, key, task, self.site(session), session)

    def credentials(self, session: ChatSession) -> Credentials:
        """What a call on the session carries."""
        return session_credentials(self.site(session), session.session_id, session.token, session.origin)

    def site(self, session: ChatSession) -> Site:
        """The session's site. Raises `LookupError` where it is not configured any more."""
        if (site := self._site_of(session.site)) is None:
            raise LookupError(f"site {session.site!r} is not configured")
        return site
