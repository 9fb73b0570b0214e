"""Visitor tokens: whom they name, and every way in which one is not taken."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.servers import EMBED_KEY, SHOP_ORIGIN, VISITOR_SECRET, FakeUpstream, Proxy
from widget_proxy.config import OriginPattern, Site
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID
from widget_proxy.handles import LONGEST as LONGEST_HANDLE
from widget_proxy.handles import ChatSession, Handles
from widget_proxy.visitor_tokens import LONGEST, VisitorTokenInvalid, read_token, sign_token

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MOMENT = int(NOW.timestamp())
OLD_SECRET = "marker-visitor-secret-of-last-year-00"
GOOD: dict[str, Any] = {"sub": "u-7", "aud": "shop", "exp": MOMENT + 3600}


def site(**more: Any) -> Site:
    return Site(
        slug="shop",
        chatbot_id=UUID(DEMO_CHATBOT_ID),
        embed_key=SecretStr(EMBED_KEY),
        allowed_origins=(OriginPattern.parse(SHOP_ORIGIN),),
        visitor_secret=(SecretStr(OLD_SECRET), SecretStr(VISITOR_SECRET)),
        **more,
    )


def encoded(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def raw(payload: Any, header: Any = None, secret: str = VISITOR_SECRET) -> str:
    """A token whose signature is good, whatever is under it."""
    signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT'} if header is None else header)}.{encoded(payload)}"
    return f"{signed}.{encoded(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"


def token(**claims: Any) -> str:
    """A token of this moment; a claim that is `None` is left out."""
    told = {"sub": "u-7", "aud": "shop", "exp": int(time.time()) + 3600} | claims
    return sign_token({name: value for name, value in told.items() if value is not None}, SecretStr(VISITOR_SECRET))


def test_a_good_token_names_the_visitor_and_the_page() -> None:
    page = {"price": 89, "page_url": f"{SHOP_ORIGIN}/lamps?token=x"}
    visitor = read_token(raw(GOOD | {"name": "Maya Lind", "page_context": page}), site(), NOW)
    assert (visitor.id, visitor.name) == ("u-7", "Maya Lind")
    assert visitor.page_context == {"price": 89, "page_url": f"{SHOP_ORIGIN}/lamps"}
    assert "Maya" not in repr(visitor)
    assert "u-7" not in repr(visitor)


@pytest.mark.parametrize(
    "claims",
    [
        {"name": None, "page_context": None, "nbf": None, "iat": None},
        {"exp": MOMENT + 3600.5, "nbf": MOMENT - 5, "iat": MOMENT, "iss": 7, "jti": [], "email": "x"},
        {"exp": MOMENT + 24 * 3600},
        {"exp": MOMENT - 59, "iat": MOMENT + 59},
        {"sub": "ä" * 255, "name": "n" * 255},
        {"page_context": {}},
    ],
)
def test_what_is_not_needed_may_be_missing_and_what_is_unknown_may_be_there(claims: dict[str, Any]) -> None:
    assert read_token(raw(GOOD | claims), site(), NOW).id == (GOOD | claims)["sub"]


def test_a_secret_is_rotated_by_listing_both() -> None:
    assert read_token(raw(GOOD, secret=OLD_SECRET), site(), NOW).id == "u-7"
    assert read_token(raw(GOOD, secret=VISITOR_SECRET), site(), NOW).id == "u-7"


def keypair() -> tuple[bytes, bytes]:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


def bad() -> dict[str, tuple[str, str]]:
    good = raw(GOOD)
    header, payload, signature = good.split(".")
    other = encoded(GOOD | {"sub": "admin"})
    private, public = keypair()
    return {
        "empty": ("", "no JWT"),
        "words": ("not a token", "no JWT"),
        "two parts": (f"{header}.{payload}", "no JWT"),
        "four parts": (f"{good}.x", "no JWT"),
        "padding": (f"{header}=.{payload}.{signature}", "no JWT"),
        "white space": (f" {good}", "no JWT"),
        "a line break at its end": (f"{good}\n", "no JWT"),
        "a megabyte": ("a" * 500_000 + "." + "b" * 500_000 + ".c", "16384"),
        "one too long": (f"{'a' * (LONGEST - 3)}.b.cd", "16384"),
        "another payload": (f"{header}.{other}.{signature}", "not signed"),
        "no signature": (f"{header}.{payload}.", "no JWT"),
        "another's signature": (raw(GOOD, secret="x" * 32), "not signed"),
        "the embed key's": (raw(GOOD, secret=EMBED_KEY), "not signed"),
        "alg none": (f"{encoded({'alg': 'none'})}.{payload}.{signature}", "alg is not HS256"),
        "alg none, signed with nothing": (raw(GOOD, {"alg": "none"}, ""), "alg is not HS256"),
        "alg None": (raw(GOOD, {"alg": "None"}), "alg is not HS256"),
        "alg hs256": (raw(GOOD, {"alg": "hs256"}), "alg is not HS256"),
        "alg HS512": (jwt.encode(GOOD, VISITOR_SECRET * 2, "HS512"), "alg is not HS256"),
        "alg RS256": (jwt.encode(GOOD, private, "RS256"), "alg is not HS256"),
        "HS256 by RS256's public key": (raw(GOOD, secret=public.decode()), "not signed"),
        "alg a list": (raw(GOOD, {"alg": ["HS256"]}), "HS256"),
        "no alg": (raw(GOOD, {"typ": "JWT"}), "HS256"),
        "a key of its own": (raw(GOOD, {"alg": "HS256", "jwk": {"kty": "oct", "k": "eHg"}}, "xx"), "not signed"),
        "a key's path": (raw(GOOD, {"alg": "HS256", "kid": "/dev/null"}, ""), "not signed"),
        "an extension it does not know": (raw(GOOD, {"alg": "HS256", "crit": ["x"], "x": 1}), "no JWT"),
        "a detached payload": (raw(GOOD, {"alg": "HS256", "b64": False}), "no JWT"),
        "a header that is a list": (raw(GOOD, []), "no JWT"),
        "a header that is deep": (raw(GOOD, b"[" * 4000), "no JWT"),
        "a payload that is a list": (raw([GOOD]), "no JWT"),
        "a payload that is deep": (raw(b"[" * 4000), "no JWT"),
        "a payload that is no UTF-8": (raw(b'{"sub": "\xff"}'), "no JWT"),
        "a payload that is nothing": (raw(b""), "no JWT"),
        "expired": (raw(GOOD | {"exp": MOMENT - 61}), "has expired"),
        "expired before there were clocks": (raw(GOOD | {"exp": -(10**300)}), "has expired"),
        "no exp": (raw({"sub": "u-7", "aud": "shop"}), "no exp"),
        "exp null": (raw(GOOD | {"exp": None}), "no exp"),
        "exp a text": (raw(GOOD | {"exp": str(MOMENT + 60)}), "exp is no number"),
        "exp true": (raw(GOOD | {"exp": True}), "exp is no number"),
        "exp a list": (raw(GOOD | {"exp": [MOMENT + 60]}), "exp is no number"),
        "exp in a week": (raw(GOOD | {"exp": MOMENT + 7 * 86_400}), "24 hours"),
        "exp in milliseconds": (raw(GOOD | {"exp": MOMENT * 1000}), "24 hours"),
        "exp beyond numbers": (raw(GOOD | {"exp": 10**400}), "24 hours"),
        "exp beyond digits": (raw(f'{{"sub":"u","aud":"shop","exp":{"9" * 5000}}}'.encode()), "no JWT"),
        "exp infinite": (raw(b'{"sub":"u","aud":"shop","exp":Infinity}'), "exp is no number"),
        "exp larger than a float": (raw(b'{"sub":"u","aud":"shop","exp":1e999}'), "exp is no number"),
        "exp not a number": (raw(b'{"sub":"u","aud":"shop","exp":NaN}'), "exp is no number"),
        "not yet valid": (raw(GOOD | {"nbf": MOMENT + 61}), "not valid yet, by its nbf"),
        "made tomorrow": (raw(GOOD | {"iat": MOMENT + 80_000}), "not valid yet, by its iat"),
        "nbf a text": (raw(GOOD | {"nbf": "0"}), "nbf is no number"),
        "of another site": (raw(GOOD | {"aud": "other"}), "aud"),
        "of no site": (raw({"sub": "u-7", "exp": MOMENT + 60}), "aud"),
        "of several sites": (raw(GOOD | {"aud": ["shop", "other"]}), "aud"),
        "of one site in a list": (raw(GOOD | {"aud": ["shop"]}), "aud"),
        "of nearly this site": (raw(GOOD | {"aud": "Shop"}), "aud"),
        "no sub": (raw({"aud": "shop", "exp": MOMENT + 60}), "no sub"),
        "sub a number": (raw(GOOD | {"sub": 7}), "sub is no text"),
        "sub a list": (raw(GOOD | {"sub": ["u-7"]}), "sub is no text"),
        "sub empty": (raw(GOOD | {"sub": ""}), "sub is no text"),
        "sub white space": (raw(GOOD | {"sub": " \u00a0"}), "sub is no text"),
        "sub too long": (raw(GOOD | {"sub": "u" * 256}), "sub is no text"),
        "sub with a NUL": (raw(GOOD | {"sub": "admin\0"}), "sub holds a control character"),
        "sub with a line break": (raw(GOOD | {"sub": "u\r\nX: 1"}), "sub holds a control character"),
        "sub that is turned around": (raw(GOOD | {"sub": "\u202enimda"}), "sub holds a control character"),
        "sub with half a character": (raw(GOOD | {"sub": "\ud800"}), "sub holds a control character"),
        "name a number": (raw(GOOD | {"name": 7}), "name is no text"),
        "name empty": (raw(GOOD | {"name": ""}), "name is no text"),
        "name too long": (raw(GOOD | {"name": "n" * 256}), "name is no text"),
        "name with an escape": (raw(GOOD | {"name": "\x1b[2J"}), "name holds a control character"),
        "a context that is a text": (raw(GOOD | {"page_context": "x"}), "must be a JSON object"),
        "a context too large": (raw(GOOD | {"page_context": {"a": "x" * 2048}}), "2048 are allowed"),
        "a context too deep": (raw(GOOD | {"page_context": {"a": [[[[[1]]]]]}}), "nested deeper"),
        "a context with a prototype": (raw(GOOD | {"page_context": {"__proto__": {}}}), "__proto__"),
        "a context of NaN": (raw(GOOD | {"page_context": {"a": float("nan")}}), "no finite number"),
    }


BAD = bad()


@pytest.mark.parametrize(("forged", "told"), BAD.values(), ids=BAD)
def test_a_token_that_is_not_as_it_should_be_is_refused_and_says_why(forged: str, told: str) -> None:
    with pytest.raises(VisitorTokenInvalid) as refused:
        read_token(forged, site(), NOW)
    assert told in str(refused.value)
    assert len(str(refused.value)) < 300
    assert not any(len(part) > 2 and part in refused.value.reason for part in forged.split("."))
    for nothing in ("u-7", "admin", VISITOR_SECRET):
        assert nothing not in refused.value.reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
CLAIMS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("sub", "name", "aud", "exp", "nbf", "iat", "page_context"), JSON)
)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda one: one.decode("latin-1")))
def test_no_text_is_taken_for_a_token(text: str) -> None:
    with pytest.raises(VisitorTokenInvalid):
        read_token(text, site(), NOW)


@settings(deadline=None)
@given(JSON, JSON)
def test_whatever_is_signed_is_a_visitor_or_refused(header: Any, payload: Any) -> None:
    with pytest.raises(VisitorTokenInvalid):
        read_token(raw(payload, header if header is not None else {}), site(), NOW)


@settings(deadline=None)
@given(CLAIMS)
def test_whoever_is_let_in_has_an_id_that_upstream_takes(claims: dict[str, Any]) -> None:
    try:
        visitor = read_token(raw(GOOD | claims), site(), NOW)
    except VisitorTokenInvalid:
        return
    assert 1 <= len(visitor.id) <= 255
    assert visitor.name is None or 1 <= len(visitor.name) <= 255
    assert len(json.dumps(visitor.page_context, ensure_ascii=False, separators=(",", ":")).encode()) <= 2048


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_one_changed_character_is_one_too_many(data: st.DataObject) -> None:
    good = raw(GOOD)
    place = data.draw(st.integers(0, len(good) - 2))  # the last character has bits that mean nothing
    other = data.draw(st.sampled_from("ABCxyz019-_."))
    changed = good[:place] + other + good[place + 1 :]
    if changed != good:
        with pytest.raises(VisitorTokenInvalid):
            read_token(changed, site(), NOW)


def test_in_a_session_a_token_is_good_that_was_so_when_it_started() -> None:
    started = NOW - timedelta(hours=5)
    during = raw(GOOD | {"exp": MOMENT - 3600})
    assert read_token(during, site(), NOW, started).id == "u-7"
    for before in (MOMENT - 5 * 3600 - 61, 0):
        with pytest.raises(VisitorTokenInvalid, match="expired"):
            read_token(raw(GOOD | {"exp": before}), site(), NOW, started)
    with pytest.raises(VisitorTokenInvalid, match="24 hours"):
        read_token(raw(GOOD | {"exp": MOMENT + 90_000}), site(), NOW, started)


def test_the_largest_signed_context_fits_into_a_handle() -> None:
    page = {"a": "ä" * ((2048 - len('{"a":""}')) // 2)}
    visitor = read_token(raw(GOOD | {"page_context": page}), site(), NOW)
    session = ChatSession(
        "s" * 64, DEMO_CHATBOT_ID, "t" * 300, "https://" + "o" * 253, NOW, "v" * 32, visitor.page_context
    )
    handles = Handles(["k" * 32], lambda: NOW)
    handle = handles.seal_session(session)
    assert len(handle) < LONGEST_HANDLE
    assert handles.open_session(handle) == session
    assert "u-7" not in repr(session)


# Over a socket

SESSIONS = "/v1/sites/shop/sessions"
MESSAGES = "/v1/session/messages"


@pytest.fixture(scope="module")
def _taker(_upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Its `shop` takes tokens, its `other` needs them."""
    settings = {
        "SHOP__VISITOR_SECRET": f"{OLD_SECRET},{VISITOR_SECRET}",
        "SHOP__SIGNED_ONLY": "price,discount",
        "OTHER__VISITOR_SECRET": VISITOR_SECRET,
        "OTHER__VISITOR_TOKEN": "required",
        "OTHER__ALLOWED_ORIGINS": SHOP_ORIGIN,
    }
    named = {f"WIDGET_PROXY_SITES__{name}": value for name, value in settings.items()}
    with Proxy(_upstream_server.url, tmp_path_factory.mktemp("taker") / "log", **named) as server:
        yield server


