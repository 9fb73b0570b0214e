import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from widget_proxy.log import LogFormat, log_to_stderr

logger = logging.getLogger("widget_proxy.somewhere")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_line_of_json_says_when_where_how_grave_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", "json")
    logger.warning("site %s: upstream asks to wait %s s", "shop", 30)
    (line,) = lines(capsys)
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "level": "warning",
        "logger": "widget_proxy.somewhere",
        "event": "site shop: upstream asks to wait 30 s",
    }


def test_what_is_logged_for_a_request_has_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", "json")
    with structlog.contextvars.bound_contextvars(request_id="d0d0caca"):
        logger.info("during")
    logger.info("after")
    during, after = map(json.loads, lines(capsys))
    assert during["request_id"] == "d0d0caca"
    assert "request_id" not in after


def test_less_grave_lines_than_asked_for_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("warning")
    logger.info("of no interest")
    assert lines(capsys) == []


HOSTILE = "no\r\n2026-11-21 INFO all is well\x1b[2J\x9b"


def test_a_line_break_in_a_message_begins_no_new_line_on_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info")
    logger.warning("upstream says %s", HOSTILE)
    (line,) = lines(capsys)
    assert r"no\x0d\x0a2026-11-21 INFO all is well\x1b[2J\x9b" in line


def test_a_line_break_in_a_message_begins_no_new_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", "json")
    logger.warning("upstream says %s", HOSTILE)
    (line,) = lines(capsys)
    assert line.isprintable()
    assert json.loads(line)["event"] == f"upstream says {HOSTILE}"


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_shows_no_values(log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", log_format)

    def fails() -> None:
        secret = "marker-value-" + "7"  # a renderer of local variables would show it
        raise RuntimeError(f"of {len(secret)} characters")

    try:
        fails()
    except RuntimeError:
        logger.exception("a fault")
    written = capsys.readouterr().err
    assert "RuntimeError: of 14 characters" in written
    assert "marker-value-7" not in written


@pytest.mark.parametrize("name", ["httpx", "aiohttp", "redis"])
def test_libraries_that_write_addresses_are_quiet(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("debug")
    logging.getLogger(name).info("GET https://upstream.example.com/api/chat/id/poll/")
    assert lines(capsys) == []
