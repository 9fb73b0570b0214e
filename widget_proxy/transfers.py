"""How many files are on their way at once, one direction, a process. Each holds a connection to upstream for as long
as whoever sends or reads it takes, so nobody may have all the places."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from widget_proxy.problems import Problem

MOST_OF_A_SESSION = 3
"""Files of one session on their way at once."""

ADDRESS_SHARE = 0.25
"""Share of all places that one client address may have; never less than a session's."""

TRY_AGAIN_SECONDS = 5


class Transfers:
    """The files that are on their way. `most`: places there are."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_an_address = max(MOST_OF_A_SESSION, int(most * ADDRESS_SHARE))
        self._sessions: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    @property
    def running(self) -> int:
        """Files on their way now."""
        return self._sessions.total()

    @contextmanager
    def room(self, session: str, address: str | None) -> Iterator[None]:
        """A place, for as long as the block takes. `address` is what the visitor is counted by, None where that is
        not known. Raises `Problem`."""
        headers = {"Retry-After": str(TRY_AGAIN_SECONDS)}
        if self.running >= self._most:
            raise Problem("unavailable", "Too many files are on their way just now.", headers=headers)
        if self._sessions[session] >= MOST_OF_A_SESSION:
            raise Problem("too_many_requests", "Wait until your other files are there.", headers=headers)
        if address is not None and self._addresses[address] >= self._most_of_an_address:
            raise Problem("too_many_requests", "Too many files of your network are on their way.", headers=headers)
        counted = [(self._sessions, session)] + ([] if address is None else [(self._addresses, address)])
        for counter, name in counted:
            counter[name] += 1
        try:
            yield
        finally:
            for counter, name in counted:
                counter[name] -= 1
                if not counter[name]:
                    del counter[name]