@pytest.fixture
def taker(_taker: Proxy, upstream: FakeUpstream) -> Proxy:
    return _taker


def context_sent(upstream: FakeUpstream) -> Any:
    """The context of the last message."""
    return upstream.requests("message")[-1]["body"].get("context")


def test_a_signed_visitor_is_who_upstream_is_told(taker: Proxy, upstream: FakeUpstream) -> None:
    signed = token(name="Maya", page_context={"price": 89})
    body = {
        "visitor_token": signed,
        "participant": {"id": "admin", "name": "Admin"},
        "page_context": {"price": 1, "page_title": "Lamp"},
    }
    with taker.client() as client:
        response = client.post(SESSIONS, json=body)
    assert response.status_code == 201
    assert response.json()["participant"] == {"id": "u-7", "name": "Maya"}
    (start,) = upstream.requests("start")
    assert start["body"]["participant_remote_id"] == "u-7"
    assert start["body"]["participant_name"] == "Maya"
    assert start["body"]["page_context"] == {"price": 89, "page_title": "Lamp"}
    assert signed not in json.dumps(start)


def test_where_tokens_say_who_somebody_is_nothing_else_does(taker: Proxy, upstream: FakeUpstream) -> None:
    with taker.client() as client:
        response = client.post(SESSIONS, json={"participant": {"id": "u-7", "name": "Maya"}})
    assert response.json()["participant"] == {"id": None, "name": None}, "whoever claims to be somebody sees it"
    (start,) = upstream.requests("start")
    assert "participant_remote_id" not in start["body"]
    assert "participant_name" not in start["body"]


