"""Which origins a pattern allows, and which addresses may be upstream's."""

import pytest

from widget_proxy.config import OriginPattern
from widget_proxy.config.origins import check_upstream_url, is_loopback

ALLOWED = [
    ("https://shop.example.com", "https://shop.example.com"),
    ("https://shop.example.com/", "https://shop.example.com"),
    ("https://SHOP.example.com", "https://shop.example.com"),
    ("https://shop.example.com:443", "https://shop.example.com"),
    ("https://shop.example.com", "https://shop.example.com:443"),
    ("http://localhost:8000", "http://localhost:8000"),
    ("https://*.example.com", "https://a.example.com"),
    ("https://*.example.com", "https://a.b.example.com"),
    ("https://*.example.com:8443", "https://a.example.com:8443"),
    ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
    ("http://[::1]:8000", "http://[::1]:8000"),
]

REFUSED = [
    ("https://shop.example.com", origin)
    for origin in (
        "http://shop.example.com",
        "https://shop.example.com:8443",
        "https://shop.example.com.evil.example",
        "https://evilshop.example.com",
        "https://evil.example/shop.example.com",
        "https://shop.example.com@evil.example",
        "https://user@shop.example.com",
        "https://shop.example.com.",
        "https://shop.example.com/",
        "https://shop.example.com/path",
        "https://shop.example.com?x",
        "https://shop.example.com#x",
        "https://SHOP.example.com",
        "HTTPS://shop.example.com",
        "https://shop.example.com:0443",
        "https://shop.example.com:",
        "https://shop.example.com\\",
        "https://shop.example.com\nhttps://evil.example",
        "https://shop.example.com https://evil.example",
        "https://shop.éxample.com",
        "shop.example.com",
        "//shop.example.com",
        "null",
        "",
        "*",
        "file://",
        "chrome-extension://shop.example.com",
        "javascript:alert(1)",
    )
] + [
    ("https://*.example.com", origin)
    for origin in (
        "https://example.com",
        "https://evilexample.com",
        "https://a.example.com.evil.example",
        "https://.example.com",
        "http://a.example.com",
        "https://a.example.com:8443",
        "https://*.example.com",
    )
]


@pytest.mark.parametrize(("pattern", "origin"), ALLOWED)
def test_an_allowed_origin_is_let_in(pattern: str, origin: str) -> None:
    assert OriginPattern.parse(pattern).allows(origin)


@pytest.mark.parametrize(("pattern", "origin"), REFUSED)
def test_any_other_origin_is_not(pattern: str, origin: str) -> None:
    assert not OriginPattern.parse(pattern).allows(origin)


@pytest.mark.parametrize(
    "pattern",
    ["*", "https://*", "null", "", "example.com", "https://example.com/path", "https://*.com", "ftp://example.com",
     "https://a.*.example.com", "https://münchen.example", "https://user@example.com", "https://example.com:", "https://[::1", "https://example.com:99999", "https://exa mple.com", "https://*example.com"],
)  # fmt: skip
def test_a_pattern_that_is_no_origin_says_what_to_write(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"https://|Ports"):
        OriginPattern.parse(pattern)


def test_a_pattern_gives_an_example_of_itself() -> None:
    for pattern in ("https://*.example.com", "https://shop.example.com", "http://localhost:8000"):
        parsed = OriginPattern.parse(pattern)
        assert parsed.allows(parsed.example())


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8081", "http://localhost", "http://[::1]:1", "https://x.example/ocs/"]
)
def test_an_upstream_is_encrypted_or_this_machine(url: str) -> None:
    assert check_upstream_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("shop.localhost", True), ("10.0.0.1", False),
     ("localhost.example.com", False), (None, False), ("example.com", False)],
)  # fmt: skip
def test_loopback_is_this_very_machine(host: str | None, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ("ftp://ocs.example.com", "Write something like"),
        ("ocs.example.com", "Write something like"),
        ("https://", "Write something like"),
        ("", "Write something like"),
        ("https://ocs.example.com:99999", "Write something like"),
        ("https://ocs.example.com:0", "Write something like"),
        ("https://ocs.example.com:port", "Write something like"),
        ("https://[", "Write something like"),
        ("https://ocs example.com", "Write something like"),
        ("https://ocs..example.com", "Write something like"),
        (f"https://{'a' * 64}.example.com", "Write something like"),
        ("https://user:marker@ocs.example.com", "Leave it out"),
        ("ftp://user:marker@ocs.example.com", "Leave it out"),
        ("//user:marker@ocs.example.com", "Leave it out"),
        ("https://user:marker@", "Leave it out"),
        ("https://ocs.example.com?x=1", "Write only"),
        ("https://ocs.example.com/#x", "Write only"),
        ("http://ocs.example.com", "Use https"),
        ("http://localhost.example.com", "Use https"),
        ("http://10.0.0.1", "Use https"),
    ],
)
def test_an_upstream_that_cannot_be_says_what_to_write_and_prints_no_password(url: str, mend: str) -> None:
    with pytest.raises(ValueError, match=mend) as refused:
        check_upstream_url(url)
    assert "marker" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://OCS.example.com", " https://ocs.example.com/ ", "https://xn--mnchen-3ya.example"]
)
def test_an_upstreams_address_may_be_written_as_people_do(url: str) -> None:
    assert check_upstream_url(url) == url.strip().rstrip("/")
