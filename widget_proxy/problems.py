"""Errors as `application/problem+json` (RFC 9457), made in one place.

`code` is a stable word for programs, `detail` a sentence for people. On a send, `fate` says whether the message may
have reached the bot all the same: `not_sent` or `unknown`.
"""

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from widget_proxy.upstream import (
    BadAnswer,
    ChatbotUnavailable,
    CredentialsRefused,
    FileRefused,
    RequestRefused,
    SessionEnded,
    SessionLost,
    UpstreamBusy,
    UpstreamError,
    UpstreamUnreachable,
)

logger = logging.getLogger(__name__)

# code -> status, title.
CODES: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "The request is not understood"),
    "origin_not_allowed": (403, "This website may not use this chat"),
    "unknown_site": (404, "There is no such site"),
    "handle_missing": (401, "A handle is needed"),
    "handle_invalid": (401, "The handle is not valid"),
    "session_expired": (410, "The conversation has expired"),
    "session_ended": (409, "The conversation has ended"),
    "page_context_invalid": (400, "The page context is not valid"),
    "page_context_too_large": (413, "The page context is too large"),
    "reserved_key": (400, "A reserved key was used"),
    "visitor_token_invalid": (400, "The visitor token is not valid"),
    "message_empty": (400, "The message is empty"),
    "message_too_long": (400, "The message is too long"),
    "attachment_invalid": (400, "An attachment is not valid"),
    "file_too_large": (413, "The file is too large"),
    "file_type_not_supported": (415, "Files of this type are not accepted"),
    "too_many_requests": (429, "Too many requests"),
    "chatbot_unavailable": (403, "The chatbot is switched off"),
    "upstream_unreachable": (503, "The assistant cannot be reached"),
    "upstream_error": (502, "The assistant did not answer as it should"),
    "upstream_busy": (503, "The assistant is busy"),
    "unavailable": (503, "Chat is unavailable for a moment"),
    "misconfigured": (503, "Chat is unavailable"),
    "token_invalid": (401, "The token is not valid"),
    "not_found": (404, "There is nothing here"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "internal_error": (500, "Something went wrong"),
}

_CODE_OF_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "bad_request", 415: "bad_request"}

_REFUSED_FILES = {
    "size": ("file_too_large", "The assistant does not take files of this size."),
    "type": ("file_type_not_supported", "The assistant does not take files of this type."),
    "unknown": ("attachment_invalid", "An attachment is no longer there. Please add it again."),
}

UNAVAILABLE = "Chat is unavailable just now. Please try again later."


class Problem(Exception):
    """An answer that is an error. `status` overrides the code's own; `extra` are further members."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        own_status, self.title = CODES[code]
        self.code = code
        self.detail = detail
        self.status = status or own_status
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        super().__init__(f"{code}: {detail}")

    def body(self) -> dict[str, Any]:
        """The JSON of it."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }

    def response(self) -> Response:
        """The HTTP answer."""
        return Response(
            json.dumps(self.body(), ensure_ascii=False),
            self.status,
            {"Cache-Control": "no-store", **self.headers},
            "application/problem+json",
        )


def from_upstream(error: UpstreamError, site: str, *, send: bool = False) -> Problem:
    """What a visitor is told of an upstream error; the operator's log gets the cause and the mend. For a `send` it
    says as well whether the message may have arrived."""
    match error:
        case CredentialsRefused():
            logger.error(
                "site %s: upstream refuses the key or the page's origin (%s). Check sites.%s.embed_key (or the "
                "API key or OAuth credentials, where the site has those), chatbot_id, and that the channel's allowed "
                "domains include the page's host; `widget-proxy check` tells which",
                site,
                error,
                site,
            )
            problem = Problem("misconfigured", UNAVAILABLE)
        case ChatbotUnavailable(text=text):
            logger.warning("site %s: the chatbot's channel is switched off upstream", site)
            problem = Problem("chatbot_unavailable", text or UNAVAILABLE)
        case SessionLost():
            problem = Problem("session_expired", "This conversation has expired. Please start a new one.")
        case SessionEnded():
            problem = Problem("session_ended", "This conversation has ended. Please start a new one.")
        case UpstreamBusy(retry_after=seconds):
            logger.warning("site %s: upstream asks to wait %s s", site, seconds)
            problem = Problem(
                "upstream_busy",
                "The chat is busy just now. Please try again in a moment.",
                headers={"Retry-After": str(math.ceil(min(max(30 if seconds is None else seconds, 1), 300)))},
            )
        case FileRefused(reason=reason):
            logger.warning("site %s: upstream refuses a file: %s", site, error)
            problem = Problem(*_REFUSED_FILES[reason])
        case RequestRefused():
            logger.warning("site %s: upstream refuses the request: %s", site, error)
            problem = Problem("bad_request", "The assistant does not accept this.")
        case UpstreamUnreachable():
            logger.warning("site %s: upstream cannot be reached: %s", site, error)
            problem = Problem("upstream_unreachable", UNAVAILABLE, status=503 if error.fate == "not_sent" else 504)
        case _:
            cause = "unusable answer" if isinstance(error, BadAnswer) else type(error).__name__
            logger.warning("site %s: %s from upstream: %s", site, cause, error)
            problem = Problem("upstream_error", UNAVAILABLE)
    if send:
        problem.extra["fate"] = error.fate
    return problem


async def handle_problem(request: Request, error: Exception) -> Response:
    """Starlette's handler for `Problem`."""
    if not isinstance(error, Problem):
        raise error
    return error.response()


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own errors (404, 405), in our shape and with their headers, such as `Allow`."""
    if not isinstance(error, HTTPException):
        raise error
    code = _CODE_OF_STATUS.get(error.status_code, "bad_request")
    match error.status_code:
        case 404:
            detail = "There is no such address."
        case 405:
            detail = f"{request.method} is not possible here."
        case _:
            detail = "The request cannot be read."
    return Problem(code, detail, status=error.status_code, headers=error.headers).response()


async def handle_broker_unavailable(request: Request, error: Exception) -> Response:
    """What several workers share cannot be reached; its own log line says so once."""
    return unavailable().response()


def unavailable(**extra: Any) -> Problem:
    """Nothing was done; it can be tried again."""
    return Problem("unavailable", UNAVAILABLE, headers={"Retry-After": "3"}, extra=extra)


async def handle_crash(request: Request, error: Exception) -> Response:
    """A fault of ours. The traceback goes to the log (Starlette raises it on); the visitor reads a sentence."""
    return Problem("internal_error", "Something went wrong on our side. Please try again.").response()
