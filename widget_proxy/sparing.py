"""A flood must not become one of the log."""

import logging
import time
from collections.abc import Callable

SAME_LINES = 30
SAME_SECONDS = 60.0
"""At most `SAME_LINES` of one kind in so many seconds: who can make it write a line must not fill the disk."""


class Sparing(logging.Filter):
    """Lets warnings of one kind through as far as there is room, and tells with a later one how many are missing.
    `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}  # when its minute began, and how many there were

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        kind, now = f"{record.name} {record.msg}"[:200], self._clock()
        began, seen = self._kinds.get(kind, (now, 0))
        missing = 0
        if now - began >= SAME_SECONDS:
            missing, began, seen = max(0, seen - SAME_LINES), now, 0
        if kind not in self._kinds and len(self._kinds) >= 1000:
            self._kinds.clear()  # our own kinds are far fewer
        self._kinds[kind] = (began, seen + 1)
        if missing:
            record.msg, record.args = f"{record.getMessage()} (and {missing} like it before, not told)", ()
        return seen < SAME_LINES
