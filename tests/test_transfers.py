"""Places for files on their way: so many in all, of a session, of an address."""

from contextlib import ExitStack

import pytest

from widget_proxy.problems import Problem
from widget_proxy.transfers import MOST_OF_A_SESSION, Transfers


def refusal(transfers: Transfers, session: str, address: str | None) -> str | None:
    """What somebody is told who comes now; None who gets a place, and leaves it."""
    try:
        with transfers.room(session, address):
            return None
    except Problem as problem:
        return f"{problem.code}, {problem.headers['Retry-After']}"


def test_a_session_has_three_places() -> None:
    transfers = Transfers(20)
    with ExitStack() as stack:
        for number in range(MOST_OF_A_SESSION):
            stack.enter_context(transfers.room("mine", f"203.0.113.{number}"))
        assert refusal(transfers, "mine", "203.0.113.9") == "too_many_requests, 5"
        assert refusal(transfers, "another", "203.0.113.9") is None


def test_an_address_has_a_quarter_of_them_however_many_sessions_it_has() -> None:
    transfers = Transfers(20)
    with ExitStack() as stack:
        for number in range(5):
            stack.enter_context(transfers.room(f"session {number}", "203.0.113.7"))
        assert refusal(transfers, "another session", "203.0.113.7") == "too_many_requests, 5"
        assert refusal(transfers, "another session", "203.0.113.8") is None
        assert refusal(transfers, "another session", None) is None, "a Unix socket without a proxy that tells"
    assert refusal(transfers, "another session", "203.0.113.7") is None


def test_where_there_are_few_an_address_has_as_many_as_a_session() -> None:
    transfers = Transfers(4)
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(transfers.room(f"session {number}", "203.0.113.7"))
        assert refusal(transfers, "another session", "203.0.113.7") == "too_many_requests, 5"
        stack.enter_context(transfers.room("another session", "203.0.113.8"))
        assert refusal(transfers, "one more", "203.0.113.9") == "unavailable, 5"


def test_a_place_is_given_back_whatever_happens_and_nothing_is_kept_of_it() -> None:
    transfers = Transfers(20)

    def cut_off() -> None:
        with transfers.room("mine", "203.0.113.7"):
            assert transfers.running == 1
            raise OSError("cut off")

    with pytest.raises(OSError, match="cut off"):
        cut_off()
    assert transfers.running == 0
    assert not transfers._sessions
    assert not transfers._addresses
