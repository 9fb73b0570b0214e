"""Requests that carry what the site itself is let in by: a key, or an access token of its OAuth application."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from widget_proxy.config import Site
from widget_proxy.hub.bearers import Bearers
from widget_proxy.hub.reach import Reach
from widget_proxy.hub.turns import Turns
from widget_proxy.upstream import ApiKey, CredentialsRefused, EmbedKey, Key, OAuthClient, UpstreamBusy, UpstreamClient

Answer = TypeVar("Answer")


class Admitted:
    """Asks upstream as the site."""

    def __init__(self, reach: Reach, turns: Turns, bearers: Bearers) -> None:
        self._reach = reach
        self._turns = turns
        self._bearers = bearers

    async def ask(
        self,
        site: Site,
        credential: EmbedKey | ApiKey | OAuthClient,
        bucket: str,
        request: Callable[[UpstreamClient, Key], Awaitable[Answer]],
    ) -> Answer:
        """The answer to `request`, which takes its turn like a visitor's message. An access token that upstream
        refuses with a 401, and so without having done anything, is renewed, and the request made once more."""
        client = self._reach.client_of(site)
        if not isinstance(credential, OAuthClient):
            return await self._once(client, bucket, credential, request)
        bearer = await self._bearers.bearer(client, credential)
        try:
            return await self._once(client, bucket, bearer, request)
        except CredentialsRefused as error:
            if error.status != 401:
                raise
        bearer = await self._bearers.bearer(client, credential, instead_of=bearer)
        return await self._once(client, bucket, bearer, request)

    async def _once(
        self,
        client: UpstreamClient,
        bucket: str,
        key: Key,
        request: Callable[[UpstreamClient, Key], Awaitable[Answer]],
    ) -> Answer:
        await self._turns.take_for_send(client, bucket)
        try:
            return await request(client, key)
        except UpstreamBusy as error:
            await self._turns.note_busy(client, bucket, error)
            raise
