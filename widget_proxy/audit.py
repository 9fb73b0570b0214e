"""Who was turned away, for the operator's log: a line each, as far as there is room for lines.

A flood must not become one of the log. What is not told one by one is counted, and the next line says how many.
"""

import logging
import time
from collections.abc import Callable, Collection

from starlette.types import Scope

from widget_proxy.client_address import PAST_PROXIES, shortened
from widget_proxy.problems import Problem
from widget_proxy.rates import TooManyRequests

logger = logging.getLogger(__name__)

LINES = 20
LINES_SECONDS = 60.0
"""At most `LINES` in so many seconds."""


class Audit:
    """Tells of refused starts, and of everybody over a rate. `clock`: seconds."""

    def __init__(self, sites: Collection[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._sites = sites
        self._clock = clock
        self._began = clock()
        self._told = 0
        self._untold = 0

    def refused(self, scope: Scope, problem: Problem) -> None:
        """A request ended in this problem."""
        site = _site_to_start(scope)
        if site is None and not isinstance(problem, TooManyRequests):
            return
        if not self._has_room():
            self._untold += 1
            return
        client = scope["client"][0] if scope.get("client") else None
        logger.warning(
            "refused %s: reason=%s site=%s client=%s%s%s",
            "a request" if site is None else "a start",
            problem.policy if isinstance(problem, TooManyRequests) else problem.code,
            site if site in self._sites else "-",  # of others only the sender knows what is in their names
            shortened(client),
            _hint(scope, problem),
            f" (and {self._untold} before it, not told one by one)" if self._untold else "",
        )
        self._untold = 0

    def _has_room(self) -> bool:
        now = self._clock()
        if now - self._began >= LINES_SECONDS:
            self._began, self._told = now, 0
        self._told += 1
        return self._told <= LINES


def _hint(scope: Scope, problem: Problem) -> str:
    """A proxy in front that nobody named makes one visitor of all of them."""
    if not (isinstance(problem, TooManyRequests) and problem.policy.endswith("address")):
        return ""
    unheard = not scope.get(PAST_PROXIES) and any(name == b"x-forwarded-for" for name, _ in scope["headers"])
    return " (it has an X-Forwarded-For; is this a proxy of yours? See server.trusted_proxies)" if unheard else ""


def _site_to_start(scope: Scope) -> str | None:
    """The site of a request for a session; None of any other."""
    parts = scope["path"].split("/")
    starts = (
        scope["method"] == "POST" and len(parts) == 5 and parts[1:3] == ["v1", "sites"] and parts[4] == "sessions"
    )
    return parts[3] if starts else None
