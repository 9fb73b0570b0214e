"""Files from visitors over real sockets: what goes through as it is, what is refused before upstream hears of it, and
senders and upstreams that stall, go or lie."""

import hashlib
import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx2
import pytest

from tests.fault_server import closed_port
from tests.servers import EMBED_KEY, HOST, SECRET_KEY, SHOP_ORIGIN, FakeUpstream, Proxy, running
from tests.sse import stream
from tests.test_api import assert_problem
from tests.test_docs import snippet
from widget_proxy.config.file_types import CONTENT_TYPES, MOST_BYTES
from widget_proxy.handles import FILE_LIFETIME, Handles, UploadedRef
from widget_proxy.transfers import MOST_OF_A_SESSION

FILES = "/v1/session/files"
MESSAGES = "/v1/session/messages"
ATTACHMENTS = {"WIDGET_PROXY_SITES__SHOP__ATTACHMENTS": "true"}
BOUNDARY = "test-boundary"
END = f"\r\n--{BOUNDARY}--\r\n".encode()


@pytest.fixture(scope="module")
def _servers(_upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Proxy]]:
    logs = tmp_path_factory.mktemp("files")
    quick = {"WIDGET_PROXY_UPSTREAM__READ_SECONDS": "1", "WIDGET_PROXY_UPSTREAM__SEND_SECONDS": "1.5"}
    limits = {"FILE_BYTES": "1000", "FILES": "2", "MESSAGE_FILE_BYTES": "1500", "FILE_EXTENSIONS": "txt, .PDF"}
    small = {f"WIDGET_PROXY_SITES__SHOP__LIMITS__{name}": value for name, value in limits.items()}
    small |= {"WIDGET_PROXY_SERVER__UPLOAD_SECONDS": "1", "WIDGET_PROXY_UPSTREAM__CONNECTIONS": "4"}
    servers = [
        Proxy(_upstream_server.url, logs / "roomy", **ATTACHMENTS),
        Proxy(_upstream_server.url, logs / "small", **ATTACHMENTS, **small),
        Proxy(_upstream_server.url, logs / "hasty", **ATTACHMENTS, **quick),
    ]
    with running(*servers):
        yield servers
        for server in servers:
            assert "Traceback" not in server.output()
            for secret in (EMBED_KEY, SECRET_KEY, "tax-return"):
                assert secret not in server.output(), "neither keys nor names of files"


@pytest.fixture
def roomy(_servers: list[Proxy], upstream: FakeUpstream) -> Proxy:
    """A proxy whose shop takes files, with the limits it has by default."""
    return _servers[0]


@pytest.fixture
def small(_servers: list[Proxy], upstream: FakeUpstream) -> Proxy:
    """One that takes few, small files within a second."""
    return _servers[1]


@pytest.fixture
def hasty(_servers: list[Proxy], upstream: FakeUpstream) -> Proxy:
    """One whose upstream has to be quick."""
    return _servers[2]


def upload(proxy: Proxy, handle: str, name: str = "tax-return.txt", content: bytes = b"hello", **more: Any) -> Any:
    """The answer to an upload."""
    with proxy.client(handle=handle) as client:
        return client.post(FILES, files={"files": (name, content, *more.pop("claim", ()))}, **more)


def uploaded(proxy: Proxy, handle: str, name: str = "tax-return.txt", content: bytes = b"hello") -> str:
    """A reference to a file that was taken."""
    response = upload(proxy, handle, name, content)
    assert response.status_code == 201, response.text
    ref: str = response.json()["files"][0]["id"]
    return ref


def form_head(name: bytes = b"tax-return.txt", field: bytes = b"files") -> bytes:
    disposition = b'Content-Disposition: form-data; name="' + field + b'"; filename="' + name + b'"'
    return f"--{BOUNDARY}\r\n".encode() + disposition + b"\r\nContent-Type: text/plain\r\n\r\n"