def test_what_was_signed_at_the_start_holds_for_the_whole_session(taker: Proxy, upstream: FakeUpstream) -> None:
    handle = taker.start_session(visitor_token=token(page_context={"price": 89, "stock": 3}))
    taker.send(handle, "one", page_context={"price": 1, "Stock": 99, "discount": 50, "page_title": "Lamp"})
    assert context_sent(upstream) == {"price": 89, "stock": 3, "page_title": "Lamp"}
    taker.send(handle, "two", page_context={})
    assert context_sent(upstream) == {"price": 89, "stock": 3}
    taker.send(handle, "three")
    assert context_sent(upstream) == {"price": 89, "stock": 3}


def test_a_message_may_bring_what_is_signed_of_the_page_it_is_sent_from(taker: Proxy, upstream: FakeUpstream) -> None:
    handle = taker.start_session(visitor_token=token(page_context={"price": 89, "stock": 3}))
    chairs = token(page_context={"price": 240})
    taker.send(handle, "one", visitor_token=chairs, page_context={"price": 1, "stock": 99, "page_title": "Chair"})
    assert context_sent(upstream) == {"price": 240, "page_title": "Chair"}, "the lamp's stock is not the chair's"
    taker.send(handle, "two", visitor_token=chairs)
    assert context_sent(upstream) == {"price": 240}


