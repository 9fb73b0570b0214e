"""What was lost, what was doubled: the visitors' notes against what upstream stored. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

UNSAVED = "This answer is not in the history."


BROKEN = ("lost", "doubled", "without_exactly_one_done", "done_twice_on_one_stream", "sent_twice", "never_arrived")
"""What has to be 0."""


@dataclass(slots=True)
class Verdict:
    """Counts over all visitors."""

    lost: int = 0
    doubled: int = 0
    without_exactly_one_done: int = 0
    done_twice_on_one_stream: int = 0
    sent_twice: int = 0
    never_arrived: int = 0
    messages: int = 0
    found_in_transcript: int = 0
    repeated_on_the_wire: int = 0
    reconnects: int = 0

    @property
    def clean(self) -> bool:
        """Whether the promises were kept."""
        return not any(getattr(self, one) for one in BROKEN)

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def json(self) -> dict[str, int]:
        """For the results."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Noted:
    """What a visitor noted. `sent`: text and task of each accepted message; `ends`: how often each end was told;
    `repeated` of them again, `repeated_on_one_stream` again on the same connection."""

    sent: Sequence[tuple[str, str | None]]
    shown: Sequence[Mapping[str, Any]]
    ends: Mapping[str, Mapping[str, int]]
    repeated: int = 0
    connects: int = 1
    repeated_on_one_stream: int = 0


def judge(noted: Noted, stored: Iterable[Mapping[str, Any]]) -> Verdict:
    """One visitor against the rows upstream stored of the session: `role`, `content`, `created_at`."""
    verdict = Verdict(
        messages=len(noted.sent),
        found_in_transcript=sum(task is None for _, task in noted.sent),
        repeated_on_the_wire=noted.repeated,
        done_twice_on_one_stream=noted.repeated_on_one_stream,
        reconnects=max(0, noted.connects - 1),
    )
    rows = Counter((row["role"], _moment(row["created_at"]), row["content"]) for row in stored)
    shown = Counter(
        (one["role"], _moment(one["created_at"]), one["content"]) for one in noted.shown if one["content"] != UNSAVED
    )
    verdict.lost += sum((rows - shown).values())
    verdict.doubled += sum((shown - rows).values())
    # Answers that upstream never stores are known by their text and the message they answer.
    unsaved = [task for text, task in noted.sent if text.startswith("/unsaved") and task is not None]
    seen = Counter(one.get("task") for one in noted.shown if one["content"] == UNSAVED)
    verdict.lost += sum(seen[task] == 0 for task in unsaved)
    verdict.doubled += sum(max(0, count - 1) for count in seen.values())
    verdict.without_exactly_one_done = sum(
        len(noted.ends.get(task, ())) != 1 for _, task in noted.sent if task is not None
    )
    upstream = Counter(content for role, _, content in rows.elements() if role == "user")
    verdict.sent_twice = sum(max(0, count - 1) for count in upstream.values())
    verdict.never_arrived = sum(text not in upstream for text, _ in noted.sent)
    return verdict


def _moment(text: str | None) -> str:
    """Upstream leaves the fraction out where it is zero, and the proxy never does."""
    plain = (text or "").removesuffix("Z")
    return plain if "." in plain else f"{plain}.000000"
