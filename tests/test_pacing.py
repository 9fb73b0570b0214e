"""When to ask next, given times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widget_proxy.pacing import AnswerRhythm, Throttle, backoff, clamp_retry_after, next_message_poll

RHYTHM = AnswerRhythm(shortest=0.25, longest=3.0, growth=0.15)
CHANCE = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(("waited", "wait"), [(0, 0.25), (1, 0.25), (4, 0.6), (10, 1.5), (20, 3.0), (10_000, 3.0)])
def test_an_answer_is_asked_for_less_often_the_longer_it_takes(waited: float, wait: float) -> None:
    assert RHYTHM.next_poll(waited) == pytest.approx(wait)


@given(CHANCE)
def test_a_message_poll_is_never_early_and_not_much_late(chance: float) -> None:
    assert 30.0 <= next_message_poll(30.0, chance) <= 33.0


@given(attempt=st.integers(1, 1000), chance=CHANCE)
def test_backoff_grows_to_its_bound_and_stays_jittered_there(attempt: int, chance: float) -> None:
    wait = backoff(attempt, chance)
    assert 0.25 <= wait <= 15.0
    assert backoff(attempt, 0.0) < backoff(attempt, 0.9)


def test_backoff_doubles() -> None:
    assert [backoff(attempt, 0.999999) for attempt in range(1, 5)] == pytest.approx([0.5, 1, 2, 4], rel=1e-3)


@pytest.mark.parametrize(("told", "wait"), [(None, 30), (0, 1), (7, 7), (86_400, 300), (-5, 1)])
def test_a_pause_is_what_upstream_said_within_reason(told: float | None, wait: float) -> None:
    assert clamp_retry_after(told, 0.0) == wait
    assert wait < clamp_retry_after(told, 0.99) <= wait * 1.1


def test_a_shorter_pause_does_not_undo_a_longer_one() -> None:
    throttle = Throttle()
    assert throttle.wait(100.0) == 0.0
    throttle.pause(100.0, 60.0)
    throttle.pause(110.0, 5.0)
    assert throttle.wait(120.0) == 40.0
    assert throttle.wait(161.0) == 0.0


@given(answered=st.floats(0, 300))
def test_an_answer_is_late_by_a_small_share_of_its_time_and_costs_few_polls(answered: float) -> None:
    now, polls = 0.0, 0
    while now < answered:
        now += RHYTHM.next_poll(now)
        polls += 1
    assert now - answered <= max(0.25, min(3.0, 0.15 * now))
    assert polls <= 32 + answered / 3.0


@given(interval=st.floats(1, 3600), chance=CHANCE)
def test_an_interval_is_never_undercut(interval: float, chance: float) -> None:
    assert next_message_poll(interval, chance) >= interval


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 300)), max_size=20), st.floats(0, 2e6))
def test_a_pause_ends_when_the_longest_order_does(orders: list[tuple[float, float]], now: float) -> None:
    throttle = Throttle()
    for moment, seconds in orders:
        throttle.pause(moment, seconds)
    end = max((moment + seconds for moment, seconds in orders), default=0.0)
    assert throttle.wait(now) == pytest.approx(max(0.0, end - now))
