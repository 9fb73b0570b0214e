"""Hosts whose images are shown: what an owner may write, and which hosts it means."""

import pytest

from widget_proxy.config import HostPattern


@pytest.mark.parametrize(
    ("written", "host", "allowed"),
    [
        ("images.example.com", "images.example.com", True),
        (" Images.Example.COM ", "images.example.com", True),
        ("images.example.com", "a.images.example.com", False),
        ("images.example.com", "images.example.com.evil.example", False),
        ("images.example.com", "evilimages.example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("localhost", "localhost", True),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", True),
    ],
)
def test_a_pattern_means_its_hosts(written: str, host: str, allowed: bool) -> None:
    assert HostPattern.parse(written).allows(host) is allowed


def test_a_policy_names_it_as_the_owner_wrote_it() -> None:
    assert HostPattern.parse("*.Example.com").source == "https://*.example.com"


@pytest.mark.parametrize("written", ["*", "*.com", "*.localhost"])
def test_everybody_is_no_host(written: str) -> None:
    with pytest.raises(ValueError, match="anybody's servers"):
        HostPattern.parse(written)


@pytest.mark.parametrize(
    "written",
    ["https://images.example.com", "images.example.com/lamps", "images.example.com:8443", "user@images.example.com", "",
     "10.0.0.1", "[::1]", "a.*.example.com", "*images.example.com", "images..example.com", "images.example.com.", "bücher.example",
     "a b", "images.example.com; script-src *", "images.example.com'", "-a.example.com", "images.example.com\\n", "*.*.example.com"],
)  # fmt: skip
def test_what_is_no_host_is_refused_with_its_mend(written: str) -> None:
    with pytest.raises(ValueError, match=r"is not a host's name\. Write it alone"):
        HostPattern.parse(written)
