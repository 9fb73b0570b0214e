"""When to ask next, and whether there is room to, given times."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widget_proxy.pacing import (
    THINKING_SECONDS,
    Bucket,
    Budget,
    Purpose,
    answer_polls,
    answer_stretch,
    backoff,
    clamp_retry_after,
    jittered,
    message_interval,
    message_pause,
    message_reserve,
    message_stretch,
    thinking,
)

CHANCE = st.floats(0, 1, exclude_max=True)
LEVEL = st.floats(0, 1)


@pytest.mark.parametrize(
    ("text", "requests", "seconds"),
    [("2000/5m", 2000, 300), ("1/s", 1, 1), (" 300/15s ", 300, 15), ("10/1.5h", 10, 5400), ("7/0.5s", 7, 0.5)],
)
def test_a_budget_is_a_number_over_a_time(text: str, requests: int, seconds: float) -> None:
    assert Budget.parse(text) == Budget(requests, seconds)


@pytest.mark.parametrize(
    "text", ["", "2000", "2000/5", "0/5m", "-1/m", "1/0m", "2000/5 m", "x/m", "2000/5d", "1e9/m"]
)
def test_what_is_no_budget_says_how_one_is_written(text: str) -> None:
    with pytest.raises(ValueError, match="Write it as 2000/5m"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["2000/5m", "2000/90s", "7/2h"])
def test_a_budget_is_shown_as_it_is_written(text: str) -> None:
    assert str(Budget.parse(text)) == text


@given(
    requests=st.integers(1, 5000),
    seconds=st.floats(1, 3600),
    waits=st.lists(st.floats(0, 200), min_size=1, max_size=300),
    reserve=st.sampled_from(list(Purpose)),
)
def test_no_window_holds_more_than_the_budget_wherever_it_begins(
    requests: int, seconds: float, waits: list[float], reserve: Purpose
) -> None:
    budget, now, taken = Budget(requests, seconds), 1000.0, list[float]()
    bucket = Bucket(budget.capacity, now)
    for wait in waits:
        now += wait
        for _ in range(5):
            bucket, denied = bucket.take(budget, reserve.value, now)
            if not denied:
                taken.append(now)
    for start in taken:
        assert sum(start <= moment < start + seconds for moment in taken) <= max(requests, 1)


def test_a_denied_request_may_go_after_the_wait_it_was_told() -> None:
    budget, bucket = Budget(100, 100.0), Bucket(0.0, 50.0)
    bucket, wait = bucket.take(budget, 0.0, 50.0)
    assert wait == pytest.approx(1 / 0.9)
    bucket, wait = bucket.take(budget, 0.0, 50.0 + wait)
    assert wait == 0.0


def test_what_is_left_goes_to_the_more_urgent_first() -> None:
    budget, bucket = Budget(2000, 300.0), Bucket(200.0, 0.0)
    spent = {}
    for purpose in (Purpose.MESSAGES, Purpose.ANSWER, Purpose.SEND):
        spent[purpose] = 0
        while True:
            bucket, wait = bucket.take(budget, purpose.value, 0.0)
            if wait:
                break
            spent[purpose] += 1
    assert spent == {Purpose.MESSAGES: 100, Purpose.ANSWER: 90, Purpose.SEND: 10}


def test_a_clock_that_steps_back_gives_nothing_and_takes_nothing() -> None:
    budget = Budget(100, 100.0)
    bucket, _ = Bucket(5.0, 100.0).take(budget, 0.0, 40.0)
    assert bucket.tokens == 4.0


def test_what_is_given_back_can_be_taken_again_and_is_never_more_than_there_was() -> None:
    budget = Budget(100, 100.0)
    taken, _ = Bucket(10.0, 0.0).take(budget, 0.0, 0.0)
    assert taken.give_back(budget) == Bucket(10.0, 0.0)
    assert Bucket(9.5, 0.0).give_back(budget).tokens == budget.capacity
    assert Bucket(3.0, 0.0, 60.0).give_back(budget).take(budget, 0.0, 1.0)[1] == 59.0, "a pause is a pause"


def test_after_a_pause_everybody_begins_slowly() -> None:
    budget = Budget(2000, 300.0)
    bucket = Bucket(200.0, 0.0).pause(0.0, 60.0).pause(1.0, 5.0)
    assert bucket.take(budget, 0.0, 59.0)[1] == pytest.approx(1.0), "a shorter order does not undo a longer one"
    assert bucket.take(budget, 0.0, 60.1)[0].level(budget) < 0.3


@given(LEVEL, LEVEL)
def test_the_fuller_the_budget_the_denser_the_polls(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert answer_stretch(low) >= answer_stretch(high) >= 1.0
    assert message_stretch(low) >= message_stretch(high) >= 1.0


def test_message_polls_give_way_before_answers_do() -> None:
    assert (answer_stretch(1.0), message_stretch(1.0)) == (1.0, 1.0)
    assert answer_stretch(0.7) == 1.0
    assert message_stretch(0.7) == pytest.approx(4.0)
    assert message_stretch(0.55) > 19 > 2 > answer_stretch(0.55) > 1
    assert answer_stretch(0.0) == 10.0
    assert message_stretch(0.0) == pytest.approx(20, rel=0.01)


def test_a_refused_message_poll_grows_more_urgent_so_that_it_comes_late_instead_of_never() -> None:
    assert message_reserve(0.0, active=True, shortest=30.0) == Purpose.MESSAGES.value
    answers_settle_at = 0.35  # with a thousand panels and a hundred replies a minute
    assert message_reserve(7.0, active=True, shortest=30.0) < answers_settle_at, (
        "who asked something is shown it soon"
    )
    assert message_reserve(60.0, active=False, shortest=30.0) > answers_settle_at
    assert message_reserve(300.0, active=False, shortest=30.0) < answers_settle_at
    assert message_reserve(1e9, active=True, shortest=30.0) == Purpose.ANSWER.value, "and never before answers"


@pytest.mark.parametrize(("quiet", "interval"), [(0, 30), (119, 30), (120, 60), (299, 60), (300, 120), (1e9, 120)])
def test_a_session_in_which_nothing_is_said_is_asked_after_less_often(quiet: float, interval: float) -> None:
    assert message_interval(30.0, quiet) == interval


@given(interval=st.floats(1, 3600), chance=CHANCE)
def test_an_interval_is_never_undercut_and_not_much_longer(interval: float, chance: float) -> None:
    assert interval <= jittered(interval, chance) <= interval * 1.1


def test_an_answer_gets_an_even_share_of_its_sessions_own_allowance() -> None:
    assert answer_polls(300, 300, 300, 15) == pytest.approx((300 - 15) / 20)
    assert answer_polls(300, 150, 150, 15) == pytest.approx((150 - 7.5) / 10)
    assert answer_polls(300, 150, 30, 15) > 4 * answer_polls(300, 150, 300, 15), "what is left is lost at its end"


def test_the_last_answer_before_the_allowance_is_full_again_gets_all_that_is_left() -> None:
    assert answer_polls(300, 100, 3, 15) == pytest.approx(100 - 300 * 0.05 * 3 / 300)


@given(
    limit=st.integers(1, 10_000),
    remaining=st.integers(0, 10_000),
    reset=st.floats(0, 4000),
    cycle=st.floats(0.1, 4000),
)
def test_an_answer_always_gets_some_polls_and_never_more_than_there_are(
    limit: int, remaining: int, reset: float, cycle: float
) -> None:
    assert 0 < answer_polls(limit, remaining, reset, cycle) <= max(remaining, 0.5)


def test_a_visitor_who_asks_and_asks_is_not_taken_for_one_who_thinks() -> None:
    believed = THINKING_SECONDS
    for _ in range(5):
        believed = thinking(believed, 0.5)
    assert believed > THINKING_SECONDS / 2, "some quick ones are no habit"
    for _ in range(50):
        believed = thinking(believed, 0.5)
    assert 0.5 < believed < 1
    for _ in range(30):
        believed = thinking(believed, 86_400)
    assert 50 < believed <= 60, "nor one who came back the next day for a philosopher"
    assert thinking(10, -5) == thinking(10, 0)


@pytest.mark.parametrize(("remaining", "pause"), [(300, 0), (16, 0), (15, 60), (0, 60)])
def test_the_last_of_a_sessions_allowance_is_not_spent_on_message_polls(remaining: int, pause: float) -> None:
    assert message_pause(300, remaining, 60) == pause


@given(attempt=st.integers(1, 1000), chance=CHANCE)
def test_backoff_grows_to_its_bound_and_stays_jittered_there(attempt: int, chance: float) -> None:
    wait = backoff(attempt, chance)
    assert 0.25 <= wait <= 15.0
    assert backoff(attempt, 0.0) < backoff(attempt, 0.9)


def test_backoff_doubles() -> None:
    assert [backoff(attempt, 0.999999) for attempt in range(1, 5)] == pytest.approx([0.5, 1, 2, 4], rel=1e-3)
    assert all(later >= earlier for earlier, later in pairwise(backoff(attempt, 0.5) for attempt in range(1, 50)))


@pytest.mark.parametrize(("told", "wait"), [(None, 30), (0, 1), (7, 7), (86_400, 300), (-5, 1)])
def test_a_pause_is_what_upstream_said_within_reason(told: float | None, wait: float) -> None:
    assert clamp_retry_after(told, 0.0) == wait
    assert wait < clamp_retry_after(told, 0.99) <= wait * 1.1
