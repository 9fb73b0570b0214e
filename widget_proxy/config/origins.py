"""Web origins, and the patterns a site's owner writes for them."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

# What a browser sends in `Origin`: scheme, lower-case ASCII host, port only where it is not the default.
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str | None) -> bool:
    """Whether `host` (a name or an address, without brackets) is this very machine."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class OriginPattern:
    """An origin allowed to embed a site: exact, or `https://*.example.com` for every subdomain of any depth.

    The pattern does not cover the bare domain: `https://*.example.com` says nothing about
    `https://example.com`, which is written beside it where it is wanted.
    """

    text: str
    scheme: str
    host: str
    port: int
    wildcard: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern. Raises `ValueError`, a sentence with the mend, for anything that is no web origin."""
        written = text.strip()
        if written in {"*", "https://*", "http://*", "null"}:
            raise ValueError(
                f"{written!r} would let any website use this chatbot. "
                "Name each origin, such as https://shop.example.com or https://*.example.com"
            )
        candidate = written.lower().rstrip("/")
        wildcard = "://*." in candidate
        matched = _ORIGIN.fullmatch(candidate.replace("://*.", "://", 1))
        if matched is None:
            raise ValueError(
                f"{written!r} is not an origin. Write scheme and host, with a port only where it is unusual, "
                "such as https://shop.example.com, https://*.example.com or http://localhost:8000"
            )
        host, scheme = matched["host"], matched["scheme"]
        if wildcard and "." not in host:
            raise ValueError(
                f"{written!r} covers a whole top-level domain. Write your own domain, such as https://*.example.com"
            )
        port = int(matched["port"] or _DEFAULT_PORTS[scheme])
        if port > 65535:
            raise ValueError(f"{written!r} names port {port}. Ports end at 65535")
        return cls(text=candidate, scheme=scheme, host=host, port=port, wildcard=wildcard)

    def allows(self, origin: str) -> bool:
        """Whether a request with this `Origin` header may use the site. Only what a browser writes is accepted:
        no path, no user part, no upper case, no `null`, no trailing dot."""
        matched = _ORIGIN.fullmatch(origin)
        if matched is None or matched["scheme"] != self.scheme:
            return False
        if int(matched["port"] or _DEFAULT_PORTS[self.scheme]) != self.port:
            return False
        if self.wildcard:
            return matched["host"].endswith("." + self.host)
        return matched["host"] == self.host

    def example(self) -> str:
        """A concrete origin that this pattern allows: itself, or its `www` where it has a wildcard."""
        return self.text.replace("://*.", "://www.", 1)


def check_origin(text: str) -> str:
    """The origin of this address, as browsers write it. Raises `ValueError`, a sentence with the mend."""
    matched = _ORIGIN.fullmatch(text.strip().lower().rstrip("/"))
    if matched is None or int(matched["port"] or 1) > 65535:
        raise ValueError(
            f"{text!r} is not an origin. Write scheme and host, with a port only where it is unusual and without a "
            "path, such as https://chat.example.com"
        )
    port = "" if matched["port"] in {None, str(_DEFAULT_PORTS[matched["scheme"]])} else f":{matched['port']}"
    return f"{matched['scheme']}://{matched['host']}{port}"


def is_address(host: str | None) -> bool:
    """Whether `host` is an IP address or this very machine: nobody can point a name of theirs there."""
    if is_loopback(host):
        return True
    try:
        ipaddress.ip_address(host or "")
    except ValueError:
        return False
    return True


def check_https_url(url: str) -> str:
    """The address, where it is one over HTTPS. Raises `ValueError`, a sentence with the mend."""
    scheme, _, rest = url.strip().partition("://")
    host, slash, path = rest.partition("/")
    if scheme.lower() != "https" or re.fullmatch(r"[!-~]{0,2000}", path) is None:
        raise ValueError(f"{url!r} is not an https address. Write something like https://shop.example.com/chat.json")
    return check_origin(f"https://{host}") + slash + path


def check_upstream_url(url: str) -> str:
    """Upstream's address without a trailing slash. Raises `ValueError`, a sentence with the mend.

    Plain `http` is allowed to this very machine only: the embed key would be readable on the way.
    """
    if "@" in url:
        raise ValueError("the address holds a user name or password. Leave it out: it would be logged")
    try:
        parts = urlsplit(url.strip())
        known = parts.scheme in {"http", "https"} and bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:  # a port that is none, half a bracket, a label too long
        known = False
    if not known or re.search(r"\s", parts.netloc):
        raise ValueError(f"{url!r} is not an http(s) address. Write something like https://openchatstudio.com")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} has a query or fragment. Write only scheme, host and, if need be, a path")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(f"{url!r} would carry the embed key unencrypted. Use https")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
