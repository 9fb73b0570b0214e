"""Floods over real sockets, from an address of their own: honest visitors are served throughout."""

import resource
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import httpx2
import pytest

from tests.servers import HOST, SHOP_ORIGIN, FakeUpstream, Proxy
from tests.sse import stream

ATTACKER = "127.0.0.2"
"""Not a trusted proxy's address, so that it is counted."""

MOST = 300
STREAMS = 20

BOUNDS = {
    "WIDGET_PROXY_SERVER__HEAD_SECONDS": "2",
    "WIDGET_PROXY_SERVER__CONNECTIONS_PER_ADDRESS": str(MOST),
    "WIDGET_PROXY_SERVER__STREAMS_PER_ADDRESS": str(STREAMS),
}

HEAD = f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n".encode()


@pytest.fixture(scope="module", params=["memory", "redis"])
def _bounded_server(
    request: pytest.FixtureRequest, _upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    more = (
        {} if request.param == "memory" else {"WIDGET_PROXY_REDIS_URL": request.getfixturevalue("_redis_server").url}
    )
    with Proxy(_upstream_server.url, tmp_path_factory.mktemp("bounded") / "log", **BOUNDS, **more) as server:
        yield server


@pytest.fixture
def bounded(_bounded_server: Proxy, upstream: FakeUpstream) -> Proxy:
    """A proxy with low bounds, whose honest visitors come through a trusted proxy."""
    return _bounded_server


@pytest.fixture(autouse=True)
def _enough_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))


def connected(proxy: Proxy, address: str = ATTACKER) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=20, source_address=(address, 0))


def hears(connection: socket.socket, seconds: float = 0) -> bool:
    """Whether the other side says something, or closes, within so many seconds."""
    poll = select.poll()  # `select` knows a thousand files
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def drip(connection: socket.socket, drop: bytes, pause: float) -> int:
    """Send one drop after the other until the other side has had enough; how many it took."""
    for drops in range(100):
        if hears(connection, pause):
            return drops
        connection.sendall(drop)
    raise AssertionError("it takes any number of them")


def said_until_closed(connection: socket.socket) -> bytes:
    """What the server says before it closes."""
    said = b""
    with suppress(ConnectionError):  # it closed with something of ours unread
        while piece := connection.recv(65_536):
            said += piece
    return said


def answer_of(connection: socket.socket) -> bytes:
    """One answer that is a JSON object, head and body."""
    said = b""
    while not said.endswith(b"}"):
        said += connection.recv(65_536)
    return said


def status_of(said: bytes) -> int:
    return int(said.split(b" ", 2)[1])


def converse(proxy: Proxy) -> str:
    """An honest visitor starts, asks, and reads the answer on the stream; how it ended."""
    handle = proxy.start_session()
    with proxy.client(handle=handle) as client, stream(client) as events:
        events.until("ready")
        proxy.send(handle, "hello")
        return str(events.until("done").data["status"])


@contextmanager
def honest_visitors(proxy: Proxy) -> Iterator[list[str]]:
    """Conversations one after the other while the block runs; at the end, how each ended. At least one begins after
    the flood is there, and ends before it goes."""
    ended: list[str] = []
    over = threading.Event()

    def visit() -> None:
        while not over.is_set() or not ended:
            ended.append(converse(proxy))

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        yield ended
        ended.append(converse(proxy))
    finally:
        over.set()
        visitor.join(60)


def test_two_thousand_connections_from_one_address_leave_room_for_everybody(bounded: Proxy) -> None:
    with ExitStack() as held, honest_visitors(bounded) as ended:
        mine = [held.enter_context(closing(connected(bounded))) for _ in range(2000)]
        for connection in mine:
            with suppress(ConnectionError):
                connection.sendall(HEAD)  # half of one each, so that they hold what they got
        refused = [connection for connection in mine[MOST:] if hears(connection, 10)]
        assert len(refused) == 2000 - MOST
        with closing(connected(bounded, "127.0.0.3")) as neighbour:
            neighbour.sendall(HEAD + b"Connection: close\r\n\r\n")
            assert status_of(said_until_closed(neighbour)) == 200, "another address has connections of its own"
    assert set(ended) == {"complete"}
    # They are counted out as well, and what nobody finished was ended.
    with closing(connected(bounded)) as again:
        again.sendall(HEAD + b"Connection: close\r\n\r\n")
        assert status_of(said_until_closed(again)) == 200


def test_a_head_that_does_not_end_is_ended(bounded: Proxy) -> None:
    with honest_visitors(bounded) as ended, ExitStack() as held:
        begun = [held.enter_context(closing(connected(bounded))) for _ in range(20)]
        silent = held.enter_context(closing(connected(bounded)))
        for connection in begun:
            connection.sendall(HEAD)
        drip(begun[0], b"X: y\r\n", 0.2)
        assert [status_of(said_until_closed(connection)) for connection in begun] == [408] * 20
        assert said_until_closed(silent) == b"", "a browser that connects ahead of its question is told nothing"
    assert set(ended) == {"complete"}


