"""A log in this process and its readers. No reader holds a copy of what is to come, so a slow one costs nothing."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import anyio

from widget_proxy.broker import KEPT_EVENTS, Entry


class Log:
    """Entries in order. `first` is the position of the oldest kept one; positions never repeat."""

    __slots__ = ("_kept", "_subscriptions", "closed", "entries", "first")

    def __init__(self, entries: Iterable[Entry] = (), kept: int = KEPT_EVENTS) -> None:
        self.entries = deque(entries)
        self.first = 0
        self.closed = False
        self._kept = kept
        self._subscriptions: list[LogSubscription] = []

    @property
    def end(self) -> int:
        """Position after the newest entry."""
        return self.first + len(self.entries)

    @property
    def readers(self) -> int:
        """Open subscriptions."""
        return len(self._subscriptions)

    def append(self, entries: Iterable[Entry]) -> None:
        """Add entries, let the oldest go, and ring."""
        self.entries.extend(entries)
        while len(self.entries) > self._kept:
            self.entries.popleft()
            self.first += 1
        self.ring()

    def close(self) -> None:
        """Every reader ends."""
        self.closed = True
        self.ring()

    def ring(self) -> None:
        """Tell every reader."""
        for subscription in tuple(self._subscriptions):
            subscription.ring()

    def subscribe(self, replay_from: int) -> "LogSubscription":
        """A new reader; it has to be removed by `unsubscribe`."""
        subscription = LogSubscription(self, replay_from)
        self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: "LogSubscription") -> None:
        """The reader left."""
        self._subscriptions.remove(subscription)


class LogSubscription:
    """A place in one log."""

    __slots__ = ("_behind", "_bell", "_log", "_next", "backlog", "replay_from")

    def __init__(self, log: Log, replay_from: int) -> None:
        self.backlog: Sequence[Entry] = tuple(log.entries)
        self.replay_from = replay_from
        self._log = log
        self._next = log.end
        self._behind = False
        self._bell: Callable[[], None] | None = None

    @property
    def closed(self) -> bool:
        return self._behind or self._log.closed

    def on_change(self, bell: Callable[[], None]) -> None:
        self._bell = bell
        if self.closed or self._next < self._log.end:
            bell()

    def ring(self) -> None:
        """There is something to take."""
        if self._next < self._log.first:
            self._behind = True
        if self._bell is not None:
            self._bell()

    def take(self) -> Sequence[Entry]:
        log = self._log
        if self.closed or self._next >= log.end:
            return ()
        taken = [log.entries[position - log.first] for position in range(self._next, log.end)]
        self._next = log.end
        return taken

    async def live(self) -> AsyncIterator[Entry]:
        while not self.closed:
            changed = anyio.Event()
            self.on_change(changed.set)
            for entry in self.take():
                yield entry
            if self._next >= self._log.end:
                await changed.wait()
