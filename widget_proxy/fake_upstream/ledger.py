"""What was asked: every request of the Chat API, so that tests can count what was spent."""

from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

KEPT = 50_000


@dataclass(slots=True)
class Request:
    """One request. `at` is wall time in seconds; `kind` one of start, message, task_poll, message_poll, upload, file,
    token, other. `body` is JSON as it was sent, or of an upload the files that came; `status` 0 where the client went
    before there was an answer."""

    at: float
    kind: str
    session: str | None
    task: str | None
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: Any
    status: int


class Ledger:
    """The last `KEPT` requests, and counts of all."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque(maxlen=KEPT)
        self.counts: Counter[str] = Counter()
        self.by_session: dict[str, Counter[str]] = {}

    def write(self, request: Request) -> None:
        """Note a request."""
        self.requests.append(request)
        self.counts[request.kind] += 1
        if request.session is not None:
            self.by_session.setdefault(request.session, Counter())[request.kind] += 1

    def clear(self) -> None:
        """Forget them."""
        self.requests.clear()
        self.counts.clear()
        self.by_session.clear()

    def json(self) -> list[dict[str, Any]]:
        """All kept ones, oldest first."""
        return [asdict(request) for request in self.requests]
