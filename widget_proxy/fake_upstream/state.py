"""Sessions, messages, tasks and files in memory. What can be seen of them is a function of the present moment: an
answer is there once its time has come, with nothing running in the background."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from widget_proxy.fake_upstream.settings import Channel, FakeUpstreamSettings

Outcome = Literal["reply", "fail", "refuse", "lost", "unsaved"]

APOLOGY = "Sorry, something went wrong while I was working on this. Please try again."

ROW_DELAY = 0.03
"""The visitor's row is written by a worker, a little after the send was answered."""

COMMIT_DELAY = 0.01
"""A reply is in the history 4 to 16 ms before its task says complete."""


def moment(seconds: float) -> str:
    """A `created_at`: microseconds and `Z`, and no fraction where it is zero."""
    text = datetime.fromtimestamp(round(seconds, 6), UTC).isoformat()
    return text.replace("+00:00", "Z")


@dataclass(slots=True)
class Row:
    """One stored message. `visible` from this moment on."""

    role: str
    content: str
    created: float
    visible: float
    session_id: str
    attachments: list[dict[str, Any]] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """As upstream tells it, with what is no visitor's business."""
        return {
            "created_at": moment(self.created),
            "role": self.role,
            "content": self.content,
            "metadata": {
                "trace_info": {"trace_url": f"https://upstream.invalid/a/acme-team/traces/{self.session_id}/"}
            },
            "tags": ["v1-unreleased", "internal-acme-label"] if self.role == "assistant" else [],
            "attachments": self.attachments,
        }


@dataclass(slots=True)
class Plan:
    """How an answer is to come about. Times are seconds from the send."""

    text: str
    delay: float
    progress: list[tuple[float, str]] = field(default_factory=list)
    outcome: Outcome = "reply"
    session: str | None = None
    ends_session: bool = False
    reminder_after: float | None = None


@dataclass(slots=True)
class Task:
    """One answer in the making."""

    id: str
    session_id: str
    plan: Plan
    begun: float
    row: Row | None

    @property
    def ready(self) -> float:
        """When its poll says complete."""
        return self.begun + self.plan.delay

    def progress(self, now: float) -> str | None:
        """What the bot says of its work at this moment."""
        told = [text for after, text in self.plan.progress if self.begun + after <= now]
        return told[-1] if told else None


@dataclass(slots=True)
class Session:
    """One chat session."""

    id: str
    channel: Channel
    token: str | None
    started: float
    start_body: dict[str, Any]
    start_headers: dict[str, str]
    state: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    ended_at: float | None = None
    expired: bool = False
    tags: list[str] = field(default_factory=list)
    closed: bool = False
    """Ended by its team, and kept for a review: upstream goes on to say `active` of it and to take messages."""

    def visible_rows(self, now: float) -> list[Row]:
        """The history at this moment, oldest first; equal moments in order of writing."""
        return sorted((row for row in self.rows if row.visible <= now), key=lambda row: row.created)

    def has_ended(self, now: float) -> bool:
        """Whether it takes no more messages."""
        return self.ended_at is not None and self.ended_at <= now


@dataclass(slots=True)
class StoredFile:
    """An uploaded file. Its bytes are not kept: nobody reads them back but as so many zeros."""

    id: int
    name: str
    size: int
    content_type: str
    session_id: str

    def json(self) -> dict[str, Any]:
        """As the upload answers."""
        return {"id": self.id, "name": self.name, "size": self.size, "content_type": self.content_type}


class World:
    """All of it. Bounded: a session has as many rows as were written, and old sessions go with `reset`."""

    def __init__(self, settings: FakeUpstreamSettings) -> None:
        self.settings = settings
        self.keyless = Channel(name="Team API", embed_key="", allowed_domains=())
        self.sessions: dict[str, Session] = {}
        self.files: dict[int, StoredFile] = {}
        self.bearers: dict[str, float] = {}
        self.plans: list[Plan] = []
        self._file_number = 0

    def reset(self) -> None:
        """Forget everything but the settings, and switch every channel on."""
        self.sessions.clear()
        self.files.clear()
        self.plans.clear()
        self.bearers.clear()
        for channel in self.settings.channels:
            channel.enabled = True

    def channel(self, chatbot_id: str) -> Channel | None:
        """The channel of a chatbot."""
        return next((one for one in self.settings.channels if one.chatbot_id == chatbot_id), None)

    def start(self, channel: Channel, body: dict[str, Any], headers: dict[str, str]) -> Session:
        """A new session, and on older instances the bot's own first message in the making."""
        now = self.settings.clock()
        identifier = str(uuid4())
        token = None
        if channel.mode not in {"no_tokens", "open", "api_key"} and channel is not self.keyless:
            token = "fake-session-token-" + hashlib.sha256(identifier.encode()).hexdigest()[:32]
        session = Session(identifier, channel, token, now, body, headers)
        if body.get("page_context") and not channel.drops_page_context:
            session.state["page_context"] = body["page_context"]
        self.sessions[identifier] = session
        return session

    def ask(self, session: Session, text: str | None, plan: Plan, attachments: list[int]) -> Task:
        """Store a visitor's message (None: none, the bot speaks first) and begin its answer."""
        now = self.settings.clock()
        if text is not None:
            files = [self._attachment(self.files[one]) for one in attachments]
            session.rows.append(Row("user", text.strip(), now + ROW_DELAY / 2, now + ROW_DELAY, session.id, files))
        row = None
        if plan.outcome in {"reply", "fail", "refuse"}:
            content = plan.text if plan.outcome == "reply" else APOLOGY
            seen = max(now + plan.delay - COMMIT_DELAY, now)
            row = Row("assistant", content, seen, seen, session.id)
            session.rows.append(row)
        task = Task(str(uuid4()), session.id, plan, now, row)
        session.tasks[task.id] = task
        if plan.ends_session:
            session.ended_at = task.ready
        if plan.reminder_after is not None:
            later = task.ready + plan.reminder_after
            session.rows.append(
                Row("assistant", "A reminder, as you asked: I am still here.", later, later, session.id)
            )
        return task

    def say(self, session: Session, text: str, created: float | None = None, files: Sequence[int] = ()) -> None:
        """A message of the bot's own, or of a human behind it."""
        now = self.settings.clock()
        attached = [self._attachment(self.files[one]) for one in files]
        session.rows.append(Row("assistant", text, now if created is None else created, now, session.id, attached))

    def store_file(self, session: Session, name: str, size: int, content_type: str) -> StoredFile:
        """Keep what is known of an upload."""
        self._file_number += 1
        stored = StoredFile(self._file_number, name, size, content_type, session.id)
        self.files[stored.id] = stored
        return stored

    def plan_for(self, session: Session) -> Plan | None:
        """The next ordered answer for this session, or for any."""
        for position, plan in enumerate(self.plans):
            if plan.session in {None, session.id}:
                return self.plans.pop(position)
        return None

    def _attachment(self, file: StoredFile) -> dict[str, Any]:
        return {
            "name": file.name,
            "content_type": file.content_type,
            "size": file.size,
            "content_url": f"http://upstream.invalid/api/files/{file.id}/content",
        }


def is_session_id(text: str) -> bool:
    """A lower-case UUID: upstream's routes match nothing else."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