@pytest.mark.parametrize("dripped", [b"\r\n", b"x"])
def test_bytes_between_two_requests_do_not_hold_a_connection(bounded: Proxy, dripped: bytes) -> None:
    with closing(connected(bounded)) as connection:
        length = b"Content-Length: 100000\r\n" if dripped == b"x" else b""
        connection.sendall(HEAD + length + b"\r\n")
        assert status_of(answer_of(connection)) == 200
        assert drip(connection, dripped, 0.1) > 5, "not at once either"
    assert converse(bounded) == "complete"


@pytest.mark.parametrize(
    "flood",
    [
        b"X-Long: " + b"a" * 1_000_000,
        b"X-Long: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"".join(b"X-%d: y\r\n" % number for number in range(10_000)) + b"\r\n",
        b"".join(b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(90)) + b"\r\n",
        b"x" * 1_000_000,
    ],
    ids=["a line without end", "a line of a megabyte", "ten thousand lines", "many long lines", "a name without end"],
)
def test_a_flood_of_header_lines_is_refused(bounded: Proxy, flood: bytes) -> None:
    with honest_visitors(bounded) as ended, closing(connected(bounded)) as connection:
        with suppress(ConnectionError):  # it is refused before it is all sent
            connection.sendall(HEAD + flood)
        said = said_until_closed(connection)
        assert not said or status_of(said) == 431
    assert set(ended) == {"complete"}


def test_a_head_too_large_is_answered_431(bounded: Proxy) -> None:
    with closing(connected(bounded)) as connection:
        connection.sendall(HEAD + b"".join(b"X-%d: y\r\n" % number for number in range(150)))
        assert status_of(said_until_closed(connection)) == 431
    with closing(connected(bounded)) as connection:
        connection.sendall(b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n")
        assert status_of(said_until_closed(connection)) == 431


def test_what_browsers_and_proxies_send_fits(bounded: Proxy) -> None:
    with closing(connected(bounded)) as connection:
        lines = [b"X-Forwarded-For: 203.0.113.7\r\n"] * 20 + [b"Cookie: " + b"c" * 4000 + b"\r\n"] * 5
        request = HEAD + b"".join(lines) + b"\r\n"
        for _ in range(3):  # each head is counted by itself
            for at in range(0, len(request), 1500):
                connection.sendall(request[at : at + 1500])
            assert status_of(answer_of(connection)) == 200


def test_what_is_no_request_is_refused_and_a_flood_of_it_is_a_few_lines_of_log(bounded: Proxy) -> None:
    before = bounded.output().count("Invalid HTTP request")
    for _ in range(200):
        with closing(connected(bounded)) as connection:
            connection.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
            assert status_of(said_until_closed(connection)) == 400
    assert bounded.output().count("Invalid HTTP request") - before < 50


@pytest.mark.parametrize("_bounded_server", ["memory"], indirect=True)  # it takes its 15 seconds
def test_a_body_that_drips_is_ended(bounded: Proxy) -> None:
    with honest_visitors(bounded) as ended, ExitStack() as held:
        slow = [held.enter_context(closing(connected(bounded))) for _ in range(50)]
        for connection in slow:
            connection.sendall(
                b"POST /v1/sites/shop/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1000\r\nOrigin: " + SHOP_ORIGIN.encode() + b"\r\n\r\n{"
            )
        drip(slow[0], b" ", 0.5)
        assert {status_of(connection.recv(65_536)) for connection in slow} == {408}
    assert set(ended) == {"complete"}


def test_readers_who_read_nothing_take_only_their_own_room(bounded: Proxy) -> None:
    handles = [bounded.start_session() for _ in range(2)]
    with honest_visitors(bounded) as ended, ExitStack() as held:
        readers = [held.enter_context(closing(connected(bounded))) for _ in range(STREAMS + 10)]
        answers = []
        for number, reader in enumerate(readers):
            reader.sendall(
                b"GET /v1/session/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                + handles[number % 2].encode()
                + b"\r\nOrigin: "
                + SHOP_ORIGIN.encode()
                + b"\r\n\r\n"
            )
            answers.append(status_of(reader.recv(16)))
        assert answers == [200] * STREAMS + [429] * 10
    assert set(ended) == {"complete"}


def test_a_websocket_is_no_way_around(bounded: Proxy) -> None:
    with bounded.client() as client:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x" * 22 + "=="}
        answer: httpx2.Response = client.get("/healthz", headers=upgrade | {"Sec-WebSocket-Version": "13"})
    assert answer.status_code == 200
