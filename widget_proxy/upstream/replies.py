"""What a whole reply of upstream's means: the answer in it, or one error of the tree."""

from dataclasses import dataclass
from typing import TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from widget_proxy.upstream.answers import ERROR_BODY
from widget_proxy.upstream.errors import (
    BadAnswer,
    CredentialsRefused,
    FileRefused,
    RequestRefused,
    SessionEnded,
    SessionLost,
)

_LOST_CODES = {"session_token_required", "session_token_invalid", "session_expired"}

_Model = TypeVar("_Model")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that has arrived whole. `body` is as long as `upstream.answer_bytes` at most."""

    status: int
    headers: httpx.Headers
    body: bytes


def read_answer(reply: Reply, adapter: TypeAdapter[_Model], expected: int) -> _Model:
    """The answer of a reply with the status `expected`. Raises `RequestRefused` or `BadAnswer`."""
    if reply.status != expected:
        if reply.status in {400, 404, 413, 415} and (detail := error_text(reply, "detail", "error")) is not None:
            raise RequestRefused(reply.status, detail)
        if reply.status == 400 and parse(reply, ERROR_BODY) is not None:
            raise RequestRefused(400, reply.body[:200].decode("utf-8", "replace"))
        raise BadAnswer(f"it answered {reply.status} instead of {expected}", fate="unknown")
    model = parse(reply, adapter)
    if model is None:
        raise BadAnswer("its answer is not what the API documents", fate="unknown")
    return model


def parse(reply: Reply, adapter: TypeAdapter[_Model]) -> _Model | None:
    """What the body says, whatever the status; None where it is no JSON of this shape."""
    if not reply.headers.get("Content-Type", "").lower().startswith("application/json"):
        return None
    try:
        return adapter.validate_json(reply.body)
    except ValidationError:
        return None


def refuse_lost(reply: Reply) -> None:
    """The refusals of a call on a session. Raises `SessionLost` or `CredentialsRefused`."""
    if reply.status not in {401, 403}:
        return
    code = error_code(reply)
    if code in _LOST_CODES:
        raise SessionLost(f"upstream refuses the session: {code}")
    detail = error_text(reply, "detail", "error") or "?"
    if detail == "Session does not exist":
        raise SessionLost("upstream does not know the session")
    raise CredentialsRefused(f"a session call answered {reply.status}: {detail}", status=reply.status)


def refuse_key(reply: Reply, call: str) -> None:
    """The refusals of what the site itself is let in by. Raises `CredentialsRefused`."""
    if reply.status in {401, 403}:
        text = error_text(reply, "detail", "error") or "?"
        raise CredentialsRefused(f"{call} answered {reply.status}: {text}", status=reply.status)


def refuse_ended(reply: Reply) -> None:
    """Raises `SessionEnded` where the session takes no more."""
    if reply.status == 400 and error_text(reply, "error") == "Session has ended":
        raise SessionEnded("the session has ended")


def refuse_file(reply: Reply) -> None:
    """An upload's own refusals. A 413 or 415 may come from whatever stands before upstream, in any shape."""
    text = error_text(reply, "error", "detail") or ""
    if reply.status == 413 or (reply.status == 400 and "exceeds maximum" in text):
        raise FileRefused(reply.status, "it is larger than upstream takes", "size")  # its own words hold the name
    if reply.status == 415 or (reply.status == 400 and text.startswith("File type")):
        raise FileRefused(reply.status, text or "it is of a type that upstream does not take", "type")


def error_code(reply: Reply) -> str | None:
    """The error's word for programs, where it has one."""
    code = (parse(reply, ERROR_BODY) or {}).get("code")
    return code if isinstance(code, str) else None


def error_text(reply: Reply, *fields: str) -> str | None:
    """The error's sentence, from the first of these fields that has one; at most 500 characters."""
    body = parse(reply, ERROR_BODY) or {}
    for name in fields:
        if isinstance(text := body.get(name), str):
            return text[:500]
    return None
