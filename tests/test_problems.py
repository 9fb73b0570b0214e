"""Errors as visitors and operators get them."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from widget_proxy.problems import (
    CODES,
    Problem,
    from_upstream,
    handle_crash,
    handle_http_exception,
    handle_problem,
)
from widget_proxy.upstream import (
    AnswerTooLarge,
    BadAnswer,
    ChatbotUnavailable,
    CredentialsRefused,
    FileRefused,
    RequestRefused,
    SessionEnded,
    SessionLost,
    UpstreamBusy,
    UpstreamError,
    UpstreamUnreachable,
)

MAPPED: list[tuple[UpstreamError, str, int]] = [
    (UpstreamUnreachable("refused"), "upstream_unreachable", 503),
    (UpstreamUnreachable("silence", fate="unknown"), "upstream_unreachable", 504),
    (UpstreamBusy("429", 7.2), "upstream_busy", 503),
    (BadAnswer("<h1>marker</h1>", fate="unknown"), "upstream_error", 502),
    (AnswerTooLarge("marker", fate="unknown"), "upstream_error", 502),
    (CredentialsRefused("401 marker"), "misconfigured", 503),
    (ChatbotUnavailable("On holiday."), "chatbot_unavailable", 403),
    (SessionLost("marker"), "session_expired", 410),
    (SessionEnded("marker"), "session_ended", 409),
    (RequestRefused(400, "marker"), "bad_request", 400),
    (FileRefused(400, "marker", "size"), "file_too_large", 413),
    (FileRefused(400, "marker", "type"), "file_type_not_supported", 415),
    (FileRefused(400, "marker", "unknown"), "attachment_invalid", 400),
    (UpstreamError("marker"), "upstream_error", 502),
]


@pytest.mark.parametrize(("error", "code", "status"), MAPPED)
def test_each_upstream_error_becomes_a_problem_without_its_words(
    error: UpstreamError, code: str, status: int
) -> None:
    problem = from_upstream(error, "shop", send=True)
    assert (problem.code, problem.status) == (code, status)
    assert "marker" not in json.dumps(problem.body())
    assert problem.body()["fate"] == error.fate
    assert "fate" not in from_upstream(error, "shop").body(), "only a send has one"


def test_a_busy_upstream_says_when_to_come_back() -> None:
    assert from_upstream(UpstreamBusy("429", 7.2), "shop").headers["Retry-After"] == "8"
    assert from_upstream(UpstreamBusy("429", None), "shop").headers["Retry-After"] == "30"
    assert from_upstream(UpstreamBusy("429", 86_400), "shop").headers["Retry-After"] == "300"


def test_a_wrong_key_is_for_the_operator_to_read(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        problem = from_upstream(CredentialsRefused("start answered 401: Invalid widget embed key"), "shop")
    assert "sites.shop.embed_key" in caplog.text
    assert "widget-proxy check" in caplog.text
    assert problem.detail == "Chat is unavailable just now. Please try again later."


def test_a_problem_is_what_the_standard_says() -> None:
    response = Problem("message_empty", "Write something first.").response()
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    assert json.loads(bytes(response.body)) == {
        "type": "about:blank",
        "title": "The message is empty",
        "status": 400,
        "detail": "Write something first.",
        "code": "message_empty",
    }


def test_every_code_is_documented() -> None:
    documented = (Path(__file__).parent.parent / "docs/api.md").read_text().partition("<!-- problem codes")[2]
    for code, (status, _) in CODES.items():
        (row,) = [line for line in documented.splitlines() if line.startswith(f"| `{code}` |")]
        assert str(status) in row.split("|")[2]


def every_kind(kind: type[UpstreamError] = UpstreamError) -> set[type[UpstreamError]]:
    return {kind}.union(*map(every_kind, kind.__subclasses__()))


def test_no_kind_of_upstream_error_is_forgotten() -> None:
    assert {type(error) for error, _, _ in MAPPED} == every_kind()


def test_upstreams_words_make_no_lines_of_their_own_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    forged = "no\r\n2026-11-20 ERROR forged\x1b[2J\u2028"
    errors: list[UpstreamError] = [
        CredentialsRefused(forged), RequestRefused(400, forged), UpstreamUnreachable(forged), BadAnswer(forged),
    ]  # fmt: skip
    for error in errors:
        from_upstream(error, "shop")
    assert len(caplog.records) == 4
    for record in caplog.records:
        assert record.getMessage().isprintable()


@pytest.mark.parametrize(("seconds", "told"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (300.0, "300")])
def test_what_a_busy_upstream_says_is_whole_seconds_and_never_none(seconds: float, told: str) -> None:
    assert from_upstream(UpstreamBusy("429", seconds), "shop").headers["Retry-After"] == told


async def _problem(request: Request) -> Response:
    raise Problem("too_many_requests", "Wait.", headers={"Retry-After": "7"}, extra={"retry_in": 7})


async def _too_large(request: Request) -> Response:
    raise HTTPException(413)


async def _crash(request: Request) -> Response:
    raise RuntimeError("marker-secret")


@pytest.fixture
def client() -> TestClient:
    app = Starlette(
        routes=[Route("/problem", _problem), Route("/large", _too_large), Route("/crash", _crash)],
        exception_handlers={
            Problem: handle_problem,
            HTTPException: handle_http_exception,
            Exception: handle_crash,
        },
    )
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "detail"),
    [
        ("GET", "/problem", 429, "too_many_requests", "Wait."),
        ("GET", "/nowhere", 404, "not_found", "There is no such address."),
        ("POST", "/problem", 405, "method_not_allowed", "POST is not possible here."),
        ("GET", "/large", 413, "bad_request", "The request cannot be read."),
        ("GET", "/crash", 500, "internal_error", "Something went wrong on our side. Please try again."),
    ],
)
def test_every_error_has_one_shape(
    client: TestClient, method: str, path: str, status: int, code: str, detail: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert {key: body[key] for key in ("type", "status", "code", "detail")} == {
        "type": "about:blank",
        "status": status,
        "code": code,
        "detail": detail,
    }
    assert body["title"]
    assert "marker" not in answer.text


def test_an_errors_own_headers_go_along(client: TestClient) -> None:
    answer = client.get("/problem")
    assert answer.headers["Retry-After"] == "7"
    assert answer.json()["retry_in"] == 7
    assert "GET" in client.post("/problem").headers["Allow"]


async def _ask(handler: Callable[[Request, Exception], Awaitable[Response]]) -> None:
    await handler(Request({"type": "http", "headers": []}), ValueError("not ours"))


@pytest.mark.parametrize("handler", [handle_problem, handle_http_exception])
def test_a_handler_answers_only_for_its_own_kind(
    handler: Callable[[Request, Exception], Awaitable[Response]],
) -> None:
    with pytest.raises(ValueError, match="not ours"):
        asyncio.run(_ask(handler))
