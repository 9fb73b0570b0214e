"""What a page says of itself, before it goes to the bot: cleaned, within limits, and nothing silently cut.

Two parts make it: what the page sent, which its visitor can change, and what the site's own server signed. The signed
one wins (`merge_signed`).
"""

import json
import math
import re
import unicodedata
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import unquote_plus, urlsplit, urlunsplit

from widget_proxy.config import Limits, Site

RESERVED = ("page_context", "remote_context")
"""Upstream's own keys in session state. Only the page context may set them."""

STATE_KEY = "visitor_page"
"""Where sites that want it have the page in session state: none of upstream's own keys, and the page's as much."""

ADDRESSES = ("page_url",)
"""Keys that hold the page's address."""

LONGEST_KEY = 100
"""Characters of a key."""

_FORBIDDEN_KEYS = {"__proto__", "constructor", "prototype"}
_LARGEST_INTEGER = 2**53  # beyond it JavaScript and many JSON readers lose digits

# What no text needs and no reader sees: controls but tab and line feed, the directions that make a text look like
# another one (not the marks that plain right-to-left text has), and tag characters, which spell whole hidden texts.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


class PageContextError(ValueError):
    """It cannot be used. `code` is the problem's code; the text says where and why."""

    def __init__(
        self, code: Literal["page_context_invalid", "page_context_too_large", "reserved_key"], detail: str
    ) -> None:
        self.code = code
        super().__init__(detail)


def check_page_context(value: object, limits: Limits, parameters: Collection[str] = ()) -> dict[str, Any]:
    """The page context, cleaned. Of a query in the page's address, only `parameters` stay. Raises
    `PageContextError`."""
    if not isinstance(value, dict):
        raise PageContextError("page_context_invalid", 'page_context must be a JSON object, such as {"price": 89}.')
    return _checked(value, "page_context", limits, parameters)


def check_session_data(value: object, limits: Limits, parameters: Collection[str] = ()) -> dict[str, Any]:
    """Session data, cleaned like page context and without the page context's keys. Raises `PageContextError`."""
    if not isinstance(value, dict):
        raise PageContextError("page_context_invalid", "session_data must be a JSON object.")
    for key in (*RESERVED, STATE_KEY):
        if key in value:
            raise PageContextError(
                "reserved_key",
                f"session_data may not hold {key}. Send page_context as a field of its own, beside session_data.",
            )
    return _checked(value, "session_data", limits, parameters)


def told_as_session_data(value: object, site: Site) -> dict[str, Any]:
    """What upstream is told as session data. A bot reads it beside the page, and nobody signs it: no key of the
    site's `signed_only` is in it. Raises `PageContextError`."""
    data = check_session_data(value, site.limits, site.page_url_parameters)
    return {**_without(data, {_as_read(key) for key in site.signed_only})}


def told_of_page(
    sent: object, signed: Mapping[str, Any], site: Site, remembered: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any] | None:
    """What upstream is told of the page: what was sent and what was signed; None where there is neither. Keys that
    were signed earlier (`remembered`) stay closed to what is not. Raises `PageContextError`."""
    if sent is None and not signed:
        return None
    unsigned = {} if sent is None else check_page_context(sent, site.limits, site.page_url_parameters)
    context = merge_signed(unsigned, signed, signed_only=site.signed_only, kept=remembered)
    check_schema(context, site)
    return context


def check_schema(context: Mapping[str, Any], site: Site) -> None:
    """Refuse what the site's schema does not allow, where it has one. Raises `PageContextError`."""
    if site.page_context_schema is not None and (mistake := site.page_context_schema.mistake_in(context)):
        raise PageContextError("page_context_invalid", mistake)


def merge_signed(
    unsigned: Mapping[str, Any],
    signed: Mapping[str, Any],
    *,
    signed_only: Collection[str],
    kept: Collection[str] = (),
) -> dict[str, Any]:
    """Both in one. Unsigned keys give way to `signed` ones and to those in `kept`, which were signed before;
    those in `signed_only` are dropped from `unsigned` at any depth. Keys are compared as a reader would, so that no
    `Price ` stands beside `price`."""
    dropped = {_as_read(key) for key in (*signed, *kept)}
    hidden = {_as_read(key) for key in signed_only}
    left = {key: inner for key, inner in unsigned.items() if _as_read(key) not in dropped}
    return {**_without(left, hidden), **signed}


def page_address(context: Mapping[str, Any] | None, origin: str) -> str:
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


