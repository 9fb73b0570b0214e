"""Secrets stay where they are: every byte sent, logged and shared is searched for each of them, after a run of
everything, with debug logs, errors and crashes."""

import base64
import logging
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from tests.browser import spellings
from tests.official_client import OfficialClient
from tests.servers import (
    EMBED_KEY,
    METRICS_TOKEN,
    SECRET_KEY,
    SHOP_ORIGIN,
    VISITOR_SECRET,
    FakeUpstream,
    Proxy,
    Redis,
    client_of,
    running,
)
from tests.sse import stream
from tests.tap import Tap
from tests.test_downloads import attach
from tests.test_workers import wait_for
from widget_proxy.app import create_app
from widget_proxy.config import Site, load_settings
from widget_proxy.log import LogFormat, log_to_stderr
from widget_proxy.visitor_tokens import sign_token

API_KEY = "marker-api-key-3b9e27f4"
OAUTH_SECRET = "marker-oauth-secret-c4417d02"
REDIS_PASSWORD = "marker-redis-password-88aa31"
OAUTH_ORIGIN = "http://other.localhost:8083"


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeUpstream, FakeUpstream]]:
    """One with embed keys, and one whose channel takes OAuth alone."""
    logs = tmp_path_factory.mktemp("upstreams")
    plain = FakeUpstream(logs / "plain", "--think", "0.1")
    oauth = FakeUpstream(logs / "oauth", "--think", "0.1", "--mode", "oauth", "--allowed-domain", "other.localhost")
    with running(plain, oauth):
        plain.order("secrets", api_key=API_KEY)
        oauth.order("secrets", oauth_client_secret=OAUTH_SECRET)
        yield plain, oauth


def settings_of(oauth: FakeUpstream) -> dict[str, str]:
    shop, other = "WIDGET_PROXY_SITES__SHOP__", "WIDGET_PROXY_SITES__OTHER__"
    return {
        "log_level": "debug",
        f"{shop}API_KEY": API_KEY,
        f"{shop}STARTS_WITH": "embed_key",
        f"{shop}ATTACHMENTS": "true",
        f"{shop}DROP_IN": "true",
        f"{shop}FEEDBACK_AS_TAGS": "true",
        f"{shop}END_BY_VISITORS": "true",
        f"{shop}PAGE_AS_STATE": "true",
        f"{shop}VISITOR_SECRET": VISITOR_SECRET,
        f"{other}UPSTREAM_URL": oauth.url,
        f"{other}OAUTH_CLIENT_ID": "demo-client",
        f"{other}OAUTH_CLIENT_SECRET": OAUTH_SECRET,
        f"{other}STARTS_WITH": "oauth",
    }


def found(secrets: dict[str, str], where: bytes) -> list[str]:
    """The names of those that are in these bytes, in any spelling, also within something longer that was encoded."""
    names = []
    for name, secret in secrets.items():
        raw = secret.encode()
        # Base64 of three bytes at a time: what a secret becomes depends on where in them it begins.
        shifted = {base64.b64encode(b"\0" * by + raw)[4 if by else 0 : -4] for by in range(3)}
        if any(form in where for form in spellings(secret) | shifted):
            names.append(name)
    return names


