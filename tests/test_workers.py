"""Several workers and a Redis server, over real sockets: whichever worker a visitor meets, and whichever goes."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from tests.servers import FakeUpstream, Proxy, Redis, running
from tests.sse import Received, Stream, stream


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis server of the test's own, to be stopped and started again."""
    with Redis(tmp_path / "redis.log") as server:
        yield server


@pytest.fixture
def pair(upstream: FakeUpstream, own_redis: Redis, tmp_path: Path) -> Iterator[tuple[Proxy, Proxy]]:
    """Two workers, each on a port of its own, so that a test can choose which one it meets."""
    overrides = {"WIDGET_PROXY_REDIS_URL": own_redis.url, "WIDGET_PROXY_UPSTREAM__SEND_SECONDS": "2"}
    one = Proxy(upstream.url, tmp_path / "one.log", **overrides)
    other = Proxy(upstream.url, tmp_path / "other.log", **overrides)
    with running(one, other):
        yield one, other


@pytest.fixture
def supervised(upstream: FakeUpstream, own_redis: Redis, tmp_path: Path) -> Iterator[Proxy]:
    """`serve` with two workers behind one port."""
    overrides = {"WIDGET_PROXY_REDIS_URL": own_redis.url, "WIDGET_PROXY_SERVER__WORKERS": "2"}
    with Proxy(upstream.url, tmp_path / "proxy.log", **overrides) as server:
        yield server


def done(task: str) -> Callable[[Received], bool]:
    return lambda event: event.name == "done" and event.data["task"] == task


def texts(read: Stream) -> list[str]:
    return [event.data["content"] for event in read.named("message") if event.data["role"] == "assistant"]


def send(proxy: Proxy, handle: str, message: str, key: str | None = None) -> httpx2.Response:
    with proxy.client(handle=handle) as client:
        headers = {} if key is None else {"Idempotency-Key": key}
        return client.post("/v1/session/messages", json={"message": message}, headers=headers)