def test_keys_that_are_signed_only_are_dropped_from_everything_else(taker: Proxy, upstream: FakeUpstream) -> None:
    forged = {"price": 1, "Discount": 90, "product": {"price": 1, "name": "Lamp"}, "all": [{"PRICE": 1}]}
    handle = taker.start_session(page_context=forged)
    (start,) = upstream.requests("start")
    assert start["body"]["page_context"] == {"product": {"name": "Lamp"}, "all": [{}]}
    taker.send(handle, "one", page_context=forged)
    assert context_sent(upstream) == start["body"]["page_context"]
    taker.send(handle, "two", page_context={"price": 1})
    assert context_sent(upstream) == {"page_url": SHOP_ORIGIN}
    taker.send(handle, "three", visitor_token=token(page_context={"price": 89}), page_context=forged)
    assert context_sent(upstream)["price"] == 89, "in a session that began without a token, too"


def test_a_token_that_expires_during_a_session_goes_on_working_in_it(taker: Proxy, upstream: FakeUpstream) -> None:
    ours = Handles(["marker-signing-secret-0d2b6e84-0d2b6e84"])
    handle = taker.start_session(visitor_token=token())
    earlier = ours.open_session(handle)
    hours_old = ours.seal_session(
        ChatSession(
            "shop",
            earlier.session_id,
            earlier.token,
            earlier.origin,
            datetime.now(UTC) - timedelta(hours=3),
            earlier.visitor,
        )
    )
    stale = token(exp=int(time.time()) - 3600, page_context={"price": 89})
    with taker.client(handle=handle) as client:
        refused = client.post(MESSAGES, json={"message": "hi", "visitor_token": stale})
    assert refused.status_code == 400
    assert refused.json()["code"] == "visitor_token_invalid"
    assert "reload" in refused.json()["detail"]
    assert upstream.requests("message") == []
    taker.send(hours_old, "hi", visitor_token=stale)
    assert context_sent(upstream) == {"price": 89}


