"""What a page may say of itself."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widget_proxy.config import Limits
from widget_proxy.page_context import PageContextError, check_page_context, check_session_data, page_address

LIMITS = Limits()
ORIGIN = "https://shop.example.com"

GOOD: list[dict[str, Any]] = [
    {},
    {"price": "89.00", "in_stock": True, "rating": 4.5, "tags": ["a", "b"], "none": None, "count": -3},
    {"a": {"b": {"c": {"d": {}}}}},
    {"text": "ä 😀 \u202e right to left \n new line"},
    {"x": "x" * (8192 - len('{"x":""}'))},
    {"large": 2**53},
]

BAD: list[tuple[Any, str, str]] = [
    (None, "page_context_invalid", "object"),
    ([], "page_context_invalid", "object"),
    ("text", "page_context_invalid", "object"),
    (7, "page_context_invalid", "object"),
    ({"x": "x" * 8200}, "page_context_too_large", "8192"),
    ({"ä": "ä" * 4100}, "page_context_too_large", "8192"),
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
    assert accepted is value, "never cut, never changed"
    assert len(json.dumps(accepted, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()) <= 8192


def test_session_data_may_not_set_the_page_context() -> None:
    with pytest.raises(PageContextError) as refused:
        check_session_data({"page_context": {}}, LIMITS)
    assert refused.value.code == "reserved_key"
    assert check_session_data({"campaign": "spring"}, LIMITS) == {"campaign": "spring"}
    refused_ones: list[Any] = [None, [], {"x": "x" * 9000}, {"a": {"b": {"c": {"d": {"e": {}}}}}}]
    for bad in refused_ones:
        with pytest.raises(PageContextError):
            check_session_data(bad, LIMITS)


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
        assert len(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()) <= largest


@pytest.mark.parametrize("size", [8191, 8192, 8193])
def test_the_limit_is_met_to_the_byte(size: int) -> None:
    context = {"x": "x" * (size - len('{"x":""}'))}
    if size <= 8192:
        assert check_page_context(context, LIMITS) is context
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
