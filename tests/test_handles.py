"""Handles: sealed, bound, dated, and nothing else opens."""

import base64
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widget_proxy.handles import LIFETIME, ChatSession, HandleExpired, HandleInvalid, Handles

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SESSION = ChatSession(
    "shop", "0b9d8a2e-1111-4222-8333-444455556666", "marker-session-token", "https://shop.example", NOW
)


def handles(*keys: str, at: datetime = NOW) -> Handles:
    return Handles(keys or ("k" * 32,), lambda: at)


def test_what_is_sealed_opens_again() -> None:
    assert handles().open_session(handles().seal_session(SESSION)) == SESSION
    tokenless = replace(SESSION, token=None)
    assert handles().open_session(handles().seal_session(tokenless)) == tokenless


def test_nothing_of_upstream_can_be_read_from_a_handle() -> None:
    handle = handles().seal_session(SESSION)
    readable = handle.encode()
    for part in handle.split("."):
        readable += base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    for secret in (SESSION.session_id, "marker-session-token", "shop.example"):
        assert secret.encode() not in readable
    assert re.fullmatch(r"[A-Za-z0-9_.-]{50,600}", handle), "it fits into a header as it is"


def test_neither_session_nor_task_prints_what_belongs_to_upstream() -> None:
    task = handles().seal_task(SESSION, "marker-task", NOW)
    assert SESSION.session_id not in repr(SESSION)
    assert "marker" not in repr(SESSION) + repr(task)


@settings(max_examples=500)
@given(data=st.data())
def test_no_change_of_a_handle_opens(data: st.DataObject) -> None:
    handle = handles().seal_session(SESSION)
    position = data.draw(st.integers(0, len(handle) - 1))
    other = data.draw(st.sampled_from("ABCxyz019_-.=+/ é\n"))
    changed = handle[:position] + other + handle[position + 1 :]
    if changed == handle:
        return
    try:
        opened = handles().open_session(changed)
    except HandleInvalid:
        return
    # The last character of a base64 text has bits that mean nothing; what opens is what was sealed.
    assert opened == SESSION
    assert position in _ends(handle)


def _ends(handle: str) -> set[int]:
    return {index - 1 for index in range(1, len(handle) + 1) if index == len(handle) or handle[index] == "."}


@given(st.text(max_size=200))
def test_nothing_made_up_opens(text: str) -> None:
    with pytest.raises(HandleInvalid):
        handles().open_session(text)


def test_a_very_long_one_is_not_looked_at() -> None:
    with pytest.raises(HandleInvalid):
        handles().open_session(handles().seal_session(SESSION) + "A" * 5000)


def test_a_handle_of_another_key_does_not_open() -> None:
    with pytest.raises(HandleInvalid):
        handles("x" * 32).open_session(handles("k" * 32).seal_session(SESSION))


def test_keys_rotate_the_last_one_signs_and_all_are_accepted() -> None:
    old, new = "o" * 32, "n" * 32
    before = handles(old).seal_session(SESSION)
    assert handles(old, new).open_session(before) == SESSION
    after = handles(old, new).seal_session(SESSION)
    assert handles(new).open_session(after) == SESSION
    with pytest.raises(HandleInvalid):
        handles(old).open_session(after)


def test_a_handle_expires_a_little_before_upstreams_token() -> None:
    handle = handles().seal_session(SESSION)
    assert timedelta(days=7) - timedelta(minutes=5) == LIFETIME
    assert handles(at=NOW + LIFETIME).open_session(handle) == SESSION
    with pytest.raises(HandleExpired):
        handles(at=NOW + LIFETIME + timedelta(seconds=2)).open_session(handle)


def test_a_handle_of_the_future_opens_only_within_the_skew_of_clocks() -> None:
    handle = handles().seal_session(SESSION)
    assert handles(at=NOW - timedelta(seconds=59)).open_session(handle) == SESSION
    with pytest.raises(HandleInvalid):
        handles(at=NOW - timedelta(seconds=62)).open_session(handle)


def test_a_task_opens_only_for_its_own_session_and_as_a_task() -> None:
    task = handles().seal_task(SESSION, "task-1", NOW)
    assert handles().open_task(SESSION, task.ref) == task
    other = replace(SESSION, session_id="0b9d8a2e-1111-4222-8333-444455557777")
    with pytest.raises(HandleInvalid):
        handles().open_task(other, task.ref)
    with pytest.raises(HandleInvalid):
        handles().open_session(task.ref)
    with pytest.raises(HandleInvalid):
        handles().open_task(SESSION, handles().seal_session(SESSION))


def test_the_same_session_of_two_sites_has_two_logs() -> None:
    assert SESSION.key != replace(SESSION, site="other").key
