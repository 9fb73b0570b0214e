"""What the settings accept, given as values: bounds, and rules between one setting and another."""

import math
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from widget_proxy.assets import languages
from widget_proxy.config import Look, PacingSettings, ServerSettings, Settings, UpstreamSettings
from widget_proxy.config.site import (
    TAG_ONLY,
    Limits,
)
from widget_proxy.config.values import Language

ROOT = Path(__file__).parent.parent
SITE: dict[str, Any] = {
    "slug": "shop",
    "chatbot_id": "4c1a0f0e-8a1e-4c07-9e39-5a6c1c5b2a10",
    "embed_key": "marker-embed-key",
    "allowed_origins": ["https://shop.example.com", "https://*.example.org"],
}


def settings(site: dict[str, Any] | None = None, **more: Any) -> Settings:
    given = {"secret_key": "s" * 32, "upstream": {"url": "https://ocs.example.com"}} | more
    return Settings.model_validate(given | {"sites": {"shop": SITE | (site or {})}})


def test_little_is_needed_and_the_rest_has_safe_defaults() -> None:
    plain = settings()
    assert plain.server.host == "127.0.0.1"
    assert plain.pacing.message_poll_seconds == 30.0, "upstream's documented minimum"


@pytest.mark.parametrize("section", [ServerSettings, UpstreamSettings, PacingSettings, Limits])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 10**12, "x", None, [1]])
def test_a_number_out_of_all_bounds_is_refused(section: type[BaseModel], value: Any) -> None:
    unbounded = {"message_poll_seconds", "answer_bytes"}  # the longer, the gentler; the larger, the more memory
    for name, info in section.model_fields.items():
        if info.annotation not in {int, float} or (name in unbounded and value == 10**12):
            continue
        with pytest.raises(ValidationError):
            section.model_validate({name: value})


@pytest.mark.parametrize("key", ["", " ", "a b", "a\r\nX-Injected: 1", "a\n", "\ta", "schlüssel", "\x00", "a\u2028b"])
def test_an_embed_key_is_what_a_header_can_carry(key: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings({"embed_key": key})
    assert not key.strip() or key not in str(refused.value)


def test_a_site_is_allowed_by_any_of_its_patterns() -> None:
    site = settings().sites["shop"]
    assert site.allows("https://shop.example.com")
    assert site.allows("https://a.example.org")
    assert not site.allows("https://shop.example.org.evil.example")


def test_a_site_may_have_an_upstream_of_its_own() -> None:
    own = settings({"upstream_url": "https://other.example.com/ocs/"})
    assert own.upstream_of(own.sites["shop"]) == "https://other.example.com/ocs"
    common = settings()
    assert common.upstream_of(common.sites["shop"]) == "https://ocs.example.com"


def test_a_site_without_any_upstream_is_refused() -> None:
    with pytest.raises(ValidationError, match="'shop' has no upstream_url"):
        settings(upstream={})


def test_only_an_upstream_on_this_machine_may_be_polled_more_often() -> None:
    often = {"message_poll_seconds": 1}
    assert settings(upstream={"url": "http://127.0.0.1:1"}, pacing=often).pacing.message_poll_seconds == 1
    with pytest.raises(ValidationError, match="30 or more"):
        settings(pacing=often)
    with pytest.raises(ValidationError, match="30 or more"):
        settings({"upstream_url": "https://other.example.com"}, upstream={"url": "http://127.0.0.1:1"}, pacing=often)


def test_settings_do_not_change_while_they_are_used() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().server.port = 1  # type: ignore[misc]


@pytest.mark.parametrize("written", ["pdf, .TXT ,Md", [".pdf", "TXT", " md"], (".pdf", ".txt", ".md")])
def test_endings_may_be_written_in_any_way(written: Any) -> None:
    assert Limits(file_extensions=written).file_extensions == (".pdf", ".txt", ".md")


@pytest.mark.parametrize("written", ["", [], "p/df", [".tar.gz"], ["*"], [".pdf\n.exe"], ["."], [7], 7, [".ü"]])
def test_an_ending_is_letters_and_digits(written: Any) -> None:
    with pytest.raises(ValidationError):
        Limits(file_extensions=written)


def test_files_are_taken_where_the_site_says_so() -> None:
    assert not settings().sites["shop"].attachments
    assert settings({"attachments": True}).sites["shop"].attachments


def test_images_are_shown_of_the_hosts_a_site_names_and_of_no_other() -> None:
    assert not settings().sites["shop"].shows_images_of("images.example.com")
    site = settings({"image_hosts": ["images.example.com", "*.cdn.example"]}).sites["shop"]
    assert site.shows_images_of("images.example.com")
    assert site.shows_images_of("a.cdn.example")
    assert not site.shows_images_of("example.com")


TEXT = (["Moin", "x" * 300], ["", "x" * 301, 7, ["x"]])
SWITCH = ([True, False, "on", "off", "true"], ["maybe", "", 2, [True]])
LISTED = ([[], ["One"], ["x"] * 10], ["One", 7, ["x"] * 11, ["x" * 301], [7]])
LOOK: dict[str, tuple[list[Any], list[Any]]] = {
    "accent": (["#2457d6", "#ABCDEF"], ["blue", "#fff", "#2457d6 ", "", 7]),
    "position": (["left", "center", "right"], ["middle", "Left", "", None]),
    "theme": (["auto", "light", "dark"], ["blue", "", None, True]),
    "language": ([None, "auto", "en", "sw"], ["tlh", "EN", "", "pt-BR"]),
    "translations_url": (
        [None, "https://shop.example.com/chat.json", "https://shop.example.com:8443/a?b=c"],
        ["http://shop.example.com/chat.json", "/chat.json", "https://", "https://a b/", "https://u@x.example/", "",
         "https://x.example/\nx", "https://x.example;script-src/", "javascript:alert(1)", 7],
    ),
    "header_text": ([None, "x" * 80], ["", "x" * 81, 7]),
    "welcome_messages": LISTED,
    "starter_questions": LISTED,
    "typing_indicator_text": TEXT,
    "new_chat_confirmation_message": TEXT,
    "banner_message": TEXT,
    "banner_style": (["default", "info", "warning", "error"], ["loud", "", None]),
    "banner_position": (["top", "bottom"], ["left", "", None]),
    "consent_text": ([None, "x" * 1000], ["", "x" * 1001]),
    "disabled": SWITCH,
    "allow_full_screen": SWITCH,
    "allow_attachments": SWITCH,
    "feedback": SWITCH,
    "sound": SWITCH,
}  # fmt: skip
"""Each default a site may give its widget: what it may be, and what not."""


def test_every_default_of_the_widget_is_tried() -> None:
    assert set(LOOK) == set(Look.model_fields)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (taken, _) in LOOK.items() for value in taken])