def test_another_visitors_token_opens_no_conversation(taker: Proxy, upstream: FakeUpstream) -> None:
    handle = taker.start_session(visitor_token=token(sub="u-7"))
    with taker.client(handle=handle) as client:
        response = client.post(MESSAGES, json={"message": "hi", "visitor_token": token(sub="u-8")})
    assert response.status_code == 401
    assert response.json()["code"] == "handle_invalid"
    assert upstream.requests("message") == []


def test_a_site_that_needs_tokens_starts_nothing_without(taker: Proxy, upstream: FakeUpstream) -> None:
    with taker.client() as client:
        for body in ({}, {"visitor_token": None}, {"participant": {"id": "u-7"}}):
            response = client.post("/v1/sites/other/sessions", json=body)
            assert response.status_code == 400
            assert response.json()["code"] == "visitor_token_invalid"
        assert upstream.requests() == []
        named = client.post("/v1/sites/other/sessions", json={"visitor_token": token(aud="other")})
        assert named.status_code == 201
        client.headers["Authorization"] = f"Bearer {named.json()['handle']}"
        assert client.post(MESSAGES, json={"message": "hi"}).status_code == 202, "the session knows its visitor"


def test_a_session_older_than_the_need_for_tokens_is_over(taker: Proxy, upstream: FakeUpstream) -> None:
    ours = Handles(["marker-signing-secret-0d2b6e84-0d2b6e84"])
    nameless = ours.open_session(taker.start_session())
    handle = ours.seal_session(
        ChatSession("other", nameless.session_id, nameless.token, SHOP_ORIGIN, nameless.started)
    )
    with taker.client(handle=handle) as client:
        for response in (client.post(MESSAGES, json={"message": "hi"}), client.get(MESSAGES)):
            assert response.status_code == 401
            assert response.json()["code"] == "handle_invalid"


