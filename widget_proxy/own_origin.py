"""The proxy's own origin: what its pages are called, and whether their chat may use the sites.

A website can point a name of its own at this server (DNS rebinding), and its scripts then share an origin with what
we serve. So a name that comes from nothing but the request is good enough to be shown, and not to be trusted: that
takes `server.public_url`, or an address that nobody else can claim.
"""

from urllib.parse import urlsplit

from starlette.types import Scope

from widget_proxy.config import Settings
from widget_proxy.config.origins import check_origin, is_address

LONGEST_ORIGIN = 300
"""Host names have 253 characters at most."""


def request_origin(scope: Scope) -> str | None:
    """The origin this request was addressed to, by its own word; None where it names no proper one."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or len(hosts[0]) > LONGEST_ORIGIN:
        return None
    try:
        return check_origin(f"{scope['scheme']}://{hosts[0].decode('latin-1')}")
    except ValueError:
        return None


def shown_origin(settings: Settings, scope: Scope) -> str | None:
    """What the pages call this server in tags to copy."""
    return settings.server.public_url or request_origin(scope)


def chat_origin(settings: Settings, scope: Scope) -> str | None:
    """The origin of the full-page chat, which may use every site; None where there is no such page."""
    if not settings.pages.chat:
        return None
    if settings.server.public_url is not None:
        return settings.server.public_url
    origin = request_origin(scope)
    return origin if origin is not None and is_address(urlsplit(origin).hostname) else None
