"""How it went with one upstream: each request is counted, and the last word remembered."""

import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, cast, get_args
from urllib.parse import urlsplit

from widget_proxy.upstream.errors import (
    BadAnswer,
    ChatbotUnavailable,
    CredentialsRefused,
    RequestRefused,
    SessionEnded,
    SessionLost,
    UpstreamBusy,
    UpstreamUnreachable,
)

Kind = Literal["start", "message", "task_poll", "message_poll", "upload", "file", "token", "end", "tags", "state"]
KINDS: tuple[Kind, ...] = get_args(Kind)

OK = "ok"
ABORTED = "aborted"
"""Nobody waited for it any more, or the sender of a file was gone."""

OUTCOMES: dict[type[Exception], str] = {
    UpstreamUnreachable: "unreachable",
    UpstreamBusy: "busy",
    BadAnswer: "bad_answer",
    CredentialsRefused: "credentials_refused",
    ChatbotUnavailable: "switched_off",
    SessionLost: "session_lost",
    SessionEnded: "session_ended",
    RequestRefused: "refused",
}
"""By the errors of the tree."""

FAILURES = {"unreachable", "bad_answer", "busy"}
"""Upstream is not there, or not for us. Any other answer shows that it is."""


@dataclass(slots=True)
class LastWord:
    """Of one upstream. Moments in Unix time, 0 where there was none; `failures`: in a row."""

    answered: float = 0.0
    failed: float = 0.0
    failures: int = 0

    def note(self, outcome: str, now: float) -> None:
        """A request came to this outcome."""
        if outcome in FAILURES:
            self.failed, self.failures = now, self.failures + 1
        elif outcome != ABORTED:
            self.answered, self.failures = now, 0


Watch = Callable[[Kind], AbstractContextManager[None]]
"""Is entered for each request, and left with what became of it."""


class Counting(Protocol):
    """Takes the count of requests."""

    def upstream_request(self, upstream: str, kind: str, outcome: str, seconds: float) -> None: ...


@contextmanager
def unwatched(kind: Kind) -> Iterator[None]:
    """Counts nothing."""
    yield


class UpstreamWatch:
    """Watches one upstream, `host`. `clock` is monotonic seconds, `now` Unix time."""

    def __init__(
        self,
        host: str,
        counting: Counting,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.host = host
        self.last_word = LastWord()
        self._counting = counting
        self._clock = clock
        self._now = now

    @contextmanager
    def __call__(self, kind: Kind) -> Iterator[None]:
        """Around one request."""
        began, outcome = self._clock(), ABORTED
        try:
            yield
            outcome = OK
        except Exception as error:
            outcome = next((name for one, name in OUTCOMES.items() if isinstance(error, one)), ABORTED)
            raise
        finally:
            self.last_word.note(outcome, self._now())
            self._counting.upstream_request(self.host, kind, outcome, self._clock() - began)


class Watches:
    """Of all upstreams, by their addresses."""

    def __init__(self, counting: Counting) -> None:
        self._counting = counting
        self._watches: dict[str, UpstreamWatch] = {}
        self.in_use: tuple[UpstreamWatch, ...] = ()

    def of(self, address: str) -> UpstreamWatch:
        """Of this one."""
        if address not in self._watches:
            self._watches[address] = UpstreamWatch(host_of(address), self._counting)
        return self._watches[address]

    def use(self, addresses: Iterable[str]) -> None:
        """These are what sites are configured with now; of others nothing more is to be heard."""
        self.in_use = tuple(map(self.of, sorted(addresses)))


def host_of(address: str) -> str:
    """An upstream's name in a label."""
    return urlsplit(address).netloc


class _Watched(Protocol):
    watch: Watch


Client = TypeVar("Client", bound=_Watched)
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
_Method = Callable[Concatenate[Client, Arguments], Coroutine[Any, Any, Answer]]


def asks(
    kind: Kind,
) -> Callable[[_Method[Client, Arguments, Answer]], _Method[Client, Arguments, Answer]]:
    """Marks a client's method that makes one request."""

    def watched(method: _Method[Client, Arguments, Answer]) -> _Method[Client, Arguments, Answer]:
        @wraps(method)
        async def asked(client: Client, *arguments: Arguments.args, **named: Arguments.kwargs) -> Answer:
            with client.watch(kind):
                return await method(client, *arguments, **named)

        return cast("_Method[Client, Arguments, Answer]", asked)

    return watched
