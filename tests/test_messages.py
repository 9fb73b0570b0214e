"""Keys, moments and events."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widget_proxy.messages import (
    Message,
    done_event,
    format_moment,
    message_event,
    message_key,
    notice_event,
    parse_moment,
)

MOMENT = datetime(2026, 11, 20, 23, 28, 16, 129136, tzinfo=UTC)
MESSAGE = Message(MOMENT, "assistant", "Hello")


def test_the_same_message_has_the_same_key_wherever_it_is_learned() -> None:
    elsewhere = replace(MESSAGE, created_at=MOMENT.astimezone(timezone(timedelta(hours=2))))
    assert message_key(elsewhere) == message_key(MESSAGE)
    assert len(message_key(MESSAGE)) == 32


@pytest.mark.parametrize(
    "other",
    [
        replace(MESSAGE, created_at=MOMENT + timedelta(microseconds=1)),
        replace(MESSAGE, created_at=None),
        replace(MESSAGE, role="user"),
        replace(MESSAGE, content="Hello "),
    ],
)
def test_another_message_has_another_key(other: Message) -> None:
    assert message_key(other) != message_key(MESSAGE)


def test_two_equal_messages_in_one_microsecond_have_two_keys() -> None:
    assert message_key(MESSAGE, 0) != message_key(MESSAGE, 1)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T23:28:16.129136Z", MOMENT),
        ("2026-11-20T23:28:16Z", MOMENT.replace(microsecond=0)),
        ("2026-11-21T01:28:16.129136+02:00", MOMENT),
        ("2026-11-20T23:28:16.129136", MOMENT),
        ("not-a-date", None),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("", None),
    ],
)
def test_upstreams_moments_are_parsed_and_never_compared_as_text(text: str, moment: datetime | None) -> None:
    assert parse_moment(text) == moment


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda moment: moment.year >= 1970))
def test_a_written_moment_is_read_again(moment: datetime) -> None:
    assert parse_moment(format_moment(moment)) == moment
    assert len(format_moment(moment)) == 27, "always six digits, so that the texts sort as the moments do"


def test_events_say_what_makes_them_the_same() -> None:
    assert message_event(MESSAGE, "k", "<p>").identity == "k"
    assert done_event("t", "complete").identity == done_event("t", "failed").identity, "one end for each message"
    assert notice_event("upstream_busy", "x", 1.234).data["retry_in"] == 1.2
    assert notice_event("restored", "x").identity is None
