"""What the hub knows of a session while it follows it. Everything here can be lost: the rest is in the broker and
with upstream."""

from dataclasses import dataclass, field

from widget_proxy.handles import AwaitedTask, ChatSession
from widget_proxy.history import History
from widget_proxy.pacing import THINKING_SECONDS


@dataclass(slots=True, eq=False)
class Followed:
    """One session, as this process follows it."""

    session: ChatSession
    watchers: int = 0
    pollers: int = 0  # of the watchers: they come and ask, and are told nothing between
    tasks: dict[str, AwaitedTask] = field(default_factory=dict)
    history: History = field(default_factory=History)
    between_pages: bool = False
    follows_history: bool = False
    quiet: float = 0.0
    failures: int = 0
    refused_since: float | None = None  # when the budget first had no room for its next poll
    over: bool = False
    troubled: bool = False
    answered_at: float | None = None  # when its last answer came
    thinking: float = THINKING_SECONDS

    @property
    def only_polled(self) -> bool:
        """Whether whoever listens looks but once a second."""
        return 0 < self.watchers == self.pollers

    @property
    def idle(self) -> bool:
        """Whether it can be forgotten."""
        return not self.watchers and not self.tasks and not self.follows_history
