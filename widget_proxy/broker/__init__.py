"""The event log between hub and streams: one log a session, read from a cursor.

The interface is small so that it can stand on one process (`memory`) or on many.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from widget_proxy.messages import Event


@dataclass(frozen=True, slots=True)
class Entry:
    """An event and its place in the log. `cursor` matches `[A-Za-z0-9-]{1,64}` and is opaque to everyone else."""

    cursor: str
    event: Event


@dataclass(frozen=True, slots=True)
class SendClaim:
    """What is known of an idempotency key: `new` (yours to send, then to settle or release), `done` (`result` is
    what was settled), or `mismatch` (the key was used with other content)."""

    state: Literal["new", "done", "mismatch"]
    result: dict[str, Any] | None = None


class Subscription(Protocol):
    """A stream's end of the log."""

    backlog: Sequence[Entry]
    """All kept entries, oldest first, whatever the cursor."""

    replay_from: int
    """Index in `backlog` of the first entry after the cursor: 0 where the log does not know the cursor (another
    process wrote it, or it was trimmed), since sending again is harmless and losing is not."""

    def live(self) -> AsyncIterator[Entry]:
        """Entries after the backlog, as they come. Ends when the broker closes its subscribers, or when this
        reader has fallen so far behind that the log no longer has its next entry: it then resumes from its cursor."""
        ...


class Broker(Protocol):
    """What hub and streams need. `session` is a log key, never upstream's session id itself."""

    async def publish(self, session: str, events: Sequence[Event]) -> None:
        """Append events in this order, as one step no reader sees half of. An event whose `identity` is already in
        the log is dropped: that is what makes two pollers harmless."""
        ...

    async def is_published(self, session: str, identity: str) -> bool:
        """Whether an event of this identity is in the log."""
        ...

    def subscribe(self, session: str, after: str | None) -> AbstractAsyncContextManager[Subscription]:
        """Read the log. `after` is a cursor this or another broker gave, or anything a client made up."""
        ...

    async def claim_message_poll(self, session: str, interval: float) -> float:
        """Ask to poll upstream's message list now. 0: granted, and the mark is set. Else the seconds until
        `interval` has passed since the last granted one."""
        ...

    async def claim_send(self, session: str, key: str, fingerprint: str) -> SendClaim:
        """Ask to send under this idempotency key. Waits while another request with the same key is at it."""
        ...

    async def settle_send(self, session: str, key: str, result: dict[str, Any]) -> None:
        """Keep the outcome: whoever comes with the same key is told the same."""
        ...

    async def release_send(self, session: str, key: str) -> None:
        """Forget the claim: nothing was sent, the key may try again."""
        ...

    def close_subscribers(self) -> None:
        """End every `live` iteration, now and from now on: the process drains."""
        ...
