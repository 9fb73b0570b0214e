"""Handles: sealed, bound, dated, and nothing else opens."""

import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widget_proxy.handles import (
    FILE_LIFETIME,
    LIFETIME,
    ChatSession,
    HandleExpired,
    HandleInvalid,
    Handles,
    UploadedRef,
    _DatedSigner,
)

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


def test_a_reference_to_a_file_is_its_sessions_alone() -> None:
    ours, file = handles(), UploadedRef(471100, 12)
    ref = ours.seal_file(SESSION, file)
    assert ours.open_file(SESSION, ref) == file
    assert "471100" not in repr(file)
    assert ours.seal_file(SESSION, file) != ref, "two of one file do not look alike"
    task = ours.seal_task(SESSION, "t-1", NOW).ref
    for session, strange in (
        (replace(SESSION, session_id="another"), ref),
        (replace(SESSION, site="another"), ref),
        (SESSION, task),
        (SESSION, ours.seal_session(SESSION)),
        (SESSION, ref[:-1]),
        (SESSION, ref + "A"),
        (SESSION, ""),
        (SESSION, handles("x" * 32).seal_file(SESSION, file)),
    ):
        with pytest.raises(HandleInvalid):
            ours.open_file(session, strange)
    with pytest.raises(HandleInvalid):
        ours.open_task(SESSION, ref)


def test_a_reference_to_a_file_ends_before_upstream_drops_the_file() -> None:
    ref = handles().seal_file(SESSION, UploadedRef(1, 1))
    handles(at=NOW + FILE_LIFETIME).open_file(SESSION, ref)
    with pytest.raises(HandleExpired):
        handles(at=NOW + FILE_LIFETIME + timedelta(seconds=1)).open_file(SESSION, ref)
    assert timedelta(hours=24) > FILE_LIFETIME


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_no_change_of_a_handle_opens(data: st.DataObject) -> None:
    ours = handles()
    handle = ours.seal_session(SESSION)
    position = data.draw(st.integers(0, len(handle) - 1))
    other = data.draw(st.sampled_from("ABCxyz019_-.=+/ é\n"))
    changed = handle[:position] + other + handle[position + 1 :]
    if changed != handle:
        with pytest.raises(HandleInvalid):
            ours.open_session(changed)


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


CHARACTERS = "ABCabcXYZxyz0189_-.=+/ é\n\0"


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_insertion_deletion_or_exchange_opens(data: st.DataObject) -> None:
    ours = handles()
    handle = ours.seal_session(SESSION)
    begin = data.draw(st.integers(0, len(handle)))
    end = data.draw(st.integers(begin, min(len(handle), begin + 5)))
    changed = handle[:begin] + data.draw(st.text(CHARACTERS, max_size=5)) + handle[end:]
    if changed != handle:
        with pytest.raises(HandleInvalid):
            ours.open_session(changed)


def test_a_handle_has_one_spelling_only() -> None:
    """The bits that base64 leaves over at the end mean nothing, and may not be anything else all the same."""
    ours = handles()
    handle, task = ours.seal_session(SESSION), ours.seal_task(SESSION, "task-1", NOW)
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        if not handle.endswith(last):
            with pytest.raises(HandleInvalid):
                ours.open_session(handle[:-1] + last)
        if not task.ref.endswith(last):
            with pytest.raises(HandleInvalid):
                ours.open_task(SESSION, task.ref[:-1] + last)
    for spelling in (handle + "=", handle + "A", handle + ".", "." + handle, handle.swapcase(), handle + " "):
        with pytest.raises(HandleInvalid):
            ours.open_session(spelling)


def test_the_parts_of_two_handles_make_no_third() -> None:
    one = handles().seal_session(SESSION).split(".")
    two = handles().seal_session(replace(SESSION, site="other", started=NOW + timedelta(seconds=9))).split(".")
    for mixed in (
        [one[0], one[1], two[2]],
        [one[0], two[1], one[2]],
        [two[0], one[1], one[2]],
        [one[0], two[1], two[2]],
    ):
        with pytest.raises(HandleInvalid):
            handles().open_session(".".join(mixed))


@given(value=st.binary(max_size=200))
def test_what_is_signed_with_the_key_but_not_sealed_by_us_does_not_open(value: bytes) -> None:
    """Even who could sign could not seal."""
    key = "k" * 32
    signer = _DatedSigner(
        [key], salt="widget-proxy.handle", sep=".", key_derivation="hmac", digest_method=hashlib.sha256
    )
    signed = signer.sign_at(base64.urlsafe_b64encode(value).rstrip(b"="), NOW)
    with pytest.raises(HandleInvalid):
        handles(key).open_session(signed)


def test_a_handle_says_of_which_site_it_is() -> None:
    other = replace(SESSION, site="other")
    assert handles().open_session(handles().seal_session(other)).site == "other"
    task = handles().seal_task(SESSION, "task-1", NOW)
    with pytest.raises(HandleInvalid):
        handles().open_task(other, task.ref)


def test_tasks_rotate_with_the_keys_too() -> None:
    old, new = "o" * 32, "n" * 32
    task = handles(old).seal_task(SESSION, "task-1", NOW)
    assert handles(old, new).open_task(SESSION, task.ref) == task
    with pytest.raises(HandleInvalid):
        handles(new).open_task(SESSION, task.ref)


def test_a_task_of_the_future_does_not_open() -> None:
    task = handles().seal_task(SESSION, "task-1", NOW)
    with pytest.raises(HandleInvalid):
        handles(at=NOW - timedelta(seconds=62)).open_task(SESSION, task.ref)


def test_two_handles_of_one_session_differ_and_both_open() -> None:
    one, two = handles().seal_session(SESSION), handles().seal_session(SESSION)
    assert one != two, "or equal sessions could be told by their handles"
    assert handles().open_session(one) == handles().open_session(two)
