"""What hub and streams share: one event log a session, read from a cursor, and the marks by which several workers
agree on who asks upstream, and how often.

The interface is small so that it can stand on one process (`memory`, the readable specification) or on many
(`redis`). Any method may raise `BrokerUnavailable`; nothing is then known of what it did.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from widget_proxy.broker.bearers import SharedBearers
from widget_proxy.broker.thumbs import SharedThumbs
from widget_proxy.messages import Event
from widget_proxy.pacing import Budget

KEPT_EVENTS = 2000
"""Entries a log keeps. A reader that falls further behind is closed and starts over."""

KEPT_IDENTITIES = 5 * KEPT_EVENTS
"""Identities a log knows, the oldest going first."""

KEPT_SECONDS = 3600.0
"""How long a log that nobody uses is kept. After that, upstream's history is read again."""

KEPT_SEND_SECONDS = 24 * 3600.0
"""How long an idempotency key is known: whoever comes back with a message of unknown fate may have slept a night."""

TAKEOVER_SHARE = 0.25
"""Share of a message poll's interval that other workers leave to the one that asked last: it knows where the reading
stands. If it is gone, they take over that much later."""


class BrokerUnavailable(Exception):
    """The broker cannot be reached."""


@dataclass(slots=True)
class Entry:
    """An event and its place in the log. `cursor` matches `[A-Za-z0-9-]{1,64}` and is opaque to everyone else.
    `wire` is for streams: the event as it goes down the socket, made once however many read it."""

    cursor: str
    event: Event
    wire: bytes | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class MessagePoll:
    """Answer to a claim. `wait` 0: granted, and the mark is set; else seconds until it may be asked again. `quiet`:
    seconds since anything was said in the session."""

    wait: float
    quiet: float


@dataclass(frozen=True, slots=True)
class PendingAnswer:
    """An answer in the making, as another worker needs it: `handle` is the session's, sealed."""

    ref: str
    handle: str


@dataclass(frozen=True, slots=True)
class SendClaim:
    """What is known of an idempotency key: `new` (yours to send, then to settle or release), `done` (`result` is
    what was settled), `lost` (whoever sent under it vanished, and nobody knows), or `mismatch` (the key was used
    with other content)."""

    state: Literal["new", "done", "lost", "mismatch"]
    result: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether a request to upstream may go. `wait` 0: it may, and is counted; else seconds until one might. `level`:
    how full the budget is, from 0 to 1."""

    wait: float
    level: float


class Subscription(Protocol):
    """A stream's end of the log."""

    backlog: Sequence[Entry]
    """All kept entries, oldest first, whatever the cursor."""

    replay_from: int
    """Index in `backlog` of the first entry after the cursor: 0 where the log does not know the cursor (another
    process wrote it, or it was trimmed), since sending again is harmless and losing is not."""

    @property
    def closed(self) -> bool:
        """No more will come: the process drains, the log began anew, or this reader fell too far behind. It resumes
        from its cursor."""
        ...

    def on_change(self, bell: Callable[[], None]) -> None:
        """Ring `bell` whenever there is something to take, or this is closed. One bell; it must not block."""
        ...

    def take(self) -> Sequence[Entry]:
        """What came since the backlog or the last `take`, oldest first."""
        ...

    def live(self) -> AsyncIterator[Entry]:
        """The same as an iteration, which ends when this is closed. Rings its own bell."""
        ...


class Broker(Protocol):
    """What hub and streams need. `session` is a log key, never upstream's session id itself."""

    bearers: SharedBearers
    thumbs: SharedThumbs

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exception: Any) -> bool | None: ...

    async def look(self) -> None:
        """Ask for a sign of life, within seconds. Raises `BrokerUnavailable`."""
        ...

    # The log

    async def publish(self, session: str, events: Sequence[Event]) -> None:
        """Append events in this order, as one step no reader sees half of. An event whose `identity` is already in
        the log is dropped: that is what makes two pollers harmless."""
        ...

    async def is_published(self, session: str, identity: str) -> bool:
        """Whether an event of this identity is in the log."""
        ...

    async def entries(self, session: str) -> Sequence[Entry]:
        """All kept entries, oldest first."""
        ...

    def subscribe(self, session: str, after: str | None) -> AbstractAsyncContextManager[Subscription]:
        """Read the log. `after` is a cursor this or another broker gave, or anything a client made up."""
        ...

    def close_subscribers(self) -> None:
        """Close every subscription, now and from now on: the process drains."""
        ...

    # Who polls the message list: a lease that each granted poll renews

    async def claim_message_poll(self, session: str, interval: float, *, ask_only: bool = False) -> MessagePoll:
        """Ask to poll upstream's message list now. Granted at most once in `interval` over all workers, and to the
        worker that was granted the last one before the others. `ask_only`: it would be, and nothing is marked."""
        ...

    # Who polls for an answer: a lease on each

    async def attend_answer(self, session: str, answer: PendingAnswer, seconds: float) -> bool:
        """Note an answer in the making and ask to be the one who polls for it, for `seconds`. False: another is."""
        ...

    async def keep_answer(self, ref: str, seconds: float) -> bool:
        """Renew the lease. False: it is another's by now, or the answer's end is known."""
        ...

    async def leave_answer(self, ref: str) -> None:
        """Give the lease up, for another to take."""
        ...

    async def finish_answer(self, ref: str) -> None:
        """The answer's end is published."""
        ...

    async def unattended_answers(self) -> Sequence[PendingAnswer]:
        """Answers in the making whose lease ran out, the longest ago first."""
        ...

    # Sends

    async def claim_send(self, session: str, key: str, fingerprint: str, seconds: float) -> SendClaim:
        """Ask to send under this idempotency key. Waits while another request with the same key is at it, which has
        `seconds`."""
        ...

    async def settle_send(self, session: str, key: str, result: dict[str, Any]) -> None:
        """Keep the outcome: whoever comes with the same key is told the same."""
        ...

    async def release_send(self, session: str, key: str) -> None:
        """Forget the claim: nothing was sent, the key may try again."""
        ...

    # The budget

    async def spend(self, upstream: str, budget: Budget, reserve: float) -> Allowance:
        """Take one request from what this upstream host allows, leaving the share `reserve` of the bucket."""
        ...

    async def give_back(self, upstream: str, budget: Budget) -> None:
        """A request that was taken is not made after all."""
        ...

    async def pause(self, upstream: str, budget: Budget, seconds: float) -> None:
        """Upstream ordered that nothing be asked for so long."""
        ...