def is_gone(pid: int) -> bool:
    """Whether a process ended; nobody may have asked yet how."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def test_what_is_sent_to_one_worker_is_answered_on_the_others_stream(
    pair: tuple[Proxy, Proxy], upstream: FakeUpstream
) -> None:
    one, other = pair
    handle = one.start_session()
    with other.client(handle=handle) as client, stream(client) as read:
        read.until("ready")
        task = one.send(handle, "hello")
        read.until(done(task))
        assert len(texts(read)) == 1
    polls = [request["at"] for request in upstream.requests("task_poll")]
    assert len(polls) == len(set(polls)) < 20, "one worker asked"


def test_the_answer_of_a_killed_worker_comes_from_the_other(
    pair: tuple[Proxy, Proxy], upstream: FakeUpstream
) -> None:
    one, other = pair
    handle = one.start_session()
    upstream.order("answers", text="It survived.", delay=2.0, outcome="unsaved")
    with other.client(handle=handle) as client, stream(client) as read:
        read.until("ready")
        task = one.send(handle, "hello")
        one.kill()
        read.until(done(task))
        assert texts(read) == ["It survived."]
        assert [event.data["status"] for event in read.named("done")] == ["complete"]


def test_one_key_is_one_send_whichever_worker_is_asked(pair: tuple[Proxy, Proxy], upstream: FakeUpstream) -> None:
    one, other = pair
    handle, key = one.start_session(), str(uuid4())
    answers = [send(proxy, handle, "hello", key).json() for proxy in (one, other, one)]
    assert answers[0] == answers[1] == answers[2]
    assert len(upstream.requests("message")) == 1
    assert send(other, handle, "something else", key).status_code == 422


def test_a_key_of_a_worker_that_died_while_sending_is_not_sent_again(
    pair: tuple[Proxy, Proxy], upstream: FakeUpstream
) -> None:
    one, other = pair
    handle, key = one.start_session(), str(uuid4())
    upstream.order("faults", kind="message", fault="hang", seconds=20)
    with one.client(handle=handle) as client:
        client.timeout = httpx2.Timeout(0.5)
        with pytest.raises(httpx2.ReadTimeout):
            client.post("/v1/session/messages", json={"message": "hello"}, headers={"Idempotency-Key": key})
    one.kill()
    with other.client(handle=handle) as client:
        client.timeout = httpx2.Timeout(30)
        body = {"message": "hello"}
        refused = client.post("/v1/session/messages", json=body, headers={"Idempotency-Key": key})
    assert (refused.status_code, refused.json()["fate"]) == (504, "unknown")
    assert len(upstream.requests("message")) <= 1


def test_while_redis_is_away_streams_stay_open_and_what_cannot_be_served_says_so(
    pair: tuple[Proxy, Proxy], own_redis: Redis, upstream: FakeUpstream
) -> None:
    one, _ = pair
    handle = one.start_session()
    another = one.start_session()
    with one.client(handle=handle) as client, stream(client) as read:
        client.timeout = httpx2.Timeout(30)
        read.until("ready")
        own_redis.signal(signal.SIGSTOP)
        try:
            refused = send(one, handle, "with a key", str(uuid4()))
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert refused.json()["fate"] == "not_sent"
            assert int(refused.headers["Retry-After"]) > 0
            with one.client(handle=another) as other:
                assert other.get("/v1/session/events").status_code == 503
            served = send(one, handle, "without one it can be served")
            assert served.status_code == 202
        finally:
            own_redis.signal(signal.SIGCONT)
        read.until(done(served.json()["task"]))
        assert len(texts(read)) == 1
        after = send(one, handle, "and on it goes", str(uuid4()))
        assert after.status_code == 202
        read.until(done(after.json()["task"]))
    assert len(upstream.requests("message")) == 2


def test_a_redis_that_lost_everything_is_filled_again_from_upstream(
    pair: tuple[Proxy, Proxy], own_redis: Redis, upstream: FakeUpstream
) -> None:
    one, other = pair
    handle = one.start_session()
    with one.client(handle=handle) as client:
        with stream(client) as read:
            for text in ("first", "second"):
                read.until(done(one.send(handle, text)))
            wait_for(lambda: len(upstream.requests("message_poll")) >= 2)
            keys = {event.data["key"] for event in read.named("message")}
            upstream.order("answers", text="The third.", delay=3.0)
            task = one.send(handle, "third")
            own_redis.kill()
            own_redis.start()
            with pytest.raises(AssertionError, match="the stream ended"):
                read.until(lambda event: False)
            cursor = read.cursor
        headers = {"Last-Event-ID": cursor or ""}
        with (
            other.client(handle=handle) as back,
            stream(back, f"/v1/session/events?task={task}", headers=headers) as again,
        ):
            again.until(done(task))
            wait_for(lambda: len(upstream.requests("message_poll")) >= 3)
            while not {event.data["key"] for event in again.named("message")} >= keys:
                again.until("message")
            told = [event.data["key"] for event in again.named("message")]
            assert len(told) == len(set(told)), "nothing twice"
            assert "The third." in texts(again)


def test_two_workers_behind_one_port_serve_and_the_death_of_one_is_no_visitors_concern(
    supervised: Proxy, upstream: FakeUpstream
) -> None:
    wait_for(lambda: supervised.output().count("Application startup complete") == 2)
    handle = supervised.start_session()
    task = supervised.send(handle, "/slow 3")
    victims = [pid for pid in supervised.children() if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(victims) == 2
    seen: dict[str, str] = {}
    ends: list[str] = []
    killed = False
    deadline = time.monotonic() + 30
    while not ends and time.monotonic() < deadline:
        try:
            with (
                supervised.client(handle=handle) as client,
                stream(client, f"/v1/session/events?task={task}") as read,
            ):
                for event in read.events():
                    if event.name == "message":
                        seen[event.data["key"]] = event.data["content"]
                    if event.name == "done":
                        ends.append(event.data["status"])
                        break
                    if not killed and event.name == "ready":
                        killed = True
                        for pid in victims[:1]:
                            os.kill(pid, signal.SIGKILL)
        except (httpx2.TransportError, AssertionError):
            time.sleep(0.2)
    assert ends == ["complete"]
    assert "That took 3 seconds, as you asked." in seen.values()
    wait_for(lambda: len([p for p in supervised.children() if p not in victims]) >= 1)


def test_a_drain_of_two_workers_is_quick_and_tells_every_reader(supervised: Proxy) -> None:
    wait_for(lambda: supervised.output().count("Application startup complete") == 2)
    handle = supervised.start_session()
    with supervised.client(handle=handle) as client, stream(client) as read:
        read.until("ready")
        began = time.monotonic()
        supervised.signal(signal.SIGTERM)
        assert list(read.events()) == []
        assert read.retry is not None
    assert supervised.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 10
    assert "Traceback" not in supervised.output()


def test_workers_drain_and_end_with_a_supervisor_that_is_killed(supervised: Proxy) -> None:
    wait_for(lambda: supervised.output().count("Application startup complete") == 2)
    orphans = supervised.children()
    handle = supervised.start_session()
    with supervised.client(handle=handle) as client, stream(client) as read:
        read.until("ready")
        supervised.signal(signal.SIGKILL)
        assert list(read.events()) == []
        assert read.retry is not None
    wait_for(lambda: all(is_gone(pid) for pid in orphans))
    assert supervised.output().count("the supervisor of this worker is gone") == 2