class SlowUpload:
    """An upload whose bytes go when a test wants them to. `length` is what it says the body has."""

    def __init__(self, proxy: Proxy, handle: str, length: int, *headers: str) -> None:
        self.socket = socket.create_connection((HOST, proxy.port), timeout=10)
        lines = [
            f"POST {FILES} HTTP/1.1",
            f"Host: {HOST}",
            f"Origin: {SHOP_ORIGIN}",
            f"Authorization: Bearer {handle}",
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
            f"Content-Length: {length}",
            *headers,
        ]
        self.send("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.more()
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while length is not None and len(body) < int(length[1]):
            body += self.more()
        return int(head.split()[1]), json.loads(body)

    def more(self) -> bytes:
        received = self.socket.recv(65_536)
        assert received, "it was closed without an answer"
        return received

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def taken(upstream: FakeUpstream) -> list[dict[str, Any]]:
    """The files upstream has."""
    return [file for one in upstream.requests("upload") if one["body"] for file in one["body"]["files"]]


# What goes through


def test_a_file_goes_through_as_it_is_and_with_a_message(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle = roomy.start_session()
    content = bytes(range(256)) * 1000 + f"\r\n--{BOUNDARY}".encode()
    response = upload(roomy, handle, "Größe tax-return.PDF", content)
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    (file,) = response.json()["files"]
    assert set(file) == {"id", "name", "size", "content_type"}
    assert (file["name"], file["size"], file["content_type"]) == (
        "Größe tax-return.PDF",
        len(content),
        "application/pdf",
    )
    (stored,) = taken(upstream)
    assert stored["sha256"] == hashlib.sha256(content).hexdigest()
    assert (stored["name"], stored["size"], stored["content_type"]) == (file["name"], len(content), "application/pdf")
    (request,) = upstream.requests("upload")
    assert "x-session-token" in request["headers"]
    assert not {"x-embed-key", "origin", "cookie", "authorization", "transfer-encoding"} & set(request["headers"])

    roomy.send(handle, "Look at this", attachments=[file["id"]])
    (message,) = upstream.requests("message")
    assert message["body"] == {"message": "Look at this", "attachment_ids": [stored["id"]]}
    expected = {"name": file["name"], "size": len(content), "content_type": "application/pdf", "url": None}
    with roomy.client(handle=handle) as client, stream(client) as read:
        shown = read.until(lambda event: event.name == "message" and event.data["role"] == "user")
    assert shown.data["attachments"] == [expected]


def test_a_file_can_be_sent_by_curl_as_the_docs_say(roomy: Proxy, upstream: FakeUpstream, tmp_path: Path) -> None:
    (tmp_path / "lamp.txt").write_text("A lamp.")
    script = snippet("docs/api.md", "PROXY=") + snippet("docs/api.md", "FILE=")
    script = script.replace("http://127.0.0.1:8080", roomy.url).replace("http://127.0.0.1:8082", SHOP_ORIGIN)
    subprocess.run(["sh", "-eu", "-c", script], cwd=tmp_path, capture_output=True, timeout=30, check=True)
    (file,) = taken(upstream)
    assert (file["name"], file["size"]) == ("lamp.txt", 7)
    assert upstream.requests("message")[-1]["body"] == {"message": "What is this?", "attachment_ids": [file["id"]]}


@pytest.mark.parametrize("content", [b"x", b"\r\n", b"--", b"\0" * 100_000, END[:-5], b"\r\n\r\n" * 5000])
def test_no_content_is_special(roomy: Proxy, upstream: FakeUpstream, content: bytes) -> None:
    uploaded(roomy, roomy.start_session(), content=content)
    (stored,) = taken(upstream)
    assert (stored["size"], stored["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("claimed", "name"),
    [
        (b"../../etc/tax-return.txt", "tax-return.txt"),
        (b"C:\\Users\\tax-return.txt", "tax-return.txt"),
        (b"Gr\xf6\xdfe.txt", "Gr__e.txt"),
        ("東京😀.txt".encode(), "東京😀.txt"),
        (b"a\0b\x1b[31m.txt", "ab[31m.txt"),
        (b"a%22%0D%0AX-Evil: 1.txt", "a___X-Evil_ 1.txt"),
        (b"", "file"),
        (b".txt", "file.txt"),
        (b"n" * 3000 + b".txt", "n" * 116 + ".txt"),
        ("invoice\u202etxt.txt".encode(), "invoicetxt.txt"),
    ],
)
def test_a_name_is_made_plain_before_it_goes_anywhere(
    roomy: Proxy, upstream: FakeUpstream, claimed: bytes, name: str
) -> None:
    handle = roomy.start_session()
    body = form_head(claimed) + b"hello" + END
    with SlowUpload(roomy, handle, len(body)) as sender:
        sender.send(body)
        status, answer = sender.answer()
    if "." not in name:
        assert (status, answer["code"]) == (415, "file_type_not_supported")
        return
    assert (status, answer["files"][0]["name"]) == (201, name)
    assert [file["name"] for file in taken(upstream)] == [name]


def test_what_a_file_is_said_to_be_does_not_matter(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle = roomy.start_session()
    response = upload(roomy, handle, "picture.png", claim=["text/html"])
    assert response.json()["files"][0]["content_type"] == "image/png"
    assert taken(upstream)[0]["content_type"] == "image/png"
    refused = upload(roomy, handle, "program.exe", claim=["text/plain"])
    assert refused.status_code == 415
    assert len(taken(upstream)) == 1, "upstream would have believed it"


def test_every_ending_that_is_told_is_taken_upstream(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle = roomy.start_session()
    for extension in CONTENT_TYPES:
        uploaded(roomy, handle, "tax-return" + extension)
    assert [file["content_type"] for file in taken(upstream)] == list(CONTENT_TYPES.values())


def test_a_site_tells_what_it_takes(roomy: Proxy, small: Proxy, proxy: Proxy) -> None:
    told = []
    for server in (roomy, small, proxy):
        with server.client() as client:
            told.append(client.get("/v1/sites/shop").json()["limits"]["attachments"])
    assert told == [
        {"files": 5, "file_bytes": MOST_BYTES, "message_bytes": MOST_BYTES, "extensions": list(CONTENT_TYPES)},
        {"files": 2, "file_bytes": 1000, "message_bytes": 1500, "extensions": [".txt", ".pdf"]},
        None,
    ]


def test_a_large_file_passes_without_being_held(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle = roomy.start_session()
    uploaded(roomy, handle)
    piece, pieces = bytes(range(256)) * 4096, 40
    digest, length = hashlib.sha256(), len(form_head()) + len(piece) * pieces + len(END)
    before = reset_peak(roomy)
    with SlowUpload(roomy, handle, length) as sender:
        sender.send(form_head())
        for _ in range(pieces):
            digest.update(piece)
            sender.send(piece)
        sender.send(END)
        status, answer = sender.answer()
    assert status == 201, answer
    assert answer["files"][0]["size"] == len(piece) * pieces
    assert taken(upstream)[1]["sha256"] == digest.hexdigest()
    assert peak(roomy) - before < 10_000, "kilobytes, of 40,000 that went through"


def test_an_upstream_that_takes_nothing_holds_the_sender_back(hasty: Proxy, upstream: FakeUpstream) -> None:
    handle = hasty.start_session()
    uploaded(hasty, handle)
    upstream.order("faults", kind="upload", fault="hang", seconds=3)
    before = reset_peak(hasty)
    with SlowUpload(hasty, handle, 45_000_000) as sender:
        sender.send(form_head())
        sender.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sender.send(b"x" * 40_000_000)
        sender.socket.settimeout(10)
        status, answer = sender.answer()
    assert (status, answer["code"]) == (504, "upstream_unreachable")
    assert peak(hasty) - before < 10_000


def reset_peak(proxy: Proxy) -> int:
    """Forget the most memory a process had; what it has now, in kB."""
    Path(f"/proc/{proxy.pid}/clear_refs").write_text("5")
    return peak(proxy)


def peak(proxy: Proxy) -> int:
    """The most memory a process had, in kB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{proxy.pid}/status").read_text())
    assert found is not None
    return int(found[1])


# What is refused


def test_a_site_that_takes_no_files_takes_none(proxy: Proxy, upstream: FakeUpstream) -> None:
    handle = proxy.start_session()
    response = upload(proxy, handle)
    assert response.status_code == 415
    assert_problem(response, "file_type_not_supported")
    session = Handles([SECRET_KEY]).open_session(handle)
    ref = Handles([SECRET_KEY]).seal_file(session, UploadedRef(1, 1))
    with proxy.client(handle=handle) as client:
        response = client.post(MESSAGES, json={"message": "hi", "attachments": [ref]})
    assert response.status_code == 400
    assert_problem(response, "attachment_invalid")
    assert upstream.requests("upload") == upstream.requests("message") == []


NAMES = {
    "a program": "a.exe",
    "a program behind another ending": "a.pdf.exe",
    "no ending": "tax-return",
    "nothing but dots": "...",
    "an ending with a space": "a.p df",
    "an ending of the site's that is not this one's": "a.docx",
    "an ending hidden by a NUL": "a.exe\0.txt.exe",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_another_type_is_refused_by_its_name(small: Proxy, upstream: FakeUpstream, name: str) -> None:
    response = upload(small, small.start_session(), name)
    assert response.status_code == 415
    assert_problem(response, "file_type_not_supported")
    assert ".txt, .pdf" in response.json()["detail"]
    assert upstream.requests("upload") == []


FORMS: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "nothing": (b"", {}, 400, "bad_request"),
    "no part": (END[2:], {}, 400, "bad_request"),
    "an empty file": (form_head() + END, {}, 400, "attachment_invalid"),
    "another field": (form_head(field=b"file") + b"hi" + END, {}, 400, "bad_request"),
    "two files": (form_head() + b"hi\r\n" + form_head() + b"hi" + END, {}, 400, "bad_request"),
    "no end": (form_head() + b"hi", {}, 400, "bad_request"),
    "more behind its end": (form_head() + b"hi" + END + b"x" * 50, {}, 400, "bad_request"),
    "a byte too many": (form_head() + b"x" * 1001 + END, {}, 413, "file_too_large"),
    "a megabyte": (form_head() + b"x" * 1_000_000 + END, {}, 413, "file_too_large"),
    "JSON": (b'{"files": []}', {"Content-Type": "application/json"}, 415, "bad_request"),
    "no boundary": (form_head() + b"hi" + END, {"Content-Type": "multipart/form-data"}, 415, "bad_request"),
    "no type": (form_head() + b"hi" + END, {"Content-Type": ""}, 415, "bad_request"),
}


@pytest.mark.parametrize(("body", "headers", "status", "code"), FORMS.values(), ids=FORMS)
def test_a_bad_form_is_refused_and_upstream_gets_no_file(
    small: Proxy, upstream: FakeUpstream, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    handle = small.start_session()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"} | headers
    with small.client(handle=handle) as client:
        response = client.post(FILES, content=body, headers=headers)
    assert response.status_code == status
    assert_problem(response, code)
    assert taken(upstream) == []
    uploaded(small, handle)


def test_a_body_of_unsaid_length_is_refused(small: Proxy, upstream: FakeUpstream) -> None:
    with small.client(handle=small.start_session()) as client:
        response = client.post(
            FILES,
            content=iter([form_head() + b"hi" + END]),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        )
    assert response.status_code == 411
    assert_problem(response, "bad_request")
    assert upstream.requests("upload") == []


@pytest.mark.parametrize("length", [60_000, 5_000_000_000_000])
def test_a_body_said_to_be_too_large_is_refused_before_a_byte_of_it(
    small: Proxy, upstream: FakeUpstream, length: int
) -> None:
    with SlowUpload(small, small.start_session(), length, "Expect: 100-continue") as sender:
        status, answer = sender.answer()
    assert (status, answer["code"]) == (413, "file_too_large"), "and no 100 before it"
    assert upstream.requests("upload") == []


def test_who_goes_on_sending_a_refused_file_reads_why(roomy: Proxy, upstream: FakeUpstream) -> None:
    """As browsers do, which look for an answer when all is sent. What comes is thrown away as it comes."""
    handle = roomy.start_session()
    before = reset_peak(roomy)
    for name, size, expected in ((b"a.txt", 80_000_000, 413), (b"a.exe", 40_000_000, 415)):
        body = form_head(name) + b"x" * size + END
        with SlowUpload(roomy, handle, len(body)) as sender:
            sender.send(body)
            assert sender.answer()[0] == expected
    assert peak(roomy) - before < 10_000
    assert upstream.requests("upload") == []


def test_another_type_is_refused_before_a_byte_of_the_file(roomy: Proxy, upstream: FakeUpstream) -> None:
    with SlowUpload(roomy, roomy.start_session(), 30_000_000) as sender:
        sender.send(form_head(b"movie.exe"))
        status, answer = sender.answer()
    assert (status, answer["code"]) == (415, "file_type_not_supported")
    assert upstream.requests("upload") == []


def test_a_file_longer_than_its_request_makes_no_file(roomy: Proxy, upstream: FakeUpstream) -> None:
    body = form_head() + b"x" * 5000 + END
    length = len(body) - 1000
    with SlowUpload(roomy, roomy.start_session(), length) as sender:
        sender.send(body[:length])
        status, answer = sender.answer()
    assert (status, answer["code"]) == (400, "bad_request")
    assert taken(upstream) == []


def test_a_second_file_behind_a_long_first_one_makes_no_file(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle = roomy.start_session()
    body = form_head() + b"x" * 3_000_000 + b"\r\n" + form_head(b"program.exe") + b"hi" + END
    with SlowUpload(roomy, handle, len(body)) as sender:
        sender.send(body)
        status, answer = sender.answer()
    assert (status, answer["code"]) == (400, "bad_request")
    eventually(lambda: [one["status"] for one in upstream.requests("upload")] == [0])
    assert taken(upstream) == []


def test_whoever_may_not_use_the_session_uploads_nothing(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle = roomy.start_session()
    for origin, bearer, status, code in (
        ("https://evil.example", handle, 403, "origin_not_allowed"),
        ("http://other.localhost:8083", handle, 403, "origin_not_allowed"),
        (SHOP_ORIGIN, None, 401, "handle_missing"),
        (SHOP_ORIGIN, handle[:-1], 401, "handle_invalid"),
    ):
        with roomy.client(origin, bearer) as client:
            response = client.post(FILES, files={"files": ("a.txt", b"hi")})
        assert response.status_code == status
        assert_problem(response, code)
    with roomy.client(handle=handle) as client:
        assert client.get(FILES).headers["Allow"] == "POST"
    assert upstream.requests("upload") == []


# References to files


def test_a_reference_that_is_no_good_sends_nothing(roomy: Proxy, upstream: FakeUpstream) -> None:
    mine, theirs = roomy.start_session(), roomy.start_session()
    good, strange = uploaded(roomy, mine), uploaded(roomy, theirs)
    (stored, _) = taken(upstream)
    assert str(stored["id"]) not in good.split(".")
    session = Handles([SECRET_KEY]).open_session(mine)
    long_ago = datetime.now(UTC) - FILE_LIFETIME - timedelta(seconds=2)
    for ref in (
        strange,
        str(stored["id"]),
        "",
        "made-up",
        good[:-1],
        good.swapcase(),
        "a" * 5000,
        mine,
        Handles(["x" * 32]).seal_file(session, UploadedRef(stored["id"], 5)),
        Handles([SECRET_KEY], lambda: long_ago).seal_file(session, UploadedRef(stored["id"], 5)),
        Handles([SECRET_KEY]).seal_task(session, str(stored["id"]), datetime.now(UTC)).ref,
    ):
        for attachments in ([ref], [good, ref]):
            with roomy.client(handle=mine) as client:
                response = client.post(MESSAGES, json={"message": "hi", "attachments": attachments})
            assert response.status_code == 400
            assert_problem(response, "attachment_invalid")
    assert upstream.requests("message") == []
    roomy.send(mine, "hi", attachments=[good])


def test_a_reference_given_twice_is_one_file(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle = roomy.start_session()
    first, second = uploaded(roomy, handle), uploaded(roomy, handle)
    roomy.send(handle, "hi", attachments=[second, first, second, first])
    (message,) = upstream.requests("message")
    assert message["body"]["attachment_ids"] == [file["id"] for file in reversed(taken(upstream))]


def test_a_message_has_no_more_files_and_bytes_than_the_site_allows(small: Proxy, upstream: FakeUpstream) -> None:
    handle = small.start_session()
    large, other, tiny = (uploaded(small, handle, content=b"x" * size) for size in (1000, 501, 1))
    with small.client(handle=handle) as client:
        too_many = client.post(MESSAGES, json={"message": "hi", "attachments": [large, other, tiny]})
        too_large = client.post(MESSAGES, json={"message": "hi", "attachments": [large, other]})
    assert too_many.status_code == 400
    assert_problem(too_many, "attachment_invalid")
    assert too_large.status_code == 413
    assert_problem(too_large, "file_too_large")
    assert upstream.requests("message") == []
    small.send(handle, "hi", attachments=[large, tiny])


def test_a_file_that_upstream_forgot_is_said_to_be_gone(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle = roomy.start_session()
    ref = Handles([SECRET_KEY]).seal_file(Handles([SECRET_KEY]).open_session(handle), UploadedRef(987_654, 5))
    with roomy.client(handle=handle) as client:
        response = client.post(MESSAGES, json={"message": "hi", "attachments": [ref]})
    assert response.status_code == 400
    assert_problem(response, "attachment_invalid")
    assert response.json()["fate"] == "not_sent"


def test_files_belong_to_what_an_idempotency_key_names(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle, key = roomy.start_session(), {"Idempotency-Key": str(uuid4())}
    ref, other = uploaded(roomy, handle), uploaded(roomy, handle)
    with roomy.client(handle=handle) as client:
        first, again, changed = (
            client.post(MESSAGES, json={"message": "hi", "attachments": [one]}, headers=key)
            for one in (ref, ref, other)
        )
    assert first.json() == again.json()
    assert changed.status_code == 422
    assert len(upstream.requests("message")) == 1


# Senders that stall or go


@pytest.mark.parametrize("sent", [b"", form_head()[:30], form_head(), form_head() + b"x" * 50])
def test_a_sender_too_slow_is_told_and_leaves_no_file(small: Proxy, upstream: FakeUpstream, sent: bytes) -> None:
    handle = small.start_session()
    with SlowUpload(small, handle, 900) as sender:
        sender.send(sent)
        status, answer = sender.answer()
    assert (status, answer["code"]) == (408, "bad_request")
    if sent.endswith(b"x"):
        eventually(lambda: [one["status"] for one in upstream.requests("upload")] == [0])
    else:
        assert upstream.requests("upload") == [], "it hears of a file when the first byte is here"
    assert taken(upstream) == []


def test_a_sender_that_drips_is_no_quicker_for_it(small: Proxy, upstream: FakeUpstream) -> None:
    with SlowUpload(small, small.start_session(), 900) as sender:
        sender.send(form_head())
        sender.socket.settimeout(0.1)
        for _ in range(100):
            sender.send(b"x")
            try:
                answered = sender.socket.recv(4096)
            except TimeoutError:
                continue
            break
    assert b" 408 " in answered.partition(b"\r\n")[0]
    assert taken(upstream) == []


def test_a_sender_that_goes_takes_everything_along(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle = roomy.start_session()
    uploaded(roomy, handle)
    files = Path(f"/proc/{roomy.pid}/fd")
    before = len(list(files.iterdir()))

    def asked(times: int) -> bool:
        return len(upstream.requests("upload")) == times

    for times in range(1, MOST_OF_A_SESSION + 3):  # more often than it could have open
        with SlowUpload(roomy, handle, 20_000_000) as sender:
            sender.send(form_head() + b"x" * 1_000_000)
        eventually(partial(asked, times + 1))
    assert [one["status"] for one in upstream.requests("upload")[1:]] == [0] * (MOST_OF_A_SESSION + 2)
    assert len(taken(upstream)) == 1
    uploaded(roomy, handle)
    eventually(lambda: len(list(files.iterdir())) <= before)


def test_a_session_has_few_files_on_their_way_at_once(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle, other = roomy.start_session(), roomy.start_session()
    with ExitStack() as stack:
        for _ in range(MOST_OF_A_SESSION):
            stack.enter_context(SlowUpload(roomy, handle, 900)).send(form_head() + b"x")

        def refused() -> bool:
            response = upload(roomy, handle)
            if response.status_code == 429:
                assert_problem(response, "too_many_requests")
                assert int(response.headers["Retry-After"]) > 0
            return bool(response.status_code == 429)

        eventually(refused)
        uploaded(roomy, other)
    eventually(lambda: upload(roomy, handle).status_code == 201)


def test_slow_files_leave_messages_their_connections(small: Proxy, upstream: FakeUpstream) -> None:
    """It has four to upstream, so two for files; a file holds one as long as its sender takes."""
    handles = [small.start_session() for _ in range(3)]
    with ExitStack() as stack:
        for handle in handles[:2]:
            stack.enter_context(SlowUpload(small, handle, 900)).send(form_head() + b"x")
        refused = upload(small, handles[2])
        small.send(handles[2], "hello")
    assert refused.status_code == 503
    assert_problem(refused, "unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    eventually(lambda: upload(small, handles[2]).status_code == 201)


# The server is to exit


@pytest.fixture
def leaving(upstream: FakeUpstream, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy of the test's own, to be stopped."""
    with Proxy(upstream.url, tmp_path / "log", **ATTACHMENTS) as server:
        yield server


def test_a_slow_upload_does_not_hold_the_server_that_is_to_exit(leaving: Proxy, upstream: FakeUpstream) -> None:
    handle = leaving.start_session()
    with SlowUpload(leaving, handle, 900) as sender:
        sender.send(form_head() + b"x")
        time.sleep(0.3)
        began = time.monotonic()
        leaving.signal(signal.SIGTERM)
        status, answer = sender.answer()
        assert (status, answer["code"]) == (503, "unavailable")
        assert sender.socket.recv(10) == b"", "and it is closed"
    assert leaving.stop() in {0, 143, -signal.SIGTERM}
    assert time.monotonic() - began < 6, "of the eight seconds that it may take"
    assert "Traceback" not in leaving.output()
    assert "Exception" not in leaving.output()
    eventually(lambda: [one["status"] for one in upstream.requests("upload")] == [0])
    assert taken(upstream) == []


def test_an_upload_that_is_nearly_there_is_finished_before_the_exit(leaving: Proxy, upstream: FakeUpstream) -> None:
    handle = leaving.start_session()
    body = form_head() + b"hello" + END
    with SlowUpload(leaving, handle, len(body)) as sender:
        sender.send(body[:-1])
        time.sleep(0.3)
        leaving.signal(signal.SIGTERM)
        time.sleep(1)
        sender.send(body[-1:])
        status, _ = sender.answer()
    assert status == 201
    assert leaving.stop() in {0, 143, -signal.SIGTERM}
    assert [file["size"] for file in taken(upstream)] == [5]
    assert "Traceback" not in leaving.output()


def test_a_file_upstream_is_slow_to_take_does_not_hold_it_either(leaving: Proxy, upstream: FakeUpstream) -> None:
    handle = leaving.start_session()
    upstream.order("faults", kind="upload", fault="hang", seconds=20)
    body = form_head() + b"hello" + END
    with SlowUpload(leaving, handle, len(body)) as sender:
        sender.send(body)
        time.sleep(0.3)
        leaving.signal(signal.SIGTERM)
        status, answer = sender.answer()
    assert (status, answer["code"]) == (503, "unavailable")
    assert leaving.stop() in {0, 143, -signal.SIGTERM}
    assert "Traceback" not in leaving.output()


# Upstream misbehaves

JSON = "application/json"
TOO_LARGE = json.dumps({"error": "File 'tax-return.txt' exceeds maximum size of 50MB"})
WRONG_TYPE = json.dumps({"error": "File type '.txt' is not supported. Allowed types: .marker"})
EXPIRED = json.dumps({"error": "marker", "code": "session_expired"})
ANSWERS: dict[str, tuple[dict[str, Any], int, str]] = {
    "413 of a server before it": ({"status": 413, "body": "<h1>marker</h1>"}, 413, "file_too_large"),
    "its own limit": ({"status": 400, "body": TOO_LARGE, "content_type": JSON}, 413, "file_too_large"),
    "its own list": ({"status": 400, "body": WRONG_TYPE, "content_type": JSON}, 415, "file_type_not_supported"),
    "415 of a server before it": ({"status": 415, "body": "<h1>marker</h1>"}, 415, "file_type_not_supported"),
    "no files": ({"status": 400, "body": '{"error": "marker"}', "content_type": JSON}, 400, "bad_request"),
    "500": ({"status": 500, "body": "<h1>marker</h1>"}, 502, "upstream_error"),
    "502": ({"status": 502, "body": "<h1>marker</h1>"}, 502, "upstream_error"),
    "a wrong key": ({"status": 401, "body": '{"detail": "marker"}', "content_type": JSON}, 503, "misconfigured"),
    "a lost session": ({"status": 403, "body": EXPIRED, "content_type": JSON}, 410, "session_expired"),
    "nothing it documents": ({"status": 201, "body": '{"files": [{}]}', "content_type": JSON}, 502, "upstream_error"),
    "no file": ({"status": 201, "body": '{"files": []}', "content_type": JSON}, 502, "upstream_error"),
    "a redirect": ({"status": 302, "headers": {"Location": "https://marker.example/"}}, 502, "upstream_error"),
}


@pytest.mark.parametrize("size", [5, 5_000_000])
@pytest.mark.parametrize(("fault", "status", "code"), ANSWERS.values(), ids=ANSWERS)
def test_what_upstream_says_is_told_in_our_words(
    roomy: Proxy, upstream: FakeUpstream, fault: dict[str, Any], status: int, code: str, size: int
) -> None:
    """It answers before it has read the file, small or large."""
    handle = roomy.start_session()
    upstream.order("faults", kind="upload", fault="status", **fault)
    response = upload(roomy, handle, "a.txt", content=b"x" * size)
    assert response.status_code == status
    assert_problem(response, code)
    for leaked in ("marker", "tax-return", "50MB"):
        assert leaked not in response.text


UNKNOWN = [
    ("reset", 504, "upstream_unreachable"),
    ("close_after_accept", 504, "upstream_unreachable"),
    ("malformed", 502, "upstream_error"),
    ("wrong_types", 502, "upstream_error"),
    ("huge", 502, "upstream_error"),
    ("gzip_bomb", 502, "upstream_error"),
    ("drip", 504, "upstream_unreachable"),
    ("hang", 504, "upstream_unreachable"),
]


@pytest.mark.parametrize(("fault", "status", "code"), UNKNOWN, ids=[one[0] for one in UNKNOWN])
def test_a_file_of_unknown_fate_can_be_sent_again(
    roomy: Proxy, hasty: Proxy, upstream: FakeUpstream, fault: str, status: int, code: str
) -> None:
    proxy = hasty if fault in {"drip", "hang"} else roomy
    handle = proxy.start_session()
    upstream.order("faults", kind="upload", fault=fault, seconds=3)
    response = upload(proxy, handle)
    assert response.status_code == status
    assert_problem(response, code)
    ref = uploaded(proxy, handle)
    proxy.send(handle, "hi", attachments=[ref])
    assert upstream.requests("message")[0]["body"]["attachment_ids"] == [taken(upstream)[-1]["id"]]


def test_an_upstream_that_is_not_there_is_told(upstream: FakeUpstream, tmp_path: Path) -> None:
    with Proxy(f"http://{HOST}:{closed_port()}", tmp_path / "log", **ATTACHMENTS) as alone:
        with Proxy(upstream.url, tmp_path / "other") as other:
            handle = other.start_session()
        for size in (5, 5_000_000):
            response = upload(alone, handle, content=b"x" * size)
            assert response.status_code == 503
            assert_problem(response, "upstream_unreachable")


def test_an_ended_session_takes_no_files(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle = roomy.start_session()
    upstream.order("end", session=upstream.ask("sessions")[0]["id"])
    response = upload(roomy, handle)
    assert response.status_code == 409
    assert_problem(response, "session_ended")
    with roomy.client(handle=handle) as client:
        assert client.get(MESSAGES).json()["session"] == {"status": "ended"}, "whoever listens is told as well"


def test_a_session_that_ends_while_a_file_is_on_its_way_ends_the_upload(roomy: Proxy, upstream: FakeUpstream) -> None:
    """Upstream says so before it has read the file, and the sender reads it before all is sent."""
    handle = roomy.start_session()
    ended = json.dumps({"error": "Session has ended"})
    upstream.order("faults", kind="upload", fault="status", status=400, body=ended, content_type=JSON)
    with SlowUpload(roomy, handle, 900) as sender:
        sender.send(form_head() + b"x")
        status, answer = sender.answer()
    assert (status, answer["code"]) == (409, "session_ended")
    with roomy.client(handle=handle) as client:
        assert client.get(MESSAGES).json()["session"] == {"status": "ended"}
    assert taken(upstream) == []


def test_a_429_is_kept_to(upstream: FakeUpstream, tmp_path: Path) -> None:
    with Proxy(upstream.url, tmp_path / "log", **ATTACHMENTS) as own:
        handle = own.start_session()
        headers = {"Retry-After": "7", "X-RateLimit-Remaining": "0"}
        upstream.order("faults", kind="upload", fault="status", status=429, headers=headers)
        for response in (upload(own, handle), upload(own, handle)):
            assert response.status_code == 503
            assert_problem(response, "upstream_busy")
            assert 0 < int(response.headers["Retry-After"]) <= 8
        assert len(upstream.requests("upload")) == 1, "the second was not even tried"


def test_a_file_costs_what_a_message_costs_and_a_refused_one_nothing(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Of this budget three requests can go at once, and another every eleven seconds."""
    with Proxy(upstream.url, tmp_path / "log", **ATTACHMENTS, WIDGET_PROXY_PACING__BUDGET="30/5m") as own:
        handle = own.start_session()
        for _ in range(5):
            assert upload(own, handle, "a.exe").status_code == 415
            assert upload(own, handle, content=b"").status_code == 400
        uploaded(own, handle)
        uploaded(own, handle)
        response = upload(own, handle)
    assert response.status_code == 503
    assert_problem(response, "upstream_busy")
    assert int(response.headers["Retry-After"]) > 0
    assert len(upstream.requests("upload")) == 2


def test_no_answer_has_what_belongs_to_upstream(roomy: Proxy, upstream: FakeUpstream) -> None:
    handle = roomy.start_session()
    (session,) = upstream.ask("sessions")
    response = upload(roomy, handle, "a.txt")
    for secret in (EMBED_KEY, session["token"], session["id"], "content_url", "upstream.invalid"):
        assert secret not in response.text + json.dumps(dict(response.headers))


def test_a_page_may_ask_for_it(roomy: Proxy) -> None:
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    with roomy.client() as client:
        response = client.options(FILES, headers=wanted)
        refused = client.post(FILES, files={"files": ("a.txt", b"hi")})
    assert response.status_code == 204
    assert refused.headers["Access-Control-Allow-Origin"] == SHOP_ORIGIN, "so that the widget can read why"
    assert isinstance(refused, httpx2.Response)