def test_a_default_of_the_widget_is_taken(name: str, value: Any) -> None:
    assert name in settings({"look": {name: value}}).sites["shop"].look.model_fields_set


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (_, refused) in LOOK.items() for value in refused]
)
def test_what_the_widget_could_make_nothing_of_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        settings({"look": {name: value}})
    (place,) = {error["loc"][:4] for error in refused.value.errors()}
    assert place == ("sites", "shop", "look", name)


def test_each_attribute_of_the_widget_can_be_a_sites_default_or_not() -> None:
    """By the reference's table, whose last column says so."""
    section = (ROOT / "docs/widget.md").read_text().split("\n## Attributes\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \|.*\|([^|]*)\|$", section, re.MULTILINE)
    said = {name.replace("-", "_"): bool(cell.strip()) for name, cell in rows}
    assert said.pop("site") is False
    assert {name for name, default in said.items() if default} == set(Look.model_fields)
    assert {name for name, default in said.items() if not default} == TAG_ONLY


def test_a_default_language_is_one_that_there_is() -> None:
    assert get_args(Language) == ("auto", *languages())


def test_drop_in_sites_that_nothing_tells_apart_are_refused() -> None:
    two = {"shop": SITE | {"drop_in": True}, "twin": SITE | {"slug": "twin", "drop_in": True}}

    def read(**more: Any) -> Settings:
        sites = two | {"twin": two["twin"] | more}
        given = {"secret_key": "s" * 32, "upstream": {"url": "https://ocs.example.com"}, "sites": sites}
        return Settings.model_validate(given)

    with pytest.raises(ValidationError, match=r"https://shop\.example\.com too.*Turn it off for one of them"):
        read()
    assert read(drop_in=False).sites["shop"].drop_in
    assert read(allowed_origins=["https://else.example.com"]).sites["twin"].drop_in
    assert read(chatbot_id="4c1a0f0e-8a1e-4c07-9e39-5a6c1c5b2a11").sites["twin"].drop_in
