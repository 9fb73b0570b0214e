"""What a page may say of itself."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widget_proxy.config import Limits
from widget_proxy.page_context import (
    PageContextError,
    check_page_context,
    check_session_data,
    merge_signed,
    page_address,
)

LIMITS = Limits()
ORIGIN = "https://shop.example.com"

GOOD: list[dict[str, Any]] = [
    {},
    {"price": "89.00", "in_stock": True, "rating": 4.5, "tags": ["a", "b"], "none": None, "count": -3},
    {"a": {"b": {"c": {"d": {}}}}},
    {"text": "ä 😀 \u200f right to left \n new line \t tab \u200d"},
    {"x": "x" * 4000, "y": "y" * 4000},
    {"many": [0] * 199},
    {"k" * 100: 1},
    {"large": 2**53},
]

BAD: list[tuple[Any, str, str]] = [
    (None, "page_context_invalid", "object"),
    ([], "page_context_invalid", "object"),
    ("text", "page_context_invalid", "object"),
    (7, "page_context_invalid", "object"),
    ({"x": "x" * 3000, "y": ["y" * 3000, "z" * 3000]}, "page_context_too_large", "8192"),
    ({"ä": "ä" * 3000, "ö": "ö" * 3000}, "page_context_too_large", "8192"),
    ({"a": ["x" * 4001]}, "page_context_too_large", "page_context.a[0] has 4001 characters"),
    ({"many": [0] * 200}, "page_context_too_large", "200 keys and items"),
    ({str(number): {"a": 1} for number in range(101)}, "page_context_too_large", "200 keys and items"),
    ({"k" * 101: 1}, "page_context_invalid", "a key in page_context"),
    ({"pri\0ce": 1}, "page_context_invalid", "a key in page_context"),
    ({"a": {"__pro\u202eto__": 1}}, "page_context_invalid", "a key in page_context.a"),
    ({"\U000e0061": 1}, "page_context_invalid", "a key in page_context"),
    ({"a": {1, 2}}, "page_context_invalid", "page_context.a"),
    ({"a": {"b": {"c": {"d": {"e": {}}}}}}, "page_context_invalid", "page_context.a.b.c.d.e"),
    ({"a": [[[[[]]]]]}, "page_context_invalid", "deeper than 5"),
    ({"a": float("nan")}, "page_context_invalid", "page_context.a"),
    ({"a": [float("inf")]}, "page_context_invalid", "page_context.a[0]"),
    ({"a": 2**53 + 1}, "page_context_invalid", "page_context.a"),
    ({"a": "\ud800"}, "page_context_invalid", "surrogate"),
    ({"\udfff": 1}, "page_context_invalid", "surrogate"),
    ({"__proto__": {}}, "reserved_key", "__proto__"),
    ({"a": {"constructor": 1}}, "reserved_key", "page_context.a"),
]


@pytest.mark.parametrize("context", GOOD)
def test_a_good_context_is_passed_on_unchanged(context: dict[str, Any]) -> None:
    assert check_page_context(context, LIMITS) == context


@pytest.mark.parametrize(("context", "code", "told"), BAD)
def test_a_bad_context_is_refused_and_the_place_is_named(context: Any, code: str, told: str) -> None:
    with pytest.raises(PageContextError) as refused:
        check_page_context(context, LIMITS)
    assert refused.value.code == code
    assert told in str(refused.value)


def test_a_context_a_thousand_deep_is_refused_before_it_is_walked() -> None:
    deep: Any = {}
    for _ in range(1000):
        deep = {"a": deep}
    with pytest.raises(PageContextError, match="deeper"):
        check_page_context(deep, LIMITS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@given(JSON)
def test_whatever_is_accepted_meets_every_limit(value: Any) -> None:
    try:
        accepted = check_page_context(value, LIMITS)
    except PageContextError:
        return
    assert check_page_context(accepted, LIMITS) == accepted, "what was cleaned is clean"
    assert shape(accepted) == shape(value), "never cut: no key, no item and no number is another"
    assert len(json.dumps(accepted, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()) <= 8192


def shape(value: Any) -> Any:
    match value:
        case dict():
            return {key: shape(inner) for key, inner in value.items()}
        case list():
            return [shape(inner) for inner in value]
        case str():
            return str
        case _:
            return value


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\0b\x07c\x1b[31m", "abc[31m"),
        ("a\r\nb\rc\n\td", "a\nb\nc\n\td"),
        ("a\x7f\x85\x9fb", "ab"),
        ("89\u202e.00\u202c", "89.00"),
        ("a\u2066b\u2069c", "abc"),
        ("hi\U000e0069\U000e0067\U000e006e\U000e007f", "hi"),
        ("\u0645\u200f\u061c \u05d0\u200e", "\u0645\u200f\u061c \u05d0\u200e"),
    ],
)
def test_characters_that_control_or_hide_are_removed_from_texts(text: str, cleaned: str) -> None:
    assert check_page_context({"a": [text]}, LIMITS) == {"a": [cleaned]}
    assert check_session_data({"a": {"b": text}}, LIMITS) == {"a": {"b": cleaned}}


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (f"{ORIGIN}/lamps?utm_source=mail&token=marker#part", f"{ORIGIN}/lamps?utm_source=mail"),
        (f"{ORIGIN}/lamps?token=marker&utm_source=a&utm_medium=b", f"{ORIGIN}/lamps?utm_source=a&utm_medium=b"),
        (f"{ORIGIN}/lamps?utm%5Fsource=mail&x=utm_source=marker", f"{ORIGIN}/lamps?utm%5Fsource=mail"),
        (f"{ORIGIN}/lamps?utm_source=a;token=marker", f"{ORIGIN}/lamps"),
        (f"{ORIGIN}/lamps?utm_source=a%3Btoken=marker", f"{ORIGIN}/lamps"),
        (f"{ORIGIN}/lamps?UTM_SOURCE=marker&utm_source", f"{ORIGIN}/lamps?utm_source"),
        (f"{ORIGIN}#/reset/marker", ORIGIN),
        ("https://maya:marker@shop.example.com/a", f"{ORIGIN}/a"),
        ("/lamps?token=marker", "/lamps"),
        ("?token=marker", ""),
        (f"  {ORIGIN}/a?marker", f"{ORIGIN}/a"),
        (f"{ORIGIN}/a\n?mar\x00ker", f"{ORIGIN}/a"),
        ("", ""),
        (None, None),
    ],
)
def test_of_an_address_only_the_listed_parameters_stay(sent: Any, told: Any) -> None:
    parameters = ("utm_source", "utm_medium")
    assert check_page_context({"page_url": sent}, LIMITS, parameters) == {"page_url": told}


@pytest.mark.parametrize("sent", ["javascript:alert(1)?token=x", "data:text/html,x", "http://[", 7, {"x": 1}, ["x"]])
def test_an_address_that_is_none_is_refused(sent: Any) -> None:
    with pytest.raises(PageContextError, match="page_url is no web address") as refused:
        check_page_context({"page_url": sent}, LIMITS)
    assert refused.value.code == "page_context_invalid"


@given(st.text(max_size=80))
def test_no_address_keeps_anything_behind_its_path(text: str) -> None:
    try:
        address = check_page_context({"page_url": f"https://x.example/{text}"}, LIMITS)["page_url"]
    except PageContextError:
        return
    assert not {"?", "#"} & set(address)


def test_what_is_signed_wins_key_by_key() -> None:
    merged = merge_signed({"price": 1, "title": "x"}, {"price": 89, "stock": 3}, signed_only=())
    assert merged == {"price": 89, "title": "x", "stock": 3}


@pytest.mark.parametrize(
    "key", ["Price", "price ", "PRICE", "ｐｒｉｃｅ", "_price", "pri-ce", "price.", "pri\u200bce"]
)
def test_a_key_that_reads_like_a_signed_one_does_not_stand_beside_it(key: str) -> None:
    assert merge_signed({key: 1}, {"price": 89}, signed_only=()) == {"price": 89}
    assert merge_signed({key: 1, "a": [{key: 1}]}, {}, signed_only=("price",)) == {"a": [{}]}
    assert merge_signed({key: 1}, {}, signed_only=(), kept=("price",)) == {}


def test_keys_without_letters_are_told_apart() -> None:
    assert merge_signed({"—": 1, "…": 2}, {"—": 3}, signed_only=("!",)) == {"—": 3, "…": 2}


@given(
    st.dictionaries(st.text(max_size=10), JSON, max_size=5), st.dictionaries(st.text(max_size=10), JSON, max_size=5)
)
def test_nothing_unsigned_changes_what_is_signed(unsigned: dict[str, Any], signed: dict[str, Any]) -> None:
    assert merge_signed(unsigned, signed, signed_only=("price",)).items() >= signed.items()
    assert "price" not in merge_signed(unsigned, {}, signed_only=("price",))


def test_session_data_may_not_set_the_page_context() -> None:
    with pytest.raises(PageContextError) as refused:
        check_session_data({"page_context": {}}, LIMITS)
    assert refused.value.code == "reserved_key"
    assert check_session_data({"campaign": "spring"}, LIMITS) == {"campaign": "spring"}
    refused_ones: list[Any] = [None, [], {"x": "x" * 9000}, {"a": {"b": {"c": {"d": {"e": {}}}}}}]
    for bad in refused_ones:
        with pytest.raises(PageContextError):
            check_session_data(bad, LIMITS)
    with pytest.raises(PageContextError) as refused:
        check_session_data({"remote_context": {"price": 1}}, LIMITS)
    assert refused.value.code == "reserved_key", "where upstream keeps a message's page context"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (f"{ORIGIN}/lamps/aurora", f"{ORIGIN}/lamps/aurora"),
        (f"{ORIGIN}/lamps?q=secret#part", f"{ORIGIN}/lamps"),
        ("https://evil.example/x", ORIGIN),
        ("https://shop.example.com.evil.example/x", ORIGIN),
        ("https://user@shop.example.com/x", ORIGIN),
        ("javascript:alert(1)", ORIGIN),
        (f"{ORIGIN}/späti", ORIGIN),
        ("http://[", ORIGIN),
        (7, ORIGIN),
        (None, ORIGIN),
    ],
)
def test_the_pages_address_is_only_ever_of_its_own_origin(url: Any, address: str) -> None:
    assert page_address({"page_url": url}, ORIGIN) == address


def test_a_page_that_says_nothing_is_its_origin() -> None:
    assert page_address(None, ORIGIN) == ORIGIN
    assert len(page_address({"page_url": ORIGIN + "/" + "a" * 9000}, ORIGIN)) <= 2000


def depth_of(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(depth_of, value.values()), default=0)
        case list():
            return 1 + max(map(depth_of, value), default=0)
        case _:
            return 0


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=20), JSON, max_size=5), st.integers(256, 600), st.integers(1, 6))
def test_a_sites_own_limits_decide(value: dict[str, Any], largest: int, deepest: int) -> None:
    limits = Limits(page_context_bytes=largest, page_context_depth=deepest)
    for check in (check_page_context, check_session_data):
        try:
            check(value, limits)
        except PageContextError:
            continue
        assert depth_of(value) <= deepest
        accepted = check(value, limits)
        assert (
            len(json.dumps(accepted, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()) <= largest
        )


@pytest.mark.parametrize("size", [8191, 8192, 8193])
def test_the_limit_is_met_to_the_byte(size: int) -> None:
    context = {"x": "x" * 4000, "y": "y" * 4000, "z": "z" * (size - 8000 - len('{"x":"","y":"","z":""}'))}
    if size <= 8192:
        assert check_page_context(context, LIMITS) == context
    else:
        with pytest.raises(PageContextError, match="8193 bytes"):
            check_page_context(context, LIMITS)


@pytest.mark.parametrize("key", ["__proto__", "constructor", "prototype"])
@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: {"a": it}, lambda it: {"a": [it]}])
def test_a_key_that_would_reach_into_javascripts_objects_is_refused(key: str, wrap: Callable[[Any], Any]) -> None:
    for check in (check_page_context, check_session_data):
        with pytest.raises(PageContextError) as refused:
            check(wrap({key: 1}), LIMITS)
        assert refused.value.code == "reserved_key"


def test_a_number_of_thousands_of_digits_is_refused_before_it_is_written() -> None:
    with pytest.raises(PageContextError, match="too large to be exact"):
        check_page_context({"a": 10**5000}, LIMITS)


def test_what_is_told_of_a_mistake_repeats_no_long_key() -> None:
    with pytest.raises(PageContextError) as refused:
        check_page_context({"k" * 5000: float("nan")}, LIMITS)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "path",
    ["/a\r\nX-Injected: 1", "/a b", "/a\x00", "/a\x7f", "/a\u2028", "/sp\u00e4ti", "\\@evil.example/", "@evil.example/", ".evil.example/", ":8443/"],
)  # fmt: skip
def test_no_address_breaks_out_of_its_header_or_its_origin(path: str) -> None:
    assert page_address({"page_url": ORIGIN + path}, ORIGIN) == ORIGIN
