"""Access tokens for sites that use OAuth: fetched once for all workers, renewed before they expire.

A token is kept in this process, and sealed in the broker. Its name there is a hash of what it was given for, the
secret included: a new secret is another name, and what the old one was given is used no more.
"""

import hashlib
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import anyio
from pydantic import SecretStr

from widget_proxy.broker import Broker, BrokerUnavailable
from widget_proxy.handles import HandleInvalid, Handles
from widget_proxy.hub.turns import Turns
from widget_proxy.upstream import Bearer, CredentialsRefused, OAuthClient, UpstreamBusy, UpstreamClient, UpstreamError

logger = logging.getLogger(__name__)

RENEWAL_SHARE = 0.75
"""Share of its life after which a token is renewed, and up to a tenth of its life later, so that workers and sites do
not all do it at once."""

CLAIM_SECONDS = 20.0
"""For so long a fetch is one worker's: the time of a turn and of upstream's answer, as they are by default, and a
little. Two who fetch cost a request and nothing else."""

LOOK_SECONDS = 0.1
"""How often the others look whether it is there."""

REFUSED_SECONDS = 10.0
"""After a refusal nothing is asked for so long: a wrong secret must not cost a request with each visitor."""


class Bearers:
    """Gives tokens. `start` runs a renewal in the hub's scope; `now` is wall time, since workers share it."""

    def __init__(
        self,
        *,
        broker: Broker,
        handles: Handles,
        turns: Turns,
        start: Callable[..., None],
        now: Callable[[], datetime],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._shared = broker.bearers
        self._handles = handles
        self._turns = turns
        self._start = start
        self._now = now
        self._chance = chance
        self._kept: dict[str, Bearer] = {}
        self._refusals: dict[str, tuple[float, UpstreamError]] = {}
        self._locks: dict[str, anyio.Lock] = {}

    async def bearer(self, client: UpstreamClient, oauth: OAuthClient, *, instead_of: Bearer | None = None) -> Bearer:
        """A token that is good. `instead_of`: one that upstream refused, so another than this. Raises
        `UpstreamError`."""
        name = _name(client, oauth)
        kept = self._good(self._kept.get(name), instead_of)
        if kept is not None:
            if kept.renew_at <= self._time() and not self._lock(name).locked():
                self._start(self._renew, client, oauth, kept)  # whoever asks need not wait for it
            return kept
        async with self._lock(name):
            return await self._get(client, oauth, name, instead_of)

    async def _renew(self, client: UpstreamClient, oauth: OAuthClient, due: Bearer) -> None:
        name = _name(client, oauth)
        async with self._lock(name):
            if self._kept.get(name) is not due:
                return
            try:
                await self._get(client, oauth, name, due)
            except UpstreamError as error:
                # It is good for a while, and the next who asks tries again.
                logger.warning("an access token could not be renewed yet: %s", error)

    async def _get(self, client: UpstreamClient, oauth: OAuthClient, name: str, instead_of: Bearer | None) -> Bearer:
        """A token that is not kept here: another worker's, or a new one. The caller holds the lock."""
        if (kept := self._good(self._kept.get(name), instead_of)) is not None:
            return kept
        until, refusal = self._refusals.get(name, (0.0, None))
        if refusal is not None and until > self._time():
            raise refusal
        with anyio.move_on_after(CLAIM_SECONDS):
            while True:
                try:
                    if (shared := self._opened(await self._shared.kept(name), instead_of)) is not None:
                        return self._keep(name, shared)
                    if await self._shared.claim(name, CLAIM_SECONDS):
                        break
                except BrokerUnavailable:
                    break  # rather two who fetch than nobody
                await anyio.sleep(LOOK_SECONDS * (1 + self._chance()))
        return await self._fetch(client, oauth, name)

    async def _fetch(self, client: UpstreamClient, oauth: OAuthClient, name: str) -> Bearer:
        bucket = f"token {oauth.client_id}"
        began = self._time()
        try:
            await self._turns.take_for_send(client, bucket)
            try:
                token, seconds = await client.fetch_bearer(oauth)
            except UpstreamBusy as error:
                await self._turns.note_busy(client, bucket, error)
                raise
            except CredentialsRefused as error:
                self._refusals[name] = (self._time() + REFUSED_SECONDS * (1 + self._chance()), error)
                raise
        except BaseException:
            with anyio.move_on_after(1.0, shield=True), suppress(BrokerUnavailable):  # else it runs out
                await self._shared.release(name)
            raise
        renew = began + seconds * (RENEWAL_SHARE + 0.1 * self._chance())
        bearer = Bearer(token, began + seconds, renew)
        sealed = self._handles.seal_bearer(token.get_secret_value(), bearer.renew_at, bearer.expires)
        with suppress(BrokerUnavailable):  # each for itself, then
            await self._shared.keep(name, sealed, seconds)
        return self._keep(name, bearer)

    def _keep(self, name: str, bearer: Bearer) -> Bearer:
        now = self._time()
        self._kept = {one: kept for one, kept in self._kept.items() if kept.expires > now}
        self._kept[name] = bearer
        self._refusals.pop(name, None)
        return bearer

    def _opened(self, sealed: str | None, instead_of: Bearer | None) -> Bearer | None:
        if sealed is None:
            return None
        try:
            token, renew_at, expires = self._handles.open_bearer(sealed)
        except HandleInvalid:
            return None  # of a worker with other secrets, or nobody's
        return self._good(Bearer(SecretStr(token), expires, renew_at), instead_of)

    def _good(self, bearer: Bearer | None, instead_of: Bearer | None) -> Bearer | None:
        if bearer is None or bearer.expires <= self._time() or (instead_of and bearer.token == instead_of.token):
            return None
        return bearer

    def _lock(self, name: str) -> anyio.Lock:
        return self._locks.setdefault(name, anyio.Lock())

    def _time(self) -> float:
        return self._now().timestamp()


def _name(client: UpstreamClient, oauth: OAuthClient) -> str:
    parts = (client.base_url, oauth.client_id, oauth.scope, oauth.client_secret.get_secret_value())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
