"""Visitor tokens: what a site's own server signed of a visitor and their page, as a JWT (HS256).

PyJWT checks the signature. Times and claims are checked here, against a moment that is given.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import jwt
from pydantic import SecretStr

from widget_proxy.config import Site
from widget_proxy.handles import SIGNED_BYTES, SKEW
from widget_proxy.page_context import PageContextError, check_page_context, has_controls

LONGEST = 16_384
"""Characters of a token. Longer ones are not looked at. JSON may spell a letter in six; base64 adds a third."""

LONGEST_LIFETIME = timedelta(hours=24)
"""How far away `exp` may be: a token lies in a page, and whoever has it is its visitor until then."""

LONGEST_TEXT = 255
"""Characters of `sub` and `name`: upstream's own limit."""

_ALGORITHM = "HS256"
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# Its own checks ask the wall clock, and take a list for an audience.
_UNCHECKED: Any = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}


class VisitorTokenInvalid(ValueError):
    """It cannot be used. The text says why; `reason` does so without anything that was in it, for a log."""

    def __init__(self, reason: str, more: str = "") -> None:
        self.reason = reason
        super().__init__(f"The visitor token cannot be used: {reason}.{more}")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whom a token names, and what was signed of the page."""

    id: str
    name: str | None
    page_context: dict[str, Any]

    def __repr__(self) -> str:
        return "Visitor(…)"


class Claim(Protocol):
    """Who a page says its visitor is."""

    @property
    def id(self) -> str | None: ...

    @property
    def name(self) -> str | None: ...


def told_of_visitor(visitor: Visitor | None, claimed: Claim | None, site: Site) -> dict[str, str | None]:
    """Who upstream is told the visitor is. Upstream stores it unchecked, so where tokens say who somebody is, nothing
    else does: what a page claims is dropped, and the answer shows it."""
    told = visitor if visitor is not None or site.takes_tokens != "off" else claimed
    return {"id": None, "name": None} if told is None else {"id": told.id, "name": told.name}


def visitor_key(site: str, visitor_id: str) -> str:
    """Names a site's visitor in a handle, however long their id is."""
    return hashlib.sha256(f"{site}\0{visitor_id}".encode()).hexdigest()[:32]


def read_token(token: str, site: Site, now: datetime, session_started: datetime | None = None) -> Visitor:
    """The visitor that a token names. Raises `VisitorTokenInvalid`.

    With a message, `session_started` is given: a token that was good then is good as long as the session is. What
    was signed at the start is remembered as long, and a page may be open for hours.
    """
    if len(token) > LONGEST or _SHAPE.fullmatch(token) is None:
        raise VisitorTokenInvalid(f"it is no JWT of at most {LONGEST} characters")
    claims = _claims(token, site.visitor_secret)
    if claims.get("aud") != site.slug:
        raise VisitorTokenInvalid(f'its aud is not "{site.slug}", this site\'s name')
    _check_times(claims, now, session_started)
    visitor_id = _text(claims, "sub")
    if visitor_id is None:
        raise VisitorTokenInvalid("it has no sub, the visitor's id")
    return Visitor(visitor_id, _text(claims, "name"), _signed_context(claims.get("page_context"), site))


def sign_token(claims: dict[str, Any], secret: SecretStr) -> str:
    """A token with these claims."""
    return jwt.encode(claims, secret.get_secret_value(), _ALGORITHM)


def _claims(token: str, secrets: Sequence[SecretStr]) -> dict[str, Any]:
    for secret in reversed(secrets):
        try:
            claims: dict[str, Any] = jwt.decode(
                token, secret.get_secret_value(), algorithms=[_ALGORITHM], options=_UNCHECKED
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidAlgorithmError:
            raise VisitorTokenInvalid(f"its alg is not {_ALGORITHM}") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise VisitorTokenInvalid("it is no JWT") from None
        return claims
    raise VisitorTokenInvalid("it is not signed with this site's visitor_secret")


def _check_times(claims: dict[str, Any], now: datetime, session_started: datetime | None) -> None:
    moment, skew = now.timestamp(), SKEW.total_seconds()
    expires = _moment(claims, "exp")
    if expires is None:
        raise VisitorTokenInvalid("it has no exp, the time it expires at")
    # Compared, not subtracted: a whole number may be larger than any float.
    if expires > moment + LONGEST_LIFETIME.total_seconds() + skew:
        raise VisitorTokenInvalid(f"its exp is over {LONGEST_LIFETIME.total_seconds() / 3600:g} hours away")
    if expires <= (moment if session_started is None else session_started.timestamp()) - skew:
        raise VisitorTokenInvalid("it has expired", " Please reload the page and try again.")
    for claim in ("nbf", "iat"):
        if (begins := _moment(claims, claim)) is not None and begins > moment + skew:
            raise VisitorTokenInvalid(f"it is not valid yet, by its {claim}")


def _moment(claims: dict[str, Any], name: str) -> int | float | None:
    value = claims.get(name)
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and not math.isfinite(value))
    ):
        raise VisitorTokenInvalid(f"its {name} is no number of seconds")
    return value


def _text(claims: dict[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_TEXT:
        raise VisitorTokenInvalid(f"its {name} is no text of 1 to {LONGEST_TEXT} characters")
    if has_controls(value) or any("\ud800" <= character <= "\udfff" for character in value):
        raise VisitorTokenInvalid(f"its {name} holds a control character")
    return value


def _signed_context(value: object, site: Site) -> dict[str, Any]:
    if value is None:
        return {}
    most = min(SIGNED_BYTES, site.limits.page_context_bytes)
    limits = site.limits.model_copy(update={"page_context_bytes": most})
    try:
        return check_page_context(value, limits, site.page_url_parameters)
    except PageContextError as error:
        raise VisitorTokenInvalid("its page_context is not one this site takes", f" {error}") from None
    except RecursionError:
        raise VisitorTokenInvalid("its page_context is nested too deep") from None
