"""`/readyz`: whether visitors should be sent here, and why not."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.servers import EMBED_KEY, SECRET_KEY, SHOP_ORIGIN, FakeUpstream, Proxy, Redis, client_of
from tests.sse import stream
from widget_proxy.app import create_app
from widget_proxy.config import Settings
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID
from widget_proxy.readiness import FAILED_SECONDS, FAILURES, out_of_reach, reasons_against
from widget_proxy.upstream.watch import FAILURES as FAILED
from widget_proxy.upstream.watch import OUTCOMES, LastWord

NOW = 1_800_000_000.0
FAILING = LastWord(failed=NOW - 1, failures=FAILURES)
FINE = LastWord(answered=NOW - 1)


def reasons(**known: object) -> list[str]:
    usual = {"draining": False, "broker_answers": True, "full": False, "upstreams": [FINE], "now": NOW}
    return [reason.partition(":")[0] for reason in reasons_against(**(usual | known))]  # type: ignore[arg-type]


def test_a_process_that_can_serve_is_ready() -> None:
    assert reasons() == []


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"draining": True}, "draining"),
        ({"broker_answers": None}, "starting"),
        ({"broker_answers": False}, "broker"),
        ({"full": True}, "streams"),
        ({"upstreams": [FAILING]}, "upstream"),
    ],
)
def test_each_reason_alone_is_told(known: dict[str, object], reason: str) -> None:
    assert reasons(**known) == [reason]


def test_all_reasons_are_told_at_once() -> None:
    assert reasons(draining=True, broker_answers=False, full=True) == ["draining", "broker", "streams"]


def test_one_sites_upstream_does_not_take_the_others_with_it() -> None:
    assert reasons(upstreams=[FAILING, FINE]) == []


def test_who_asks_nothing_any_more_tries_again_after_a_while() -> None:
    assert reasons(upstreams=[FAILING], now=FAILING.failed + FAILED_SECONDS - 0.1) == ["upstream"]
    assert reasons(upstreams=[FAILING], now=FAILING.failed + FAILED_SECONDS) == []


def test_a_few_misses_are_nothing() -> None:
    assert reasons(upstreams=[LastWord(failed=NOW, failures=FAILURES - 1)]) == []


@pytest.mark.parametrize("outcome", sorted({"ok", *OUTCOMES.values()}))
def test_a_refusal_shows_that_upstream_is_there(outcome: str) -> None:
    word = LastWord()
    for _ in range(FAILURES):
        word.note(outcome, NOW)
    assert out_of_reach(word, NOW) == (outcome in FAILED)
    word.note("ok", NOW + 1)
    assert (word.failures, word.answered) == (0, NOW + 1)


def test_what_was_aborted_says_nothing_of_upstream() -> None:
    word = LastWord(failed=NOW, failures=3)
    word.note("aborted", NOW + 1)
    assert word == LastWord(failed=NOW, failures=3)


def test_before_anything_runs_it_is_not_ready_and_says_so() -> None:
    site = {
        "slug": "shop", "chatbot_id": DEMO_CHATBOT_ID, "embed_key": EMBED_KEY, "allowed_origins": [SHOP_ORIGIN],
        "upstream_url": "http://127.0.0.1:9",
    }  # fmt: skip
    app = create_app(Settings.model_validate({"secret_key": SECRET_KEY, "sites": {"shop": site}}))
    answer = TestClient(app).get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unready", "reasons": ["starting: the broker was not asked yet"]}


# Of a running proxy


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def told(proxy: Proxy) -> tuple[int, list[str]]:
    with client_of(proxy.url) as client:
        answer = client.get("/readyz")
    assert answer.headers["Cache-Control"] == "no-store"
    assert EMBED_KEY not in answer.text
    return answer.status_code, [reason.partition(":")[0] for reason in answer.json()["reasons"]]


def test_a_running_proxy_is_ready_and_a_probe_asks_nothing_of_upstream(proxy: Proxy, upstream: FakeUpstream) -> None:
    wait_for(lambda: told(proxy) == (200, []))
    asked = len(upstream.ask("requests"))
    for _ in range(20):
        told(proxy)
    assert len(upstream.ask("requests")) == asked


def test_a_proxy_whose_streams_are_all_taken_sends_visitors_elsewhere(upstream: FakeUpstream, tmp_path: Path) -> None:
    with Proxy(upstream.url, tmp_path / "log", WIDGET_PROXY_SERVER__STREAMS="1") as proxy:
        wait_for(lambda: told(proxy) == (200, []))
        handle = proxy.start_session()
        with proxy.client(handle=handle) as client, stream(client) as events:
            events.until("ready")
            assert told(proxy) == (503, ["streams"])
        wait_for(lambda: told(proxy) == (200, []))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis.log") as server:
        yield server


def test_a_proxy_without_its_redis_is_not_ready_and_is_again_with_it(
    upstream: FakeUpstream, own_redis: Redis, tmp_path: Path
) -> None:
    with Proxy(upstream.url, tmp_path / "log", WIDGET_PROXY_REDIS_URL=own_redis.url) as proxy:
        wait_for(lambda: told(proxy) == (200, []))
        own_redis.signal(signal.SIGSTOP)
        try:
            wait_for(lambda: told(proxy) == (503, ["broker"]))
            assert proxy.figures()("broker_up") == 0
        finally:
            own_redis.signal(signal.SIGCONT)
        wait_for(lambda: told(proxy) == (200, []))


def test_an_upstream_that_fails_again_and_again_is_a_reason(upstream: FakeUpstream, own_proxy: Proxy) -> None:
    wait_for(lambda: told(own_proxy) == (200, []))
    upstream.order("faults", kind="start", fault="status", status=502, times=100)
    with own_proxy.client() as client:
        for _ in range(FAILURES):
            assert client.post("/v1/sites/shop/sessions", json={}).status_code == 502
    assert told(own_proxy) == (503, ["upstream"])
    upstream.clear("faults")
    own_proxy.start_session()
    assert told(own_proxy) == (200, [])
