"""Secrets and sites change while the server runs: real processes, real signals, and streams that live on."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.servers import EMBED_KEY, SECRET_KEY, SHOP_ORIGIN, FakeUpstream, Proxy, Redis
from tests.sse import stream
from tests.test_workers import done, texts, wait_for

NEW_KEY = "marker-new-embed-key-41c8"
OAUTH_SECRET = "demo-client-secret-not-a-secret"
SHOP_KEY = "WIDGET_PROXY_SITES__SHOP__EMBED_KEY"
MARKERS = (EMBED_KEY, NEW_KEY, SECRET_KEY, "marker-next")


class Configured:
    """A proxy whose shop's key and whose signing secrets are in files."""

    def __init__(self, upstream: FakeUpstream, directory: Path, **overrides: str) -> None:
        self.upstream = upstream
        self.key, self.secret = directory / "key", directory / "secret"
        self.file = directory / "widget-proxy.toml"
        self.key.write_text(EMBED_KEY)
        self.secret.write_text(SECRET_KEY)
        self.file.write_text("")
        files = {
            "WIDGET_PROXY_CONFIG": str(self.file),
            "WIDGET_PROXY_SECRET_KEY_FILE": str(self.secret),
            f"{SHOP_KEY}_FILE": str(self.key),
            "WIDGET_PROXY_SERVER__WATCH_SECONDS": "0",
        }
        self.proxy = Proxy(upstream.url, directory / "proxy.log", **files | overrides)
        for name in ("WIDGET_PROXY_SECRET_KEY", SHOP_KEY):
            self.proxy.forget(name)

    def change_upstreams_key(self) -> None:
        self.upstream.order("secrets", embed_key=NEW_KEY)

    def reload(self, times: int = 1) -> None:
        """Tell it by a signal, and wait until it says so `times` more often."""
        before = self.proxy.output().count("were read anew")
        self.proxy.signal(signal.SIGHUP)
        wait_for(lambda: self.proxy.output().count("were read anew") == before + times)

    def start(self) -> httpx2.Response:
        with self.proxy.client() as client:
            return client.post("/v1/sites/shop/sessions", json={})


@pytest.fixture
def changing(upstream: FakeUpstream) -> Iterator[FakeUpstream]:
    """The fake upstream, whose key a test may change."""
    yield upstream
    upstream.order("secrets", embed_key=EMBED_KEY)


@pytest.fixture
def one(changing: FakeUpstream, tmp_path: Path) -> Iterator[Configured]:
    configured = Configured(changing, tmp_path)
    with configured.proxy:
        yield configured
    for secret in MARKERS:
        assert secret not in configured.proxy.output()
    assert "Traceback" not in configured.proxy.output()


def test_a_new_embed_key_is_used_after_sighup_and_streams_live_on(one: Configured) -> None:
    handle = one.proxy.start_session()
    with one.proxy.client(handle=handle) as client, stream(client) as read:
        read.until("ready")
        one.change_upstreams_key()
        assert one.start().status_code == 503
        one.key.write_text(NEW_KEY)
        one.reload()
        assert one.start().status_code == 201
        task = one.proxy.send(handle, "hello")
        read.until(done(task))
        assert len(texts(read)) == 1


def test_a_broken_configuration_is_refused_and_the_old_one_goes_on(one: Configured) -> None:
    one.key.write_text("")
    one.file.write_text("[server]\nprot = 1\n")
    one.proxy.signal(signal.SIGHUP)
    wait_for(lambda: "is refused" in one.proxy.output())
    assert f"server.prot ({one.file}:2): there is no such setting. Did you mean port?" in one.proxy.output()
    assert "sites.shop.embed_key (" in one.proxy.output()
    assert one.start().status_code == 201
    one.file.write_text("")
    one.key.write_text(EMBED_KEY)
    one.reload()
    assert one.start().status_code == 201


def test_handles_outlive_a_new_secret_that_is_listed_behind_the_old_one(one: Configured) -> None:
    old = one.proxy.start_session()
    one.secret.write_text(f"{SECRET_KEY},marker-next-{'n' * 32}")
    one.reload()
    new = one.proxy.start_session()
    for handle in (old, new):
        one.proxy.send(handle, "hello")
    one.secret.write_text(f"marker-next-{'n' * 32}")
    one.reload()
    one.proxy.send(new, "hello")
    with one.proxy.client(handle=old) as client:
        assert client.get("/v1/session/messages").json()["code"] == "handle_invalid"


def test_a_site_comes_and_goes(one: Configured) -> None:
    site = f'[sites.third]\nchatbot_id = "{"0" * 8}-0000-4000-8000-{"0" * 12}"\nembed_key = "x"\n'
    origin = "https://third.example.com"
    with one.proxy.client(origin) as client:
        assert client.get("/v1/sites/third").json()["code"] == "origin_not_allowed"
        one.file.write_text(f'{site}allowed_origins = ["{origin}"]\n')
        one.reload()
        assert client.get("/v1/sites/third").json()["site"] == "third"
        one.file.write_text("")
        one.reload()
        assert client.get("/v1/sites/third").json()["code"] == "origin_not_allowed"


