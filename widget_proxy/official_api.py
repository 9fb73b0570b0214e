"""Open Chat Studio's Chat API as its own widget knows it: answers and errors in its shapes, for `drop_in`. Pure.

What upstream tells only its own people is empty in them: trace links, internal tags, its addresses, its versions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from widget_proxy.broker import Entry
from widget_proxy.handles import ChatSession
from widget_proxy.hub import FAILED_DETAIL
from widget_proxy.messages import Event, format_moment
from widget_proxy.problems import Problem

TOKENS_SINCE = (0, 9)
"""The first version of the official widget that sends back the session token it was given."""

PAGE = 50
"""Messages of a poll that says no limit."""

LONGEST_PAGE = 500

BEGINNING = "1970-01-01T00:00:00.000000Z"
"""Stands for a moment that was unreadable: the widget goes on from the last message's, and has to have one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error in upstream's shapes."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """What is answered is `refusal`."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.status)


NOT_ALLOWED = Refusal(403, {"detail": "Origin not allowed"})
NO_ORIGIN = Refusal(403, {"detail": "Origin or Referer header required for embedded widgets"})
UNKNOWN_CHATBOT = Refusal(401, {"detail": "Invalid widget embed key"})
NOT_FOUND = Refusal(404, {"detail": "Not found."})
TOKEN_REQUIRED = Refusal(403, {"error": "A session token is required.", "code": "session_token_required"})
TOKEN_INVALID = Refusal(403, {"error": "The session token is invalid.", "code": "session_token_invalid"})
EXPIRED = Refusal(403, {"error": "The session has expired.", "code": "session_expired"})
ENDED = Refusal(400, {"error": "Session has ended"})
NO_FILES = Refusal(400, {"error": "No files provided"})
BAD_SINCE = Refusal(400, {"error": "Invalid 'since' parameter format"})
BAD_LIMIT = Refusal(400, {"error": f"Invalid 'limit' parameter: a number from 1 to {LONGEST_PAGE}"})


def field_error(name: str, sentence: str) -> Refusal:
    """What is wrong with a field of a body."""
    return Refusal(400, {name: [sentence]})


_REFUSALS = {
    "session_expired": EXPIRED,
    "session_ended": ENDED,
    "handle_missing": TOKEN_REQUIRED,
    "handle_invalid": TOKEN_INVALID,
    "origin_not_allowed": NOT_ALLOWED,
}
_BUSY = {"upstream_busy", "too_many_requests"}
_OF_A_FILE = {"attachment_invalid", "file_too_large", "file_type_not_supported"}


def refusal_of(problem: Problem) -> Refusal:
    """One of our own errors, as upstream would have put it."""
    if (known := _REFUSALS.get(problem.code)) is not None:
        return known
    if problem.code in _BUSY:
        wait = int(problem.headers.get("Retry-After", "30"))
        body = {"detail": "Rate limit exceeded.", "available_in": wait}
        return Refusal(429, body, problem.headers | {"Retry-After": str(wait)})
    if problem.code in {"message_empty", "message_too_long"}:
        return field_error("message", problem.detail)
    if problem.code in _OF_A_FILE:
        return Refusal(400, {"error": problem.detail}, problem.headers)
    name = "detail" if problem.code == "bad_request" else "error"
    return Refusal(problem.status, {name: problem.detail}, problem.headers)


def session_id(session: ChatSession) -> str:
    """What a widget that sends a token may call the session: it opens nothing, and is the same each time."""
    return str(uuid5(NAMESPACE_OID, session.key))


def start_answer(
    session: ChatSession,
    handle: str,
    version: tuple[int, int] | None,
    *,
    chatbot_id: str,
    chatbot_name: str,
    participant_id: str | None,
    seed_task: str | None,
) -> dict[str, Any]:
    """The answer to a start. A version that knows no session token has the handle for the session's id, which it puts
    into paths and nowhere else; one that does keeps it out of them; who does not say which it is gets both."""
    knows_tokens = version is not None and version >= TOKENS_SINCE
    answer: dict[str, Any] = {
        "session_id": session_id(session) if knows_tokens else handle,
        "session_token": handle if knows_tokens or version is None else None,
        "chatbot": {"id": chatbot_id, "name": chatbot_name, "url": None, "version_number": None, "versions": []},
        "participant": {"identifier": participant_id or "", "remote_id": participant_id},
    }
    if seed_task is not None:
        answer["seed_message_task_id"] = seed_task
    return answer


