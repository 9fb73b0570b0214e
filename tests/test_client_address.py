"""Whose request it is, whatever anybody writes into a header."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from widget_proxy.client_address import (
    PAST_PROXIES,
    ClientAddress,
    client_address,
    is_trusted,
    parse_address,
    shortened,
    visitor_of,
)

TRUSTED = (ip_network("127.0.0.1"), ip_network("10.0.0.0/24"), ip_network("fd00::/64"))


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("203.0.113.7:50123", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:50123", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:50123", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
    ],
)
def test_an_address_is_read_however_it_is_written(written: str, address: str) -> None:
    assert parse_address(written) == ip_address(address)


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            " ",
            "unknown",
            "_hidden",
            "shop.example.com",
            "203.0.113",
            "203.0.113.7.8",
            "0203.0.113.7",
            "1",
            "::g",
        ),
        *("[", "[]", "203.0.113.7\0", "٢٠٣.0.113.7", "1" * 5000, ":" * 5000, "[" * 5000),
    ],
)
def test_garbage_is_no_address(written: str) -> None:
    assert parse_address(written) is None


@pytest.mark.parametrize(
    ("peer", "lines", "address"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # anybody can write that
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),  # the first was there already
        ("127.0.0.1", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["198.51.100.1, 203.0.113.7, 10.0.0.9"], "203.0.113.7"),
        ("127.0.0.1", ["198.51.100.1, 203.0.113.7", "10.0.0.9"], "203.0.113.7"),
        ("::ffff:127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["203.0.113.7, ::ffff:10.0.0.9"], "203.0.113.7"),
        ("fd00::2", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.1.9", ["203.0.113.7"], "10.0.1.9"),  # another network than the trusted one
        ("127.0.0.1", ["10.0.0.7, 10.0.0.9"], "10.0.0.7"),  # our own machines ask, too
        ("127.0.0.1", ["203.0.113.7, unknown"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7, unknown, 10.0.0.9"], "10.0.0.9"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7,"], "127.0.0.1"),
        (None, ["203.0.113.7"], "203.0.113.7"),
        (None, [], None),
        (None, ["unknown"], None),
        ("nonsense", ["203.0.113.7"], None),
    ],
)
def test_the_address_is_the_last_that_no_proxy_of_ours_has(
    peer: str | None, lines: list[str], address: str | None
) -> None:
    assert client_address(peer, lines, TRUSTED) == (None if address is None else ip_address(address))


@given(st.lists(st.text(max_size=200), max_size=5))
def test_nothing_written_by_a_stranger_changes_who_the_stranger_is(lines: list[str]) -> None:
    assert client_address("203.0.113.7", lines, TRUSTED) == ip_address("203.0.113.7")
    written = [*lines, "198.51.100.9"]  # the proxy's own entry is the last
    assert client_address("127.0.0.1", written, TRUSTED) == ip_address("198.51.100.9")


@given(st.lists(st.text(max_size=100), max_size=5))
def test_no_header_is_too_strange(lines: list[str]) -> None:
    address = client_address("127.0.0.1", lines, TRUSTED)
    assert address is not None


def test_no_proxy_is_trusted_that_is_not_named() -> None:
    assert client_address("127.0.0.1", ["203.0.113.7"], ()) == ip_address("127.0.0.1")
    assert not is_trusted(None, TRUSTED)


@pytest.mark.parametrize(
    ("address", "visitor", "told"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        (None, None, "unknown"),
        ("nonsense", None, "unknown"),
    ],
)
def test_visitors_are_counted_by_address_and_logged_by_network(
    address: str | None, visitor: str | None, told: str
) -> None:
    assert visitor_of(address) == visitor
    assert shortened(address) == told


async def seen(client: Any, *headers: tuple[bytes, bytes], kind: str = "http") -> Scope:
    told: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(scope)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    scope = {"type": kind, "client": client, "scheme": "http", "headers": list(headers)}
    await ClientAddress(app, TRUSTED)(scope, receive, send)
    return told[0]


@pytest.mark.anyio
async def test_an_application_sees_the_browser_and_the_scheme_past_a_trusted_proxy() -> None:
    scope = await seen(("127.0.0.1", 5), (b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https"))
    assert (scope["client"], scope["scheme"], scope[PAST_PROXIES]) == (("203.0.113.7", 0), "https", True)


@pytest.mark.anyio
async def test_a_stranger_is_believed_neither_address_nor_scheme() -> None:
    scope = await seen(("203.0.113.7", 5), (b"x-forwarded-for", b"10.0.0.1"), (b"x-forwarded-proto", b"https"))
    assert (scope["client"], scope["scheme"]) == (("203.0.113.7", 5), "http")
    assert PAST_PROXIES not in scope


@pytest.mark.anyio
@pytest.mark.parametrize("protocols", [[b"gopher"], [b"https", b"http"], [b""], [b"https, http"], [b"\xff"]])
async def test_a_scheme_that_is_none_is_left_alone(protocols: list[bytes]) -> None:
    scope = await seen(("127.0.0.1", 5), *((b"x-forwarded-proto", protocol) for protocol in protocols))
    assert scope["scheme"] == "http"


@pytest.mark.anyio
async def test_behind_a_unix_socket_only_the_proxy_can_tell() -> None:
    assert (await seen(None, (b"x-forwarded-for", b"203.0.113.7")))["client"] == ("203.0.113.7", 0)
    assert (await seen(None))["client"] is None
    assert (await seen(("", 0)))["client"] is None


@pytest.mark.anyio
async def test_what_is_no_request_passes_as_it_is() -> None:
    assert (await seen(("127.0.0.1", 5), (b"x-forwarded-for", b"203.0.113.7"), kind="lifespan"))["client"] == (
        "127.0.0.1",
        5,
    )