@pytest.mark.parametrize("name", [name for name in BAD if name != "a megabyte"])
def test_a_bad_token_starts_and_sends_nothing_and_is_in_no_log(
    taker: Proxy, upstream: FakeUpstream, name: str
) -> None:
    handle = taker.start_session()
    upstream.clear("requests")
    forged = BAD[name][0]
    with taker.client(handle=handle) as client:
        answers = [
            client.post(SESSIONS, json={"visitor_token": forged}),
            client.post(MESSAGES, json={"message": "hi", "visitor_token": forged}),
        ]
    for response in answers:
        assert response.status_code == 400
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["code"] == "visitor_token_invalid"
    assert upstream.requests() == []
    assert not [part for part in forged.split(".") if len(part) > 12 and part in taker.output()]


def test_a_refused_token_is_a_line_in_the_log_without_anything_of_it(taker: Proxy) -> None:
    with taker.client() as client:
        client.post(SESSIONS, json={"visitor_token": token(sub="marker-sub", name="marker-name", exp=1)})
    assert "site shop: a visitor token is refused: it has expired" in taker.output()
    for marker in ("marker-sub", "marker-name", VISITOR_SECRET, OLD_SECRET):
        assert marker not in taker.output()


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b'{"message": "x", "visitor_token": "%s", "visitor_token": "%s"}', 400, "visitor_token_invalid"),
        (b'{"message": "x", "visitor_token": "%s", "visitor\\u005ftoken": "%s"}', 400, "visitor_token_invalid"),
        (b'{"message": "x", "visitor_token": ["%s", "%s"]}', 400, "bad_request"),
        (b'{"message": "x", "visitor_token": "%s", "page_context": {"a": 1, "a": "%s"}}', 400, "bad_request"),
        (b'{"message": "x", "visitor_token": 7}', 400, "bad_request"),
        (b'{"message": "x", "visitor_token": "' + b"a" * 1_000_000 + b'"}', 413, "bad_request"),
    ],
)
def test_a_token_is_given_once_and_as_text(
    taker: Proxy, upstream: FakeUpstream, content: bytes, status: int, code: str
) -> None:
    handle = taker.start_session()
    good = token().encode()
    with taker.client(handle=handle) as client:
        response = client.post(
            MESSAGES, content=content.replace(b"%s", good), headers={"Content-Type": "application/json"}
        )
    assert response.status_code == status
    assert response.json()["code"] == code
    assert upstream.requests("message") == []


def test_a_site_without_a_secret_takes_no_tokens(proxy: Proxy, upstream: FakeUpstream) -> None:
    with proxy.client(handle=proxy.start_session()) as client:
        upstream.clear("requests")
        for path, body in ((SESSIONS, {}), (MESSAGES, {"message": "hi"})):
            response = client.post(path, json=body | {"visitor_token": token()})
            assert response.status_code == 400
            assert response.json()["code"] == "visitor_token_invalid"
    assert upstream.requests() == []


def test_no_claim_of_a_name_has_control_characters(proxy: Proxy, upstream: FakeUpstream) -> None:
    with proxy.client() as client:
        for participant in ({"id": "a\0"}, {"name": "a\r\nb"}, {"name": "\u202eadmin"}):
            response = client.post(SESSIONS, json={"participant": participant})
            assert response.status_code == 400
            assert "control character" in response.json()["detail"]
    assert upstream.requests() == []