def _checked(value: dict[str, Any], name: str, limits: Limits, parameters: Collection[str]) -> dict[str, Any]:
    cleaned = _Cleaner(limits).members(value, name, 1)
    for key in ADDRESSES:
        if cleaned.get(key) is not None:
            cleaned[key] = _plain_address(cleaned[key], f"{name}.{key}", parameters)
    _check_size(cleaned, name, limits)
    return cleaned


class _Cleaner:
    """Goes through a value once. Raises `PageContextError` with the place of the first mistake."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._items = 0

    def members(self, value: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
        self._descend(value, path, depth)
        cleaned = {}
        for key, inner in value.items():
            if key in _FORBIDDEN_KEYS:
                raise PageContextError("reserved_key", f"{path} has a key named {key!r}, which is not allowed.")
            # Removing what is wrong in a key could make another key of it.
            if len(key) > LONGEST_KEY or _text(key, f"a key in {path}") != key:
                raise PageContextError(
                    "page_context_invalid",
                    f"a key in {path} is longer than {LONGEST_KEY} characters or holds a control character.",
                )
            cleaned[key] = self._value(inner, f"{path}.{key[:60]}", depth + 1)
        return cleaned

    def _value(self, value: object, path: str, depth: int) -> object:
        match value:
            case dict():
                return self.members(value, path, depth)
            case list():
                self._descend(value, path, depth)
                return [self._value(inner, f"{path}[{position}]", depth + 1) for position, inner in enumerate(value)]
            case float() if not math.isfinite(value):
                raise PageContextError("page_context_invalid", f"{path} is no finite number.")
            case int() if abs(value) > _LARGEST_INTEGER:
                raise PageContextError(
                    "page_context_invalid", f"{path} is a number too large to be exact. Send it as text."
                )
            case str():
                text = _text(value, path)
                if len(text) > self._limits.page_context_characters:
                    raise PageContextError(
                        "page_context_too_large",
                        f"{path} has {len(text)} characters, and {self._limits.page_context_characters} are allowed.",
                    )
                return text
            case None | bool() | int() | float():
                return value
            case _:
                raise PageContextError("page_context_invalid", f"{path} is nothing that JSON has.")

    def _descend(self, value: Collection[object], path: str, depth: int) -> None:
        if depth > self._limits.page_context_depth:
            raise PageContextError(
                "page_context_invalid", f"{path} is nested deeper than {self._limits.page_context_depth} levels."
            )
        self._items += len(value)
        if self._items > self._limits.page_context_items:
            raise PageContextError(
                "page_context_too_large",
                f"{path} is one too many: {self._limits.page_context_items} keys and items of lists are allowed, all "
                "levels together.",
            )


def _text(text: str, path: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise PageContextError(
            "page_context_invalid", f"{path} holds half a surrogate pair, which is no text."
        ) from None
    return _UNSEEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def has_controls(text: str) -> bool:
    """Whether it holds what would be removed from a page context, or a line break: no name has one."""
    return "\n" in text or "\r" in text or _UNSEEN.search(text) is not None


def _check_size(value: dict[str, Any], name: str, limits: Limits) -> None:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
    if size > limits.page_context_bytes:
        raise PageContextError(
            "page_context_too_large",
            f"{name} is {size} bytes of JSON, and {limits.page_context_bytes} are allowed. Shorten its texts.",
        )


def _plain_address(url: object, path: str, parameters: Collection[str]) -> str:
    """The address without what may be somebody's alone: user, query but for `parameters`, fragment."""
    mistake = PageContextError(
        "page_context_invalid", f"{path} is no web address, such as https://example.com/lamps."
    )
    if not isinstance(url, str):
        raise mistake
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        raise mistake from None
    if parts.scheme not in {"http", "https", ""}:
        raise mistake
    query = [
        one
        for one in parts.query.split("&")
        # Some servers take `;` for `&`.
        if unquote_plus(one.partition("=")[0]) in parameters and ";" not in unquote_plus(one)
    ]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "&".join(query), ""))


def _as_read(key: str) -> str:
    """A key without what tells `price` from `Price `, `PRICE` or `ｐｒｉｃｅ`."""
    plain = unicodedata.normalize("NFKC", key).casefold()
    return "".join(character for character in plain if character.isalnum()) or key


def _without(value: Any, hidden: Collection[str]) -> Any:
    match value:
        case dict():
            return {key: _without(inner, hidden) for key, inner in value.items() if _as_read(key) not in hidden}
        case list():
            return [_without(inner, hidden) for inner in value]
        case _:
            return value