def run_everything(tap: Tap, proxy: Proxy, upstream: FakeUpstream, oauth: FakeUpstream) -> list[str]:
    """Each call, as it should be and as it should not. Answers what visitors hold, which is in no log."""
    proxy.url, direct = tap.url, proxy.url
    try:
        token = sign_token({"sub": "u-7", "aud": "shop", "exp": int(time.time()) + 600}, _secret(VISITOR_SECRET))
        handle = proxy.start_session(page_context={"price": "89.00"})
        task = proxy.send(handle, "What does it cost?")
        with proxy.client(handle=handle) as client:
            with stream(client, f"/v1/session/tasks/{task}/events") as read:
                read.until("done")
            uploaded = client.post("/v1/session/files", files={"files": ("mine.txt", b"x" * 300)}).json()
            proxy.send(handle, "/fail", attachments=[uploaded["files"][0]["id"]])
            attach(upstream)
            with stream(client) as read:
                told = read.until(lambda event: event.name == "message" and event.data["attachments"] != [])
            link = told.data["attachments"][0]["url"]
            client.get(link)
            client.get("/v1/session/messages")
            client.post("/v1/session/messages", json={"message": "And this?", "page_context": {"price": "90.00"}})
            rated = client.post("/v1/session/feedback", json={"key": told.data["key"], "value": "up"})
            assert rated.status_code == 204, rated.text
        with proxy.client(handle=proxy.start_session()) as client:
            ended = client.post("/v1/session/end")
            assert ended.status_code == 204, ended.text
        with proxy.client() as client:
            for path in (
                "/",
                "/sites/shop/chat",
                "/sites/shop/preview",
                "/openapi.json",
                "/healthz",
                "/readyz",
                "/metrics",
                "/status",
            ):
                client.get(path)
            assert client.post("/v1/sites/shop/sessions", json={"visitor_token": token}).status_code == 201
            for bad in (f"{handle}x", handle[::-1], EMBED_KEY, "ä"):
                client.get("/v1/session/messages", headers={b"Authorization": f"Bearer {bad}".encode()})
            client.get("/v1/sites/nowhere")
            client.post("/v1/sites/shop/sessions", content=b"{", headers={"Content-Type": "application/json"})
            client.post("/v1/sites/shop/sessions", json={"visitor_token": token[:-3]})
        with proxy.client(OAUTH_ORIGIN) as client:
            started = client.post("/v1/sites/other/sessions", json={})
            assert started.status_code == 201, started.text
            client.headers["Authorization"] = f"Bearer {started.json()['handle']}"
            client.post("/v1/session/messages", json={"message": "Hello"})
            client.get("/v1/session/messages")
        widget = OfficialClient(tap.url, upstream, EMBED_KEY)
        assert widget.start().status_code == 201
        widget.task(widget.say().json()["task_id"])
        widget.poll()
        upset(proxy, handle, upstream, oauth)
        with client_of(tap.url, {"Authorization": f"Bearer {METRICS_TOKEN}"}) as client:
            assert [client.get(path).status_code for path in ("/metrics", "/status.json")] == [200, 200]
    finally:
        proxy.url = direct
    return [handle, task, token, link.rpartition("/")[2], uploaded["files"][0]["id"]]


def upset(proxy: Proxy, handle: str, upstream: FakeUpstream, oauth: FakeUpstream) -> None:
    """Have upstream fail in each way, and refuse what the proxy comes with."""
    faults: list[dict[str, Any]] = [
        {"fault": "status", "status": 500, "body": "<h1>Server Error</h1>", "content_type": "text/html"},
        {
            "fault": "status",
            "status": 401,
            "body": '{"detail": "Invalid widget embed key"}',
            "content_type": "application/json",
        },
        {"fault": "reset"},
    ]
    for kind in ("start", "message", "upload", "task_poll", "message_poll"):
        for fault in faults:
            upstream.order("faults", kind=kind, **fault)
    with proxy.client(handle=handle) as client:
        for _ in faults:
            client.post("/v1/sites/shop/sessions", json={})
            client.post("/v1/session/messages", json={"message": "Hello"})
            client.post("/v1/session/files", files={"files": ("mine.txt", b"x")})
    upstream.clear("faults")
    upstream.order("secrets", embed_key="another", api_key="another")
    oauth.order("secrets", oauth_client_secret="another")
    oauth.clear("bearers")
    with proxy.client() as client:
        assert client.post("/v1/sites/shop/sessions", json={}).json()["code"] == "misconfigured"
    with proxy.client(OAUTH_ORIGIN) as client:
        assert client.post("/v1/sites/other/sessions", json={}).status_code == 503
    upstream.order("secrets", embed_key=EMBED_KEY, api_key=API_KEY)
    oauth.order("secrets", oauth_client_secret=OAUTH_SECRET)


def crash(proxy: Proxy, redis: Redis, handle: str) -> None:
    """Have the proxy meet what cannot be: an entry in the log that is none."""
    with redis_client.Redis.from_url(redis.url) as client, proxy.client(handle=handle) as visitor:
        visitor.get("/v1/session/messages")
        logs = [key for key in client.scan_iter() if client.type(key) == b"stream"]
        assert logs
        for key in logs:
            ((_, fields),) = client.xrevrange(key, count=1)
            client.xadd(key, dict.fromkeys(fields, b"{"))
        assert visitor.get("/v1/session/messages").status_code in {500, 503}


def shared(redis: Redis) -> bytes:
    """All that is in Redis, as it is written there."""
    kept = bytearray()
    with redis_client.Redis.from_url(redis.url) as client:
        for key in client.scan_iter():
            kept += key
            match client.type(key):
                case b"stream":
                    kept += repr(client.xrange(key)).encode()
                case b"hash":
                    kept += repr(client.hgetall(key)).encode()
                case b"zset":
                    kept += repr(client.zrange(key, 0, -1)).encode()
                case b"set":
                    kept += repr(client.smembers(key)).encode()
                case b"string":
                    kept += client.get(key) or b""
                case kind:
                    raise AssertionError(f"{key!r} is a {kind!r}, which is not searched")
    return bytes(kept)


