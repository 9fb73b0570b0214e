"""Request bodies of `v1`: read with a limit and a time-out, checked, and each mistake named."""

import asyncio
import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from widget_proxy.page_context import has_controls
from widget_proxy.problems import Problem

BODY_SECONDS = 15.0
"""Time for a body to arrive: a phone's, not a slow attacker's."""


def _without_controls(text: str) -> str:
    if has_controls(text):
        raise ValueError("it holds a control character")
    return text


class _Body(BaseModel):
    # What a visitor sent is in no traceback.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


PlainText = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_without_controls)]


class Participant(_Body):
    """Who the page says the visitor is; upstream's own limits."""

    id: PlainText | None = None
    name: PlainText | None = None


class StartBody(_Body):
    """`POST /v1/sites/{site}/sessions`. What is `object` here is checked by `page_context`, with its own codes."""

    page_context: object = None
    participant: Participant | None = None
    visitor_token: str | None = None
    session_data: object = None


class MessageBody(_Body):
    """`POST /v1/session/messages`."""

    message: str
    page_context: object = None
    visitor_token: str | None = None
    attachments: list[str] = []


class FeedbackBody(_Body):
    """`POST /v1/session/feedback`: the thumb under a message, by the message's key; null takes it back."""

    key: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    value: Literal["up", "down"] | None


Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: Request, model: type[Body], longest: int) -> Body:
    """The request's body as `model`. Raises `Problem`."""
    raw = await read_json(request, longest)
    try:
        body = model.model_validate_json(raw)
    except ValidationError as error:
        raise Problem("bad_request", _mistakes(error)) from None
    # Readers of JSON do not agree on which of two counts.
    json.loads(raw, object_pairs_hook=_each_once)
    return body


async def read_json(request: Request, longest: int) -> bytes:
    """The request's body, which is said to be JSON, unlooked-at. Raises `Problem`."""
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem("bad_request", "Send JSON, with Content-Type: application/json.", status=415)
    announced = request.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced[:18]) > longest:
        raise _too_large(longest)
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > longest:
                    raise _too_large(longest)
    except TimeoutError:
        raise Problem(
            "bad_request", f"The body did not arrive within {BODY_SECONDS:g} seconds.", status=408
        ) from None
    return bytes(raw)


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            code = "visitor_token_invalid" if name == "visitor_token" else "bad_request"
            raise Problem(code, f"{name[:100]!r} is given more than once.")
        names.add(name)


def _too_large(longest: int) -> Problem:
    return Problem(
        "bad_request", f"The body is larger than {longest} bytes.", status=413, headers={"Connection": "close"}
    )


def _mistakes(error: ValidationError) -> str:
    sentences = []
    for mistake in error.errors(include_url=False, include_input=False)[:5]:
        place = ".".join(str(part) for part in mistake["loc"])[:100]
        match mistake["type"]:
            case "json_invalid":
                sentences.append("The body is not valid JSON.")
            case "missing":
                sentences.append(f"{place} is missing.")
            case "extra_forbidden":
                sentences.append(f"There is no field {place!r}.")
            case _:
                message = mistake["msg"]
                sentences.append(f"{place or 'The body'}: {message[0].lower()}{message[1:]}.")
    return " ".join(sentences)


def first_value(values: Any, name: str) -> str | None:
    """A query parameter that may be given once. Raises `Problem` when it is given twice."""
    given = values.getlist(name)
    if len(given) > 1:
        raise Problem("bad_request", f"{name} is given more than once.")
    return given[0] if given else None
