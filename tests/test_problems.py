"""Errors as visitors and operators get them."""

import json
import logging
from pathlib import Path

import pytest

from widget_proxy.problems import CODES, Problem, from_upstream
from widget_proxy.upstream import (
    BadAnswer,
    ChatbotUnavailable,
    CredentialsRefused,
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
    (CredentialsRefused("401 marker"), "misconfigured", 503),
    (ChatbotUnavailable("On holiday."), "chatbot_unavailable", 403),
    (SessionLost("marker"), "session_expired", 410),
    (SessionEnded("marker"), "session_ended", 409),
    (RequestRefused(400, "marker"), "bad_request", 400),
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