def test_of_a_site_that_is_gone_the_streams_end_and_nothing_is_asked_any_more(one: Configured) -> None:
    site = '[sites.third]\nchatbot_id = "4c1a0f0e-8a1e-4c07-9e39-5a6c1c5b2a10"\n'
    site += f'embed_key_file = "{one.key}"\nallowed_origins = ["{SHOP_ORIGIN}"]\n'
    one.file.write_text(site)
    one.reload()
    with one.proxy.client() as client:
        handle = client.post("/v1/sites/third/sessions", json={}).json()["handle"]
    kept = one.start().json()["handle"]
    with (
        one.proxy.client(handle=handle) as client,
        one.proxy.client(handle=kept) as friend,
        stream(client) as read,
        stream(friend) as other,
    ):
        read.until("ready")
        other.until("ready")
        read.retry = None
        one.file.write_text("")
        one.reload()
        assert list(read.events()) == []
        assert read.retry is not None, "it ends as for a restart, and who comes back is told"
        one.proxy.send(kept, "Are you there?")
        other.until("done")
        session = one.upstream.ask("sessions")[0]["id"]
        polls = len([poll for poll in one.upstream.requests("message_poll") if poll["session"] == session])
        time.sleep(2.5)
        later = len([poll for poll in one.upstream.requests("message_poll") if poll["session"] == session])
        assert later <= polls + 1
        assert client.get("/v1/session/messages").json()["code"] == "handle_invalid"


def test_a_changed_file_needs_no_signal(changing: FakeUpstream, tmp_path: Path) -> None:
    configured = Configured(changing, tmp_path, WIDGET_PROXY_SERVER__WATCH_SECONDS="0.1")
    with configured.proxy:
        assert configured.start().status_code == 201
        configured.change_upstreams_key()
        configured.key.write_text(NEW_KEY)
        wait_for(lambda: configured.start().status_code == 201)


def test_several_workers_all_hear_of_it_and_none_is_replaced(
    changing: FakeUpstream, redis: Redis, tmp_path: Path
) -> None:
    shared = {"WIDGET_PROXY_REDIS_URL": redis.url, "WIDGET_PROXY_SERVER__WORKERS": "2"}
    configured = Configured(changing, tmp_path, **shared)
    with configured.proxy as proxy:
        # One that still starts hears no signal, and reads what is there then.
        wait_for(lambda: proxy.output().count("Application startup complete") == 2)
        wait_for(lambda: configured.start().status_code == 201)
        workers = workers_of(proxy)
        handle = proxy.start_session()
        with proxy.client(handle=handle) as client, stream(client) as read:
            read.until("ready")
            configured.file.write_text("[server]\nprot = 1\n")
            proxy.signal(signal.SIGHUP)
            wait_for(lambda: "is refused" in proxy.output())
            configured.file.write_text("")
            configured.change_upstreams_key()
            configured.key.write_text(NEW_KEY)
            configured.reload(times=2)
            assert {configured.start().status_code for _ in range(12)} == {201}
            task = proxy.send(handle, "hello")
            read.until(done(task))
        assert workers_of(proxy) == workers
        os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: len(workers_of(proxy)) == 2 and workers_of(proxy) != workers)
    for secret in MARKERS:
        assert secret not in configured.proxy.output()


def workers_of(proxy: Proxy) -> list[int]:
    """Its workers, without what helps them (a resource tracker)."""
    return [pid for pid in proxy.children() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_several_workers_share_one_access_token(upstream: FakeUpstream, redis: Redis, tmp_path: Path) -> None:
    with FakeUpstream(tmp_path / "upstream.log", "--mode", "oauth", "--think", "0.2") as own:
        overrides = {
            "WIDGET_PROXY_REDIS_URL": redis.url,
            "WIDGET_PROXY_SERVER__WORKERS": "2",
            "WIDGET_PROXY_SITES__SHOP__OAUTH_CLIENT_ID": "demo-client",
            "WIDGET_PROXY_SITES__SHOP__OAUTH_CLIENT_SECRET": OAUTH_SECRET,
        }
        proxy = Proxy(own.url, tmp_path / "proxy.log", **overrides)
        proxy.forget(SHOP_KEY)
        with proxy:
            for _ in range(8):
                proxy.send(proxy.start_session(), "hello")
            assert len(own.requests("token")) == 1
            own.clear("bearers")
            for _ in range(8):
                proxy.start_session()
            assert len(own.requests("token")) in {2, 3}, "each worker that still held the old one may find out once"
            assert len([one for one in own.requests("start") if one["status"] == 201]) == 16
        assert OAUTH_SECRET not in proxy.output()
        assert "fake-bearer" not in proxy.output()
