"""What upstream says of its own limits: remembered while it is true, of a bounded number of buckets."""

import httpx
import pytest

from widget_proxy.upstream import limits
from widget_proxy.upstream.limits import Standings


def told(limit: object = 300, remaining: object = 299, reset: object = 300) -> httpx.Headers:
    named = {"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": remaining, "X-RateLimit-Reset": reset}
    return httpx.Headers({name: str(value) for name, value in named.items() if value is not None})


def test_a_standing_is_true_until_its_bucket_is_full_again() -> None:
    standings = Standings()
    standings.note("a", told(remaining=7, reset=60), 100.0)
    found = standings.get("a", 130.0)
    assert found is not None
    assert (found.limit, found.remaining, found.left(130.0)) == (300, 7, 30.0)
    assert standings.get("a", 160.0) is None
    assert standings.get("b", 100.0) is None


@pytest.mark.parametrize("headers", [told(limit=None), told(remaining="many"), told(reset="-1"), told(limit=0)])
def test_what_is_half_said_or_no_number_changes_nothing(headers: httpx.Headers) -> None:
    standings = Standings()
    standings.note("a", told(), 0.0)
    standings.note("a", headers, 1.0)
    found = standings.get("a", 1.0)
    assert found is not None
    assert found.heard == 0.0


def test_sessions_that_are_over_are_forgotten_as_others_come() -> None:
    standings = Standings()
    for second in range(10_000):
        standings.note(f"session {second}", told(reset=300), float(second))
    assert len(standings) == 300
    assert standings.get("session 9999", 9_999.0) is not None


def test_no_more_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEPT_STANDINGS", 3)
    standings = Standings()
    for name in ("a", "b", "c", "a", "d"):
        standings.note(name, told(), 0.0)
    assert [name for name in "abcd" if standings.get(name, 0.0)] == ["a", "c", "d"], "those heard of last"


def test_a_bucket_that_is_full_at_once_is_no_standing() -> None:
    standings = Standings()
    standings.note("a", told(reset=0), 5.0)
    assert standings.get("a", 5.0) is None
    assert len(standings) == 0
