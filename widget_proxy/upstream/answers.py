"""Upstream's answers, read strictly where it matters and leniently elsewhere: unknown fields are ignored."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, TypeAdapter

from widget_proxy.config.values import header_value
from widget_proxy.messages import Attachment, Message, parse_moment

_FILE_PATH = re.compile(r"/api/files/([A-Za-z0-9_-]{1,64})/content/?")
_SESSION_ID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_TASK_ID = r"^[A-Za-z0-9_-]{1,128}$"
_HEADER_VALUE = r"^[\x21-\x7e]{1,4096}$"  # a token goes back in a header: nothing that could break out of one


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


def _text_or_empty(value: object) -> object:
    return "" if value is None else value


class _Attachment(_Answer):
    name: str = "file"
    content_type: str = "application/octet-stream"
    size: int = 0
    content_url: str = ""


class _Message(_Answer):
    created_at: str | None = None
    role: Literal["user", "assistant", "system"]
    content: Annotated[str, BeforeValidator(_text_or_empty)] = ""
    attachments: list[_Attachment] | None = None

    def message(self) -> Message:
        return Message(
            created_at=None if self.created_at is None else parse_moment(self.created_at),
            role=self.role,
            content=self.content,
            attachments=tuple(
                Attachment(one.name[:255], one.content_type[:255], one.size, _file_id(one.content_url))
                for one in self.attachments or ()
            ),
        )


def _file_id(url: str) -> str | None:
    """Only the id is taken from `content_url`: its host repeats whatever `Host` the request had."""
    try:
        matched = _FILE_PATH.fullmatch(urlsplit(url).path)
    except ValueError:
        return None
    return matched[1] if matched else None


class _Chatbot(_Answer):
    name: Annotated[str, BeforeValidator(_text_or_empty)] = ""


class _Participant(_Answer):
    identifier: str | None = None
    remote_id: str | None = None
    id: str | None = None
    name: str | None = None


class StartAnswer(_Answer):
    session_id: str = Field(pattern=_SESSION_ID)
    session_token: Annotated[str, Field(pattern=_HEADER_VALUE)] | None = None
    chatbot: _Chatbot = _Chatbot()
    participant: _Participant = _Participant()
    seed_message_task_id: Annotated[str, Field(pattern=_TASK_ID)] | None = None


class SendAnswer(_Answer):
    task_id: str = Field(pattern=_TASK_ID)


class TaskAnswer(_Answer):
    status: Literal["processing", "complete", "error"]
    message: _Message | None = None
    error: Annotated[str, BeforeValidator(_text_or_empty)] = ""


class PollAnswer(_Answer):
    messages: list[_Message]
    has_more: bool = False
    session_status: str = "active"


class _File(_Answer):
    id: int
    name: str
    size: int = 0
    content_type: str = "application/octet-stream"


class UploadAnswer(_Answer):
    files: list[_File]


class BearerAnswer(_Answer):
    access_token: Annotated[SecretStr, AfterValidator(header_value)] = Field(min_length=1, max_length=4096)
    expires_in: float = Field(3600.0, gt=0, le=366 * 86_400)


START = TypeAdapter(StartAnswer)
SEND = TypeAdapter(SendAnswer)
TASK = TypeAdapter(TaskAnswer)
POLL = TypeAdapter(PollAnswer)
UPLOAD = TypeAdapter(UploadAnswer)
BEARER = TypeAdapter(BearerAnswer)
ERROR_BODY: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Started:
    """A new session. `token` is None on channels that predate session tokens; `seed_task_id` names the bot's own
    first message in the making, on instances that have one."""

    session_id: str
    token: str | None
    chatbot_name: str
    participant_id: str | None
    participant_name: str | None
    seed_task_id: str | None


@dataclass(frozen=True, slots=True)
class Processing:
    """Still at it. `progress` is what the bot says of its work; its moment is made up, so it is not told."""

    progress: str | None


@dataclass(frozen=True, slots=True)
class Complete:
    """The answer. It may never appear in the history: some are not stored. None: complete, and nothing to say."""

    message: Message | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The bot failed. `for_visitor` is a sentence upstream meant for the visitor, where it had one."""

    for_visitor: str | None


TaskState = Processing | Complete | Failed


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Part of the history, oldest first. `ended`: the session takes no more messages."""

    messages: tuple[Message, ...]
    has_more: bool
    ended: bool


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file upstream took. `id` goes into a message's attachments."""

    id: int
    name: str
    size: int
    content_type: str
