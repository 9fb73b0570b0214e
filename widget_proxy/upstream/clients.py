"""The clients of all upstreams: one for each address, opened when it is first wanted, and closed together."""

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

from widget_proxy.config import UpstreamSettings
from widget_proxy.upstream.client import UpstreamClient
from widget_proxy.upstream.watch import Watch, unwatched


class Clients:
    """Open it with `async with`. One that no site uses any more stays until then: somebody may be at it still.
    `watch_of` finds who watches an upstream."""

    def __init__(
        self, settings: UpstreamSettings, watch_of: Callable[[str], Watch] = lambda address: unwatched
    ) -> None:
        self._settings = settings
        self._watch_of = watch_of
        self._clients: dict[str, UpstreamClient] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Clients":
        return self

    async def __aexit__(self, *exception: Any) -> bool | None:
        return await self._stack.__aexit__(*exception)

    async def open(self, addresses: Iterable[str]) -> None:
        """See to it that there is a client for each of these."""
        for address in addresses:
            if address not in self._clients:
                client = UpstreamClient(address, self._settings, watch=self._watch_of(address))
                await self._stack.enter_async_context(client)
                self._clients[address] = client

    def of(self, address: str) -> UpstreamClient:
        """The client of an upstream that was opened."""
        return self._clients[address]
