"""Whose request it is: the address of a browser, seen past the proxies in front. Pure, but for the middleware that
applies it.

Each proxy appends to `X-Forwarded-For` whom it took the request from, so the list is read from its end: what the last
trusted proxy wrote is true, and everything before the first address that is no trusted proxy's was written by
somebody else. `Forwarded` (RFC 7239) is not read: of two headers that say the same, a proxy keeps one in order, and a
visitor writes the other.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

PAST_PROXIES = "widget_proxy.past_proxies"
"""In a request's scope: whether a trusted proxy told its address."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

VISITOR_PREFIX = 64
"""A home or an office gets a /64 of IPv6 at least, and each of its devices as many addresses as it likes."""


LONGEST_ADDRESS = 60

KEPT_ADDRESSES = 4096
"""Addresses that are not parsed anew: a visitor's is looked at several times a request, each time for 10 µs."""


def parse_address(text: str) -> Address | None:
    """An address as proxies write it, with or without a port or brackets; None where it is none. An IPv4 address
    written as IPv6 (`::ffff:203.0.113.7`) is the IPv4 one."""
    text = text.strip()
    return None if len(text) > LONGEST_ADDRESS else _parsed(text)


@lru_cache(KEPT_ADDRESSES)
def _parsed(text: str) -> Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def client_address(peer: str | None, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """The browser's address. `peer`: who opened the connection, None for a Unix socket, on which only a proxy can be.
    `forwarded_for`: the lines of `X-Forwarded-For` in their order. None where nobody told."""
    address = None if peer is None else parse_address(peer)
    if peer is not None and not is_trusted(address, trusted):
        return address
    for entry in reversed([entry for line in forwarded_for for entry in line.split(",")]):
        told = parse_address(entry)
        if told is None:
            break  # nothing before it was written by anybody we know
        address = told
        if not is_trusted(told, trusted):
            break
    return address


def is_trusted(address: Address | None, trusted: Iterable[Network]) -> bool:
    """Whether this is the address of a proxy of ours."""
    return address is not None and any(address in network for network in trusted)


def visitor_of(address: str | None) -> str | None:
    """What visitors are counted by: an IPv4 address, the /64 of an IPv6 one, None where there is none."""
    return _visitor(None if address is None else parse_address(address))


@lru_cache(KEPT_ADDRESSES)
def _visitor(parsed: Address | None) -> str | None:
    if parsed is None or isinstance(parsed, IPv4Address):
        return None if parsed is None else str(parsed)
    return str(_around(parsed, VISITOR_PREFIX))


def visitor_who(scope: Scope) -> str | None:
    """What whoever sent this request is counted by, as `visitor_of`."""
    client = scope.get("client")
    return visitor_of(client[0] if client else None)


def shortened(address: str | None) -> str:
    """An address for the log: which network, and not who in it."""
    parsed = None if address is None else parse_address(address)
    if parsed is None:
        return "unknown"
    return str(_around(parsed, 24 if isinstance(parsed, IPv4Address) else 48))


def _around(address: Address, prefix: int) -> Network:
    return ip_network(f"{address}/{prefix}", strict=False)


class ClientAddress:
    """ASGI middleware: `client` and `scheme` of a request become the browser's, where a trusted proxy tells them."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = tuple(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = self._seen_past_proxies(scope)
        await self._app(scope, receive, send)

    def _seen_past_proxies(self, scope: Scope) -> Scope:
        peer = (scope["client"][0] if scope.get("client") else None) or None  # a Unix socket's has no name
        if peer is not None and not is_trusted(parse_address(peer), self._trusted):
            return scope
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        protocols = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
        address = client_address(peer, lines, self._trusted)
        seen = {**scope, PAST_PROXIES: bool(lines), "client": None if address is None else (str(address), 0)}
        if len(protocols) == 1 and (protocol := protocols[0].decode("latin-1").strip().lower()) in {"http", "https"}:
            seen["scheme"] = protocol
        return seen