def _secret(text: str) -> Any:
    return Site.model_validate(
        {
            "slug": "shop",
            "chatbot_id": "00000000-0000-4000-8000-000000000000",
            "embed_key": "k",
            "allowed_origins": [SHOP_ORIGIN],
            "visitor_secret": [text],
        }
    ).visitor_secret[0]


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_no_secret_is_in_any_byte_sent_logged_or_shared(
    log_format: str, upstreams: tuple[FakeUpstream, FakeUpstream], redis: Redis, tmp_path: Path
) -> None:
    upstream, oauth = upstreams
    settings = settings_of(oauth) | {
        "WIDGET_PROXY_SERVER__LOG_FORMAT": log_format,
        "WIDGET_PROXY_REDIS_URL": redis.url.replace("//", f"//:{REDIS_PASSWORD}@"),
    }
    with redis_client.Redis.from_url(redis.url) as client:
        client.acl_setuser("default", enabled=True, nopass=True)
    with Proxy(upstream.url, tmp_path / "log", **settings) as proxy, Tap(proxy.port) as tap:
        held = run_everything(tap, proxy, upstream, oauth)
        in_redis = shared(redis)
        handle = proxy.start_session()
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: "read anew" in proxy.output())
        proxy.url = tap.url
        crash(proxy, redis, handle)
        sent, logged = tap.sent, proxy.output().encode()
    sessions = [*upstream.ask("sessions"), *oauth.ask("sessions")]
    secrets = {
        "embed key": EMBED_KEY,
        "API key": API_KEY,
        "OAuth secret": OAUTH_SECRET,
        "signing secret": SECRET_KEY,
        "visitor secret": VISITOR_SECRET,
        "Redis password": REDIS_PASSWORD,
        "metrics token": METRICS_TOKEN,
    }
    secrets |= {f"session token {number}": one["token"] for number, one in enumerate(sessions)}
    ids = {f"session id {number}": one["id"] for number, one in enumerate(sessions)}
    assert len(sessions) > 4
    assert b"What does it cost?" in sent, "the run was one"
    assert b"invalid literal for int()" in logged, "a crash was forced"
    assert found(secrets | ids, sent) == []
    assert found(secrets | ids, logged) == []
    assert found({f"what a visitor holds {number}": one for number, one in enumerate(held)}, logged) == []
    assert b"widget_proxy_" in sent, "the figures were read"
    assert b"What does it cost?" not in logged
    assert in_redis
    assert found(secrets | ids, in_redis) == []


@pytest.mark.anyio
@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_a_crash_tells_none(log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {
        "WIDGET_PROXY_SECRET_KEY": SECRET_KEY,
        "WIDGET_PROXY_UPSTREAM_URL": "http://127.0.0.1:9",
        "WIDGET_PROXY_SITES__SHOP__CHATBOT_ID": "4c1a0f0e-8a1e-4c07-9e39-5a6c1c5b2a10",
        "WIDGET_PROXY_SITES__SHOP__EMBED_KEY": EMBED_KEY,
        "WIDGET_PROXY_SITES__SHOP__API_KEY": API_KEY,
        "WIDGET_PROXY_SITES__SHOP__STARTS_WITH": "embed_key",
        "WIDGET_PROXY_SITES__SHOP__VISITOR_SECRET": VISITOR_SECRET,
        "WIDGET_PROXY_SITES__SHOP__ALLOWED_ORIGINS": SHOP_ORIGIN,
    }
    app = create_app(load_settings(environment))
    told: list[dict[str, Any]] = []

    async def receive() -> Any:
        raise RuntimeError("the body cannot be read")

    async def send(message: Any) -> None:
        told.append(dict(message))

    headers = [(b"origin", SHOP_ORIGIN.encode()), (b"content-type", b"application/json"), (b"host", b"chat.test")]
    path = "/v1/sites/shop/sessions"
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
    }
    root = logging.getLogger()
    before = root.handlers[:], root.level
    log_to_stderr("debug", log_format)
    try:
        await app(scope, receive, send)
    except RuntimeError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")  # as uvicorn does
    finally:
        root.handlers[:], root.level = before
    logged = capsys.readouterr().err
    assert "the body cannot be read" in logged
    assert told[0]["status"] == 500
    secrets = {"embed key": EMBED_KEY, "API key": API_KEY, "signing": SECRET_KEY, "visitor": VISITOR_SECRET}
    assert found(secrets, logged.encode() + repr(told).encode()) == []


def test_the_search_finds_one_wherever_it_begins() -> None:
    for before in ("", "a", "ab", "abc"):
        text = base64.b64encode(f'{before}{{"key":"{EMBED_KEY}"}}'.encode())
        assert found({"embed key": EMBED_KEY}, b"x" + text) == ["embed key"]
    assert found({"embed key": EMBED_KEY}, EMBED_KEY[::-1].encode()) == ["embed key"]
    assert found({"embed key": EMBED_KEY}, b"nothing of the kind") == []
