"""Files of a conversation, by a link in a message: what can be had, by whom, and in parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.servers import FakeUpstream, Proxy, running
from tests.sse import stream
from widget_proxy.downloads import disposition
from widget_proxy.fake_upstream.file_content import content

API_KEY = "demo-api-key-not-a-secret"
KEYED = {
    "WIDGET_PROXY_SITES__SHOP__API_KEY": API_KEY,
    "WIDGET_PROXY_SITES__SHOP__STARTS_WITH": "embed_key",
    "WIDGET_PROXY_SITES__SHOP__ATTACHMENTS": "true",
}
OAUTH = {
    "WIDGET_PROXY_SITES__SHOP__OAUTH_CLIENT_ID": "demo-client",
    "WIDGET_PROXY_SITES__SHOP__OAUTH_CLIENT_SECRET": "demo-client-secret-not-a-secret",
    "WIDGET_PROXY_SITES__SHOP__STARTS_WITH": "embed_key",
}


def attach(upstream: FakeUpstream, **more: Any) -> str:
    """Have the bot of the last session say something with a file; the text of it."""
    session = upstream.ask("sessions")[-1]["id"]
    file = {"name": "tax-return.txt", "size": 1000, "content_type": "text/plain"} | more
    told = upstream.order("attach", session=session, text="Here you are.", **file)
    return str(told["id"])


def link_of(proxy: Proxy, handle: str, file: str) -> str:
    """The link in the session's last message with a file."""
    with proxy.client(handle=handle) as client, stream(client) as read:
        message = read.until(lambda event: event.name == "message" and event.data["attachments"] != [])
    url: str = message.data["attachments"][0]["url"]
    assert url.startswith("/v1/files/")
    assert set(message.data["attachments"][0]) == {"name", "size", "content_type", "url"}
    assert file not in url.rpartition("/")[2].split("."), "upstream's id is sealed"
    return url


@pytest.fixture(scope="module")
def _keyed_server(_upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    proxy = Proxy(_upstream_server.url, tmp_path_factory.mktemp("downloads") / "keyed", **KEYED)
    with running(proxy):
        yield proxy


@pytest.fixture
def keyed(_keyed_server: Proxy, upstream: FakeUpstream) -> Proxy:
    """A proxy whose shop has an API key beside its embed key."""
    return _keyed_server


def get(proxy: Proxy, path: str, method: str = "GET", **headers: str) -> httpx2.Response:
    """As somebody who follows a link: no origin, no handle."""
    with proxy.client(None) as client:
        return client.request(method, path, headers=headers)


def test_a_link_in_a_message_is_all_one_needs(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    response = get(keyed, link_of(keyed, handle, attach(upstream)))
    assert response.status_code == 200
    assert response.content == content(0, 1000)
    assert response.headers["Content-Type"] == "text/plain"
    assert response.headers["Content-Disposition"].startswith('attachment; filename="tax-return.txt"')
    assert response.headers["Cache-Control"] == "private"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    (asked,) = upstream.requests("file")
    assert asked["headers"]["x-api-key"] == API_KEY
    assert not {"origin", "referer", "cookie", "authorization", "x-embed-key", "x-session-token"} & set(
        asked["headers"]
    )


def test_a_visitors_own_file_comes_back_the_same_way(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    with keyed.client(handle=handle) as client:
        sent = client.post("/v1/session/files", files={"files": ("mine.txt", b"x" * 300)})
    keyed.send(handle, "see", attachments=[sent.json()["files"][0]["id"]])
    assert get(keyed, link_of(keyed, handle, "none")).content == content(0, 300)


def test_a_part_is_had_by_its_range(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    link = link_of(keyed, handle, attach(upstream, size=200_000))
    whole = get(keyed, link)
    assert (whole.headers["Accept-Ranges"], whole.headers["Content-Length"]) == ("bytes", "200000")
    part = get(keyed, link, Range="bytes=100000-", **{"If-Range": whole.headers["ETag"]})
    assert part.status_code == 206
    assert part.headers["Content-Range"] == "bytes 100000-199999/200000"
    assert whole.content[:100_000] + part.content == content(0, 200_000)
    assert get(keyed, link, Range="bytes=0-9", **{"If-Range": '"another"'}).status_code == 200
    beyond = get(keyed, link, Range="bytes=200000-")
    assert (beyond.status_code, beyond.headers["Content-Range"], beyond.content) == (416, "bytes */200000", b"")
    for odd in ("bytes=0-1,5-6", "bytes=a-b", "lines=1-2", "bytes=-"):
        assert get(keyed, link, Range=odd).status_code == 200, "what is not understood is not there"
    assert "range" not in upstream.requests("file")[-1]["headers"]


def test_a_head_tells_what_there_is(keyed: Proxy, upstream: FakeUpstream) -> None:
    handle = keyed.start_session()
    link = link_of(keyed, handle, attach(upstream))
    response = get(keyed, link, "HEAD")
    assert (response.status_code, response.headers["Content-Length"], response.content) == (200, "1000", b"")
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert upstream.requests("file")[-1]["method"] == "HEAD"
    refused = get(keyed, link, "POST")
    assert (refused.status_code, set(refused.headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})


def test_an_oauth_application_fetches_files_as_well(upstream: FakeUpstream, tmp_path: Path) -> None:
    with Proxy(upstream.url, tmp_path / "log", **OAUTH) as proxy:
        handle = proxy.start_session()
        link = link_of(proxy, handle, attach(upstream))
        assert get(proxy, link).status_code == 200
        upstream.clear("bearers")
        assert get(proxy, link).status_code == 200, "one that was revoked is renewed"
        assert [one["status"] for one in upstream.requests("file")] == [200, 401, 200]
        assert "authorization" not in upstream.requests("start")[-1]["headers"]


def test_without_either_a_file_has_a_name_and_a_size_and_no_link(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    attach(upstream)
    with proxy.client(handle=handle) as client, stream(client) as read:
        message = read.until(lambda event: event.name == "message" and event.data["attachments"] != [])
    assert message.data["attachments"] == [
        {"name": "tax-return.txt", "size": 1000, "content_type": "text/plain", "url": None}
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a.txt", "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"),
        ("naïve €.pdf", "attachment; filename=\"na_ve _.pdf\"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.pdf"),
        ("100% 'sure'.txt", "attachment; filename=\"100_ _sure_.txt\"; filename*=UTF-8''100%25%20%27sure%27.txt"),
    ],
)
def test_a_name_is_told_in_both_ways(name: str, told: str) -> None:
    assert disposition(name) == told
