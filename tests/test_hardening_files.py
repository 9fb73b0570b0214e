"""Links to files, attacked: another's reference, an edited or expired one, path tricks, names made to break out, pages
in place of files, too many at once, readers who take nothing, and an upstream that fails on the way."""

import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest

from tests.servers import EMBED_KEY, HOST, SECRET_KEY, SHOP_ORIGIN, FakeUpstream, Proxy, running
from tests.test_api import assert_problem
from tests.test_downloads import API_KEY, KEYED, attach, link_of
from tests.test_workers import wait_for
from widget_proxy.handles import LIFETIME, AttachedFile, ChatSession, Handles


@pytest.fixture(scope="module")
def _servers(_upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Proxy]]:
    logs = tmp_path_factory.mktemp("downloads")
    few = {"WIDGET_PROXY_SERVER__DOWNLOADS": "2", "WIDGET_PROXY_SERVER__DOWNLOAD_SECONDS": "2"}
    servers = [
        Proxy(_upstream_server.url, logs / "keyed", **KEYED),
        Proxy(_upstream_server.url, logs / "few", **KEYED, **few),
    ]
    with running(*servers):
        yield servers
        for server in servers:
            assert "Traceback" not in server.output()
            for secret in (API_KEY, EMBED_KEY, SECRET_KEY, "/v1/files/", "tax-return"):
                assert secret not in server.output(), "no key, no link, no name of a file"


@pytest.fixture
def keyed(_servers: list[Proxy], upstream: FakeUpstream) -> Proxy:
    """A proxy whose shop has an API key."""
    return _servers[0]


@pytest.fixture
def few(_servers: list[Proxy], upstream: FakeUpstream) -> Proxy:
    """One that fetches two files at once, for two seconds each."""
    return _servers[1]


def get(proxy: Proxy, path: str, method: str = "GET", **headers: str) -> httpx2.Response:
    with proxy.client(None) as client:
        return client.request(method, path, headers=headers)


def seal(key: str = SECRET_KEY, site: str = "shop", age: timedelta = timedelta(), file: str = "1") -> str:
    session = ChatSession(site, "s", "t", SHOP_ORIGIN, datetime.now(UTC) - age)
    return "/v1/files/" + Handles([key]).seal_attached(session, AttachedFile(site, session.key, file, "a.txt"))


