"""Bodies: what is read, what is refused and why, and those that come slowly or not at all."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import Message

from tests.virtual_time import ANYIO_OPTIONS, elapsed
from widget_proxy.bodies import BODY_SECONDS, MessageBody, Participant, StartBody, first_value, read_body
from widget_proxy.problems import Problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return ANYIO_OPTIONS


def request(*chunks: bytes, gap: float = 0.0, headers: dict[str, str] | None = None) -> Request:
    left = list(chunks)

    async def receive() -> Message:
        await asyncio.sleep(gap)
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    named = {"content-type": "application/json"} | (headers or {})
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in named.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


async def test_a_body_may_come_in_pieces() -> None:
    body = await read_body(request(b'{"mess', b'age": "hi"}'), MessageBody, 1000)
    assert body.message == "hi"


async def test_a_body_that_does_not_come_is_given_up() -> None:
    with pytest.raises(Problem) as refused:
        await read_body(request(*[b" "] * 100, gap=1.0), MessageBody, 1000)
    assert refused.value.status == 408
    assert elapsed() == BODY_SECONDS


async def test_a_body_that_grows_too_large_is_refused_before_it_is_whole() -> None:
    chunks = [b" " * 100] * 1000
    with pytest.raises(Problem) as refused:
        await read_body(request(*chunks, gap=0.01), MessageBody, 1000)
    assert refused.value.status == 413
    assert elapsed() < 0.2


async def test_every_mistake_is_named() -> None:
    with pytest.raises(Problem) as refused:
        await read_body(request(b'{"mesage": 1, "attachments": "x"}'), MessageBody, 1000)
    assert "message is missing." in refused.value.detail
    assert "There is no field 'mesage'." in refused.value.detail
    assert "attachments" in refused.value.detail


async def refused(*chunks: bytes, headers: dict[str, str] | None = None, longest: int = 1000) -> Problem:
    with pytest.raises(Problem) as error:
        await read_body(request(*chunks, headers=headers), MessageBody, longest)
    return error.value


@pytest.mark.parametrize(
    "named", ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"]
)
async def test_only_json_is_read(named: str) -> None:
    problem = await refused(b'{"message": "hi"}', headers={"content-type": named})
    assert (problem.status, problem.code) == (415, "bad_request")


@pytest.mark.parametrize("named", ["application/json", "Application/JSON; charset=utf-8", " application/json "])
async def test_json_is_json_however_it_is_written(named: str) -> None:
    body = await read_body(request(b'{"message": "hi"}', headers={"content-type": named}), MessageBody, 1000)
    assert body.message == "hi"


async def test_a_body_announced_too_large_is_not_read() -> None:
    problem = await refused(headers={"content-length": "1001"})  # nothing could be received
    assert problem.status == 413
    assert problem.headers["Connection"] == "close"


async def test_a_length_beyond_counting_is_too_large() -> None:
    assert (await refused(headers={"content-length": "9" * 5000})).status == 413


@pytest.mark.parametrize("length", ["", "x", "-1", "\u00b2", "1e9", "+1"])
async def test_a_length_that_is_none_does_not_matter(length: str) -> None:
    body = await read_body(request(b'{"message": "hi"}', headers={"content-length": length}), MessageBody, 1000)
    assert body.message == "hi"


@pytest.mark.parametrize("size", [99, 100, 101])
async def test_the_limit_is_met_to_the_byte(size: int) -> None:
    raw = b'{"message": "hi"}'.ljust(size)
    if size > 100:
        assert (await refused(raw, longest=100)).status == 413
    else:
        assert (await read_body(request(raw), MessageBody, 100)).message == "hi"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"message": "\xff"}', "not valid JSON"),
        (b'{"message": "\\ud800"}', "not valid JSON"),
        (b'{"message": "hi"} x', "not valid JSON"),
        (b"[" * 900, "not valid JSON"),
        (b'{"message": "hi", "page_context": ' + b'{"a":' * 150, "not valid JSON"),
        (b"[]", "The body"),
        (b"null", "The body"),
        (b"7", "The body"),
        (b"{}", "message is missing."),
        (b'{"message": 7}', "message: input should be a valid string."),
        (b'{"message": null}', "message: input should be a valid string."),
        (b'{"message": ["hi"]}', "message: input should be a valid string."),
        (b'{"message": "hi", "attachments": [1.5]}', "attachments.0"),
        (b'{"message": "hi", "attachments": [true]}', "attachments.0"),
        (b'{"message": "hi", "x": 1}', "There is no field 'x'."),
    ],
)
async def test_what_is_wrong_is_said_in_a_sentence(raw: bytes, told: str) -> None:
    problem = await refused(raw)
    assert (problem.status, problem.code) == (400, "bad_request")
    assert told in problem.detail


async def test_what_was_sent_is_not_repeated() -> None:
    problem = await refused(b'{"message": ["marker"], "attachments": "marker"}')
    assert "marker" not in problem.detail
    assert len((await refused(b'{"' + b"k" * 900 + b'": 1}')).detail) < 200
    many = b"{" + b",".join(b'"k%d": 1' % number for number in range(80)) + b"}"
    assert (await refused(many)).detail.count(".") <= 5


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'{"participant": {"id": ""}}', "participant.id"),
        (b'{"participant": {"name": ""}}', "participant.name"),
        (b'{"participant": {"id": "' + b"x" * 256 + b'"}}', "participant.id"),
        (b'{"participant": {"id": 7}}', "participant.id"),
        (b'{"participant": {"email": "a@b.example"}}', "participant.email"),
        (b'{"participant": "Ada"}', "participant"),
    ],
)
async def test_a_participant_meets_upstreams_own_limits(raw: bytes, told: str) -> None:
    with pytest.raises(Problem) as error:
        await read_body(request(raw), StartBody, 1000)
    assert told in error.value.detail


async def test_all_of_a_start_may_be_left_out() -> None:
    body = await read_body(request(b"{}"), StartBody, 1000)
    assert body == StartBody()
    named = await read_body(request(b'{"participant": {"id": "' + b"x" * 255 + b'"}}'), StartBody, 1000)
    assert named.participant == Participant(id="x" * 255)


def test_a_value_may_be_given_once() -> None:
    assert first_value(QueryParams("a=1&b=2"), "a") == "1"
    assert first_value(QueryParams("a="), "a") == ""
    assert first_value(QueryParams("b=2"), "a") is None
    with pytest.raises(Problem, match="a is given more than once"):
        first_value(QueryParams("a=1&a=1"), "a")
