"""What a page says of itself, before it goes to the bot: limits, and nothing silently cut."""

import json
import math
from typing import Any, Literal
from urllib.parse import urlsplit

from widget_proxy.config import Limits

RESERVED = "page_context"
"""Upstream's own key in session state. Only the field of that name may set it."""

_FORBIDDEN_KEYS = {"__proto__", "constructor", "prototype"}
_LARGEST_INTEGER = 2**53  # beyond it JavaScript and many JSON readers lose digits


class PageContextError(ValueError):
    """It cannot be used. `code` is the problem's code; the text says where and why."""

    def __init__(
        self, code: Literal["page_context_invalid", "page_context_too_large", "reserved_key"], detail: str
    ) -> None:
        self.code = code
        super().__init__(detail)


def check_page_context(value: object, limits: Limits) -> dict[str, Any]:
    """The page context, checked. Raises `PageContextError`."""
    if not isinstance(value, dict):
        raise PageContextError("page_context_invalid", 'page_context must be a JSON object, such as {"price": 89}.')
    _walk(value, "page_context", 1, limits)
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
    if size > limits.page_context_bytes:
        raise PageContextError(
            "page_context_too_large",
            f"page_context is {size} bytes of JSON, and {limits.page_context_bytes} are allowed. Shorten its texts.",
        )
    return value


def check_session_data(value: object, limits: Limits) -> dict[str, Any]:
    """Session data, checked like page context and without upstream's reserved key. Raises `PageContextError`."""
    if not isinstance(value, dict):
        raise PageContextError("page_context_invalid", "session_data must be a JSON object.")
    if RESERVED in value:
        raise PageContextError(
            "reserved_key",
            "session_data may not hold page_context. Send page_context as a field of its own, beside session_data.",
        )
    _walk(value, "session_data", 1, limits)
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")) > limits.page_context_bytes:
        raise PageContextError(
            "page_context_too_large", f"session_data is over {limits.page_context_bytes} bytes of JSON."
        )
    return value


def page_address(context: dict[str, Any] | None, origin: str) -> str:
    """The page's address for upstream's `Referer`: without query and fragment, and only of the page's own origin."""
    url = (context or {}).get("page_url")
    if not isinstance(url, str):
        return origin
    try:
        parts = urlsplit(url)
    except ValueError:
        return origin
    path = parts.path
    if f"{parts.scheme}://{parts.netloc}" != origin or not path.isascii() or not path.isprintable() or " " in path:
        return origin
    return (origin + path)[:2000]


def _walk(value: object, path: str, depth: int, limits: Limits) -> None:
    match value:
        case dict() | list() if depth > limits.page_context_depth:
            raise PageContextError(
                "page_context_invalid", f"{path} is nested deeper than {limits.page_context_depth} levels."
            )
        case dict():
            for key, inner in value.items():
                if key in _FORBIDDEN_KEYS:
                    raise PageContextError("reserved_key", f"{path} has a key named {key!r}, which is not allowed.")
                _check_text(key, f"a key in {path}")
                _walk(inner, f"{path}.{key[:60]}", depth + 1, limits)
        case list():
            for position, inner in enumerate(value):
                _walk(inner, f"{path}[{position}]", depth + 1, limits)
        case float() if not math.isfinite(value):
            raise PageContextError("page_context_invalid", f"{path} is no finite number.")
        case int() if abs(value) > _LARGEST_INTEGER:
            raise PageContextError(
                "page_context_invalid", f"{path} is a number too large to be exact. Send it as text."
            )
        case str():
            _check_text(value, path)
        case _:
            pass


def _check_text(text: str, path: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise PageContextError(
            "page_context_invalid", f"{path} holds half a surrogate pair, which is no text."
        ) from None