def test_what_is_no_reference_of_ours_is_nothing(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    link = link_of(keyed, handle, attach(upstream))
    assert get(keyed, link).status_code == 200
    asked = len(upstream.requests("file"))
    ref = link.rpartition("/")[2]
    body, moment, signature = ref.split(".")
    session = Handles([SECRET_KEY]).open_session(handle)
    wrong = [
        seal(key="x" * 32),
        seal(site="gone"),
        seal(site="other"),
        f"/v1/files/{body[:-2]}AA.{moment}.{signature}",
        f"/v1/files/{body}.{moment}.{signature[:-1]}",
        f"/v1/files/{ref}=",
        f"/v1/files/{ref}%00",
        f"/v1/files/{ref}%2f..%2f..",
        f"/v1/files/{handle}",
        f"/v1/files/{Handles([SECRET_KEY]).seal_task(session, '1', datetime.now(UTC)).ref}",
        "/v1/files/1",
        "/v1/files/..%2f..%2fhealthz",
        "/v1/files/" + "a" * 5000,
        "/v1/files/",
        f"{link}/content",
    ]
    for path in wrong:
        response = get(keyed, path)
        assert_problem(response, "not_found")
    assert_problem(get(keyed, seal(age=LIFETIME + timedelta(minutes=1))), "session_expired")
    assert len(upstream.requests("file")) == asked, "upstream heard of none of it"


NAMES: dict[str, str] = {
    "../../etc/passwd": "passwd",
    'a";\r\nSet-Cookie: x=1;".txt': "a__ Set-Cookie_ x=1__.txt",
    "invoice\u202efdp.exe": "invoicefdp.exe",
    "Übersicht €.pdf": "Übersicht €.pdf",
    "": "file",
}


@pytest.mark.parametrize("name", NAMES)
def test_no_name_breaks_out_of_its_header(keyed: Proxy, upstream: FakeUpstream, name: str) -> None:
    handle = keyed.start_session()
    response = get(keyed, link_of(keyed, handle, attach(upstream, name=name)))
    told = response.headers["Content-Disposition"]
    matched = re.fullmatch(
        r"attachment; filename=\"([A-Za-z0-9._() -]*)\"; filename\*=UTF-8''([A-Za-z0-9._~%-]+)", told
    )
    assert matched is not None, told
    assert unquote(matched[2]) == NAMES[name]
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/javascript"])
def test_what_could_run_is_only_ever_saved(keyed: Proxy, upstream: FakeUpstream, kind: str) -> None:
    name = {"text/html": "a.html", "image/svg+xml": "a.svg", "application/javascript": "a.js"}[kind]
    handle = keyed.start_session()
    response = get(keyed, link_of(keyed, handle, attach(upstream, name=name, content_type=kind)), Origin=SHOP_ORIGIN)
    assert response.status_code == 200
    assert response.headers["Content-Disposition"].startswith("attachment;")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in response.headers, "no page reads it"


FAULTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "a key that upstream refuses": ({"status": 401, "body": '{"detail": "marker"}'}, 503, "misconfigured"),
    "a scope that is missing": ({"status": 403, "body": '{"detail": "marker"}'}, 503, "misconfigured"),
    "a file that is gone": ({"status": 404, "body": '{"detail": "Not found."}'}, 404, "not_found"),
    "a page": ({"status": 200, "body": "<h1>marker</h1>", "content_type": "text/html"}, 502, "upstream_error"),
    "a crash": ({"status": 500, "body": "<h1>marker</h1>", "content_type": "text/html"}, 502, "upstream_error"),
    "a redirect": ({"status": 302, "headers": {"Location": "https://evil.example/"}}, 502, "upstream_error"),
    "too many": (
        {
            "status": 429,
            "headers": {
                "Retry-After": "1",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Limit": "9",
                "X-RateLimit-Reset": "1",
            },
        },
        503,
        "upstream_busy",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_upstream_says_instead_of_a_file_is_never_passed_on(
    keyed: Proxy, upstream: FakeUpstream, fault: str
) -> None:
    order, status, code = FAULTS[fault]
    handle = keyed.start_session()
    link = link_of(keyed, handle, attach(upstream))
    upstream.order("faults", kind="file", fault="status", **{"content_type": "application/json"} | order)
    before = len(keyed.output())
    response = get(keyed, link)
    assert_problem(response, code)
    assert response.status_code == status
    assert "marker" not in response.text
    if code == "misconfigured":
        assert "sites.shop.api_key" in keyed.output()[before:]
        assert "files:read" in keyed.output()[before:]


def slow_reader(proxy: Proxy, link: str, address: str = HOST) -> socket.socket:
    """Somebody at this address who asks for a file and reads the beginning of its head."""
    reader = socket.create_connection((HOST, proxy.port), timeout=20)
    reader.sendall(f"GET {link} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {address}\r\n\r\n".encode())
    assert reader.recv(12) == b"HTTP/1.1 200"
    return reader


def test_only_so_many_are_on_their_way_at_once_and_a_slow_reader_not_for_ever(
    few: Proxy, upstream: FakeUpstream
) -> None:
    links = [link_of(few, few.start_session(), attach(upstream, size=50_000_000)) for _ in range(3)]
    readers = [slow_reader(few, link) for link in links[:2]]
    response = get(few, links[2])
    assert_problem(response, "unavailable")
    assert response.headers["Retry-After"] == "5"
    wait_for(lambda: get(few, links[2], "HEAD").status_code == 200)
    for reader in readers:
        reader.close()


def test_one_conversation_has_three_at_once(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    link = link_of(keyed, handle, attach(upstream, size=50_000_000))
    readers = [slow_reader(keyed, link) for _ in range(3)]
    assert_problem(get(keyed, link), "too_many_requests")
    for reader in readers:
        reader.close()
    wait_for(lambda: get(keyed, link, "HEAD").status_code == 200)


def test_slow_readers_of_one_address_leave_places_to_everybody_else(keyed: Proxy, upstream: FakeUpstream) -> None:
    links = [link_of(keyed, keyed.start_session(), attach(upstream, size=50_000_000)) for _ in range(2)]
    readers = [slow_reader(keyed, link, "203.0.113.7") for link in (*links * 2, links[0])]
    mine = {"X-Forwarded-For": "203.0.113.7"}
    assert_problem(get(keyed, links[1], "GET", **mine), "too_many_requests")
    assert get(keyed, links[1], "HEAD", **{"X-Forwarded-For": "203.0.113.8"}).status_code == 200
    for reader in readers:
        reader.close()
    wait_for(lambda: get(keyed, links[1], "HEAD", **mine).status_code == 200)


def test_a_file_of_five_gigabytes_takes_no_memory_and_stops_with_its_reader(
    keyed: Proxy, upstream: FakeUpstream
) -> None:
    handle = keyed.start_session()
    link = link_of(keyed, handle, attach(upstream, size=5_000_000_000))
    before = resident(keyed.pid)
    reader = slow_reader(keyed, link)
    read = 0
    while read < 60_000_000:
        piece = reader.recv(1_000_000)
        assert piece, "it goes on"
        read += len(piece)
    assert resident(keyed.pid) - before < 16_000_000
    reader.close()
    wait_for(lambda: get(keyed, link, "HEAD").status_code == 200)


def test_a_file_that_upstream_cuts_off_is_cut_off_here_and_not_made_up(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    link = link_of(keyed, handle, attach(upstream))
    upstream.order("faults", kind="file", fault="reset")
    with pytest.raises(httpx2.RemoteProtocolError):
        get(keyed, link)
    wait_for(lambda: "a file was cut off on its way" in keyed.output())
    assert len(get(keyed, link).content) == 1000


def test_an_upstream_that_says_nothing_is_waited_for_no_longer_than_for_a_send(
    few: Proxy, upstream: FakeUpstream
) -> None:
    handle = few.start_session()
    link = link_of(few, handle, attach(upstream))
    upstream.order("faults", kind="file", fault="hang", seconds=6)
    response = get(few, link)
    assert_problem(response, "unavailable")


def resident(pid: int) -> int:
    """Bytes of memory a process has."""
    (line,) = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) * 1024