def message_json(data: Mapping[str, Any], public_url: str) -> dict[str, Any]:
    """A message of the log. Files are below `public_url`, the proxy's address as browsers see it."""
    return {
        "created_at": data["created_at"] or BEGINNING,
        "role": data["role"],
        "content": data["content"],
        "metadata": {},
        "tags": [],
        "attachments": [_attachment(one, public_url) for one in data["attachments"]],
    }


def _attachment(data: Mapping[str, Any], public_url: str) -> dict[str, Any]:
    told = {"name": data["name"], "content_type": data["content_type"], "size": data["size"]}
    url: str | None = data["url"]
    if url is None:
        return told
    return told | {"content_url": f"{public_url}{url}" if url.startswith("/") else url}


def task_answer(
    entries: Sequence[Entry], task: str, now: datetime, public_url: str
) -> dict[str, Any] | Refusal | None:
    """The answer to a task poll, by the log: what to say, or the error to end with. None: the log does not know how
    it ended. `now` dates what the bot says of its work, as upstream does."""
    progress: str | None = None
    reply: Mapping[str, Any] | None = None
    done: Event | None = None
    told: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        event = entry.event
        match event.name:
            case "message":
                told[event.data["key"]] = event.data
                if event.data.get("task") == task:
                    reply = event.data
            case "progress" if event.data["task"] == task:
                progress = event.data["content"]
            case "done" if event.data["task"] == task:
                done = event
            case "session" if event.data["status"] == "expired" and done is None:
                return EXPIRED
            case _:
                pass
    if done is None:
        return None if progress is None else {"message": _progress(progress, now), "status": "processing"}
    if done.data["status"] == "failed":
        detail = done.data.get("detail", FAILED_DETAIL)
        # What upstream meant for the visitor it says with a 400.
        return Refusal(500 if detail == FAILED_DETAIL else 400, {"error": detail, "status": "error"})
    if done.data["status"] == "timeout":
        return {"message": None, "status": "processing"}  # the widget has a patience of its own
    reply = reply or told.get(done.reply or "")
    return {"message": None if reply is None else message_json(reply, public_url), "status": "complete"}


def _progress(content: str, now: datetime) -> dict[str, Any]:
    data = {"created_at": format_moment(now), "role": "assistant", "content": content, "attachments": []}
    return message_json(data, "")


def poll_answer(
    entries: Sequence[Entry], since: datetime | None, limit: int, public_url: str
) -> dict[str, Any] | Refusal:
    """The answer to a message poll, by the log: at most `limit` messages after `since`, oldest first. Messages of one
    moment are never parted: whoever goes on from the last one would miss the others."""
    statuses = [entry.event.data["status"] for entry in entries if entry.event.name == "session"]
    if "expired" in statuses:
        return EXPIRED
    after = "" if since is None else format_moment(since)
    told = [entry.event.data for entry in entries if entry.event.name == "message"]
    fresh = sorted(
        (data for data in told if since is None or (data["created_at"] or BEGINNING) > after),
        key=lambda data: data["created_at"] or BEGINNING,
    )
    end = min(limit, len(fresh))
    while 0 < end < len(fresh) and fresh[end]["created_at"] == fresh[end - 1]["created_at"]:
        end += 1
    return {
        "messages": [message_json(data, public_url) for data in fresh[:end]],
        "has_more": end < len(fresh),
        "session_status": statuses[-1] if statuses else "active",
    }


def parse_since(text: str | None) -> datetime | None:
    """The moment a poll goes on from. Raises `Refused`."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(BAD_SINCE) from None
    return moment if moment.year >= 1970 else None


def parse_limit(text: str | None) -> int:
    """How many messages a poll wants. Raises `Refused`."""
    if text is None:
        return PAGE
    # More digits cannot be one, and a few thousand Python refuses to read.
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= limit <= LONGEST_PAGE:
        raise Refused(BAD_LIMIT)
    return limit
