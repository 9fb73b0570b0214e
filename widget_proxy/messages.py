"""What is said in a session, and what the hub tells about it. Pure: values in, values out."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Role = Literal["user", "assistant", "system"]
EventName = Literal["message", "progress", "done", "session", "ready", "notice"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that belongs to a message. `file_id` is upstream's; it never leaves the process unsealed."""

    name: str
    content_type: str
    size: int
    file_id: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a session as upstream tells it. Upstream gives messages no id.

    `created_at` has a timezone and microseconds; None where upstream's own value was unreadable.
    """

    created_at: datetime | None
    role: Role
    content: str
    attachments: tuple[Attachment, ...] = ()


def message_key(message: Message, ordinal: int = 0) -> str:
    """The stable identity of a message: the same wherever and whenever it is learned.

    Made of moment, role and text, since upstream has no id. `ordinal` counts equal triples: two messages of equal
    text in one microsecond are two messages.
    """
    moment = "" if message.created_at is None else message.created_at.astimezone(UTC).isoformat()
    parts = (moment, message.role, message.content, str(ordinal))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing to tell every stream of a session. `data` is JSON.

    `identity` says which events are the same thing: a broker publishes one of them only. None: each is its own.
    `at` and `reply` are no visitor's: when a failure was learned of, and the key of the message that an answer ended
    with, which may have been told before as one of the history.
    """

    name: EventName
    data: dict[str, Any] = field(default_factory=dict)
    identity: str | None = None
    at: datetime | None = None
    reply: str | None = None

    @property
    def is_activity(self) -> bool:
        """Whether something was said or done in the session; a session without activity is asked after less often."""
        return self.name in {"message", "progress", "done"}


def message_event(
    message: Message,
    key: str,
    html: str,
    attachments: list[dict[str, Any]] | None = None,
    task: str | None = None,
) -> Event:
    """A message for the visitor. `task` names the question it answers, where that is known."""
    data: dict[str, Any] = {
        "key": key,
        "role": message.role,
        "content": message.content,
        "html": html,
        "created_at": None if message.created_at is None else format_moment(message.created_at),
        "attachments": attachments or [],
    }
    if task is not None:
        data["task"] = task
    return Event("message", data, identity=key)


def progress_event(task: str, content: str) -> Event:
    """What the bot says it is doing. Never stored upstream, never part of the transcript."""
    return Event("progress", {"task": task, "content": content})


def done_event(
    task: str,
    status: Literal["complete", "failed", "timeout"],
    detail: str | None = None,
    *,
    at: datetime | None = None,
    reply: str | None = None,
) -> Event:
    """The one end of an accepted message."""
    data = {"task": task, "status": status}
    if detail is not None:
        data["detail"] = detail
    return Event("done", data, identity=done_identity(task), at=at, reply=reply)


def done_identity(task: str) -> str:
    """Which events are the end of this task."""
    return f"done:{task}"


def session_event(status: Literal["active", "ended", "expired"]) -> Event:
    """Whether the session can go on."""
    return Event("session", {"status": status}, identity=f"session:{status}")


def ready_event() -> Event:
    """Upstream's history has been read once: from here on the log is the whole transcript."""
    return Event("ready", identity="ready")


def notice_event(code: str, detail: str, retry_in: float | None = None) -> Event:
    """Something the visitor may want to know about the connection to the bot. `retry_in` in seconds."""
    data: dict[str, Any] = {"code": code, "detail": detail}
    if retry_in is not None:
        data["retry_in"] = round(retry_in, 1)
    return Event("notice", data)


def format_moment(moment: datetime) -> str:
    """RFC 3339 in UTC with `Z` and always six digits, so that the texts sort as the moments do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_moment(text: str) -> datetime | None:
    """Upstream's `created_at`. The fraction is missing where it is zero. None for anything unreadable, and for years
    before 1970: those are a broken clock's, and near the calendar's edges arithmetic with moments fails."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year >= 1970 else None
