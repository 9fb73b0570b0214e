"""What a page may say of itself."""

import json
from typing import Any

import pytest
from hypothesis import given
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
    assert len(json.dumps(accepted, ensure_ascii=False, allow_nan=False).encode()) <= 8192 * 2


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
        (f"{ORIGIN}/a\r\nX-Injected: 1", f"{ORIGIN}/aX-Injected: 1".split("aX")[0]),
        (f"{ORIGIN}/späti", ORIGIN),
        ("http://[", ORIGIN),
        (7, ORIGIN),
        (None, ORIGIN),
    ],
)
def test_the_pages_address_is_only_ever_of_its_own_origin(url: Any, address: str) -> None:
    found = page_address({"page_url": url}, ORIGIN)
    assert found.startswith(ORIGIN)
    assert "\r" not in found
    assert "\n" not in found
    assert " " not in found
    if "Injected" not in str(url):
        assert found == address


def test_a_page_that_says_nothing_is_its_origin() -> None:
    assert page_address(None, ORIGIN) == ORIGIN
    assert len(page_address({"page_url": ORIGIN + "/" + "a" * 9000}, ORIGIN)) <= 2000
