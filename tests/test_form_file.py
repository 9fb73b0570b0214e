"""One file in a form, however its bytes are cut, and every form that is none."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from tests.virtual_time import ANYIO_OPTIONS, elapsed
from widget_proxy.bodies import BODY_SECONDS
from widget_proxy.form_file import DISCARDED_BYTES, HEAD_BYTES, open_form_file
from widget_proxy.problems import Problem

pytestmark = pytest.mark.anyio

BOUNDARY = "----geckoformboundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


def head(name: str = "files", filename: str | None = "a.txt", more: str = "") -> bytes:
    called = "" if filename is None else f'; filename="{filename}"'
    disposition = f'Content-Disposition: form-data; name="{name}"{called}\r\n'
    return f"--{BOUNDARY}\r\n{disposition}{more}\r\n".encode()


END = f"\r\n--{BOUNDARY}--\r\n".encode()


def form(content: bytes, end: bytes = END) -> bytes:
    return head() + content + end


def request(
    *chunks: bytes, length: int | str | None = None, kind: str = MULTIPART, gap: float = 0.0, gone: bool = False
) -> Request:
    left = list(chunks)

    async def receive() -> Message:
        await asyncio.sleep(gap)
        if not left and gone:
            return {"type": "http.disconnect"}
        body = left.pop(0) if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left) or gone}

    said = sum(map(len, chunks)) if length is None else length
    headers = [(b"content-type", kind.encode()), (b"content-length", str(said).encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


async def read(incoming: Request, longest: int = 1_000_000, seconds: float = 60) -> tuple[bytes, bytes]:
    """The claimed name, and the content."""
    file = await open_form_file(incoming, longest, seconds)
    assert await file.is_empty() is (file.at_most in (0, 2) and not file._pieces)
    content = b""
    async for piece in file:
        content += piece
        assert file.size <= file.at_most
    assert file.size == len(content)
    assert file.at_most - len(content) in (0, 2)
    return file.claimed_name, content


async def refused(incoming: Request, longest: int = 1_000_000, seconds: float = 60) -> Problem:
    with pytest.raises(Problem) as error:
        await read(incoming, longest, seconds)
    return error.value


TRICKY = st.sampled_from([b"\r\n", b"\r", b"--", END[:-4], END[:7], b"\r\n\r\n", BOUNDARY.encode(), b"x", b"\0"])


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(TRICKY | st.binary(max_size=20), max_size=12),
    end=st.sampled_from([END, END[:-2]]),
    cuts=st.lists(st.integers(0, 400), max_size=8).map(sorted),
)
async def test_a_file_comes_out_as_it_went_in_however_it_is_cut(
    parts: list[bytes], end: bytes, cuts: list[int]
) -> None:
    content = b"".join(parts)
    assume(b"\r\n--" + BOUNDARY.encode() not in b"\r\n" + content)  # a sender chooses one that is not in the file
    body = form(content, end)
    chunks = [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert await read(request(*chunks)) == (b"a.txt", content)


async def test_a_form_may_come_byte_by_byte() -> None:
    body = form(b"hello\r\n--")
    assert await read(request(*[bytes([one]) for one in body])) == (b"a.txt", b"hello\r\n--")


async def test_further_headers_of_the_part_do_not_matter() -> None:
    incoming = head(more="Content-Type: text/html\r\nX-Other: 1\r\n") + b"hi" + END
    assert await read(request(incoming)) == (b"a.txt", b"hi")


async def test_a_name_comes_as_the_bytes_it_was() -> None:
    body = head(filename="NAME").replace(b"NAME", b"Gr\xf6\xdfe.txt") + b"hi" + END
    assert (await read(request(body)))[0] == b"Gr\xf6\xdfe.txt"
    body = head(filename="NAME").replace(b"NAME", "a; b😀.txt".encode()) + b"hi" + END
    assert (await read(request(body)))[0] == "a; b😀.txt".encode()


WRONG: dict[str, tuple[bytes, ...]] = {
    "nothing": (b"",),
    "no form": (b"hello",),
    "an empty form": (f"--{BOUNDARY}--\r\n".encode(),),
    "another boundary": (form(b"hi").replace(b"gecko", b"lizard"),),
    "no end": (head() + b"hi",),
    "half an end": (form(b"hi", END[:-6]),),
    "no headers": (f"--{BOUNDARY}\r\n\r\nhi".encode() + END,),
    "headers without end": (head()[:-4],),
    "a field in place of a file": (head(filename=None) + b"hi" + END,),
    "another field's file": (head("file") + b"hi" + END,),
    "a field before the file": (head("note", None) + b"hi\r\n" + form(b"hi"),),
    "a field behind the file": (head() + b"hi\r\n" + head("note", None) + b"hi" + END,),
    "two files": (head() + b"hi\r\n" + form(b"ho"),),
    "a name in the extended form only": (head(filename=None, more="").replace(b'"files"', b"\"files\"; filename*=utf-8''a.txt") + b"hi" + END,),
    "a header of a megabyte": (head(more="X-Long: " + "x" * 1_000_000 + "\r\n") + b"hi" + END,),
    "a hundred headers": (head(more="X-Many: 1\r\n" * 100) + b"hi" + END,),
    "something behind the form": (form(b"hi") + b"x" * 100,),
    "much before the form": (b"\r\n" * 10_000 + form(b"hi"),),
}  # fmt: skip


@pytest.mark.parametrize("chunks", WRONG.values(), ids=WRONG)
async def test_what_is_no_form_with_one_file_is_refused(chunks: tuple[bytes, ...]) -> None:
    for cut in (chunks, [bytes([one]) for one in chunks[0][:20_000]] + [chunks[0][20_000:]]):
        problem = await refused(request(*cut))
        assert (problem.status, problem.code) == (400, "bad_request")


@pytest.mark.parametrize("kind", ["application/json", "multipart/mixed; boundary=x", "multipart/form-data", "", ";;", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 71])  # fmt: skip
async def test_another_type_is_refused_unread(kind: str) -> None:
    assert (await refused(request(gone=True, kind=kind, length=100))).status == 415


@pytest.mark.parametrize("length", ["", "-1", "x", "1e3"])
async def test_a_body_of_unsaid_length_is_refused(length: str) -> None:
    problem = await refused(request(form(b"hi"), length=length))
    assert (problem.status, problem.code) == (411, "bad_request")


@pytest.mark.parametrize("size", [999, 1000, 1001, 1002, 1003])
@pytest.mark.parametrize("end", [END, END[:-2]])
async def test_the_limit_is_met_to_the_byte(size: int, end: bytes) -> None:
    incoming = request(form(b"x" * size, end))
    if size <= 1000:
        assert (await read(incoming, 1000))[1] == b"x" * size
    else:
        problem = await refused(incoming, 1000)
        assert (problem.status, problem.code) == (413, "file_too_large")


@pytest.mark.parametrize("length", [1000 + HEAD_BYTES + 1, 10**17, "9" * 5000])
async def test_a_body_said_to_be_too_large_is_not_read(length: int | str) -> None:
    problem = await refused(request(gone=True, length=length), 1000)
    assert (problem.status, problem.code) == (413, "file_too_large")
    assert (problem.headers.get("Connection") == "close") is (int(str(length)[:18]) > DISCARDED_BYTES)


async def test_a_file_said_to_be_too_large_is_refused_by_its_head() -> None:
    problem = await refused(request(head(), gone=True, length=len(head()) + 1003 + len(END)), 1000)
    assert (problem.status, problem.code) == (413, "file_too_large")


@pytest.mark.parametrize("told", [1, 10, len(head()) + 1, len(form(b"x" * 5000)) - 1])
async def test_more_than_was_said_is_refused(told: int) -> None:
    body = form(b"x" * 5000)
    problem = await refused(request(*[body[at : at + 100] for at in range(0, len(body), 100)], length=told))
    assert (problem.status, problem.code) == (400, "bad_request")


async def test_a_sender_that_falls_silent_is_given_up() -> None:
    problem = await refused(request(head(), *[b"x"] * 5, gap=BODY_SECONDS + 1, length=1000))
    assert problem.status == 408
    assert elapsed() == BODY_SECONDS


async def test_a_sender_that_takes_for_ever_is_given_up() -> None:
    problem = await refused(request(head(), *[b"x"] * 500, gap=1.0, length=1000), seconds=30)
    assert problem.status == 408
    assert elapsed() == 30


@pytest.mark.parametrize("chunks", [[], [head()[:20]], [head()], [head(), b"hi"], [form(b"hi")[:-3]]])
async def test_a_sender_that_goes_leaves_no_file(chunks: list[bytes]) -> None:
    problem = await refused(request(*chunks, gone=True, length=200))
    assert problem.status == 400


async def test_a_file_full_of_its_forms_delimiter_is_refused() -> None:
    """It would cost four hundred times as much to read as any other."""
    for follows in (b"x", b"-x", b"\rx"):
        assert (await refused(request(form((END[:-4] + follows) * 1000)))).status == 400


async def test_bytes_that_look_like_a_boundary_cost_no_more_than_others() -> None:
    """By count, not by the clock: pieces are joined, so that each chunk of the body is one piece."""
    for filler in (b"\r", b"\r\n", END[:-5], b"\r\n--", b"-"):
        content = (filler * 200_000)[:200_000]
        body = form(content)
        chunks = [body[at : at + 65_536] for at in range(0, len(body), 65_536)]
        file = await open_form_file(request(*chunks), 1_000_000, 60)
        pieces = [piece async for piece in file]
        assert b"".join(pieces) == content
        assert len(pieces) <= len(chunks) + 1
