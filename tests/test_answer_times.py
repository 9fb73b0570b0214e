"""Polls go where answers come."""

import math
import random
import statistics
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widget_proxy.answer_times import GROWTH, AnswerTimes


def cost_and_lag(times: AnswerTimes, interval: float, answers: list[float]) -> tuple[float, float]:
    """Mean polls an answer, and mean seconds from its being there to its being found."""
    # When it polls does not depend on the answer.
    moments, waited = [0.0], 0.0
    while waited < max(answers):
        waited += times.next_poll(waited, interval, 10.0)
        moments.append(waited)
    found = [bisect_left(moments, answer) for answer in answers]
    lags = [moments[polls] - answer for polls, answer in zip(found, answers, strict=True)]
    return statistics.mean(found), statistics.mean(lags)


def log_normal(median: float, number: int, sigma: float = 0.5) -> list[float]:
    chance = random.Random(20261121)
    return [median * math.exp(sigma * chance.gauss(0, 1)) for _ in range(number)]


@pytest.mark.parametrize("median", [3.0, 6.0])
def test_for_as_many_requests_as_once_a_second_answers_come_sooner(median: float) -> None:
    answers = log_normal(median, 1000)
    official_cost = statistics.mean(math.ceil(answer) + 1 for answer in answers)
    official_lag = statistics.mean(math.ceil(answer) - answer for answer in answers)
    times = AnswerTimes()
    for answer in answers[:100]:
        times.record(answer)
    interval = 0.2
    while (found := cost_and_lag(times, interval, answers))[0] > official_cost:
        interval += 0.01
    assert found[1] <= 0.85 * official_lag
    assert official_lag == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("median", [1.0, 6.0, 20.0])
def test_a_site_is_known_after_a_few_answers(median: float) -> None:
    answers = log_normal(median, 1000)
    unknown, soon, known = AnswerTimes(), AnswerTimes(), AnswerTimes()
    for answer in answers[:10]:
        soon.record(answer)
    for answer in answers[:200]:
        known.record(answer)

    def lag(times: AnswerTimes) -> float:
        low, high = 0.01, 20.0
        for _ in range(20):
            interval = (low + high) / 2
            low, high = (interval, high) if cost_and_lag(times, interval, answers)[0] > 8 else (low, interval)
        return cost_and_lag(times, high, answers)[1]

    assert lag(soon) <= 1.15 * lag(known)
    assert lag(soon) < lag(unknown)


@pytest.mark.parametrize("polls", [4, 8, 16])
def test_an_interval_costs_the_polls_it_was_chosen_for(polls: float) -> None:
    answers = log_normal(3.0, 1000)
    times = AnswerTimes()
    for answer in answers[:200]:
        times.record(answer)
    assert cost_and_lag(times, times.interval(polls), answers)[0] == pytest.approx(polls, rel=0.15, abs=0.6)


def test_the_mean_is_that_of_the_answers() -> None:
    times = AnswerTimes()
    assert 3 < times.mean < 6, "a site not yet known"
    for _ in range(200):
        times.record(20.0)
    assert times.mean == pytest.approx(20, rel=0.1)


def test_a_bot_that_became_slower_is_followed() -> None:
    times = AnswerTimes()
    for answer in log_normal(1.0, 300):
        times.record(answer)
    early = times.next_poll(0.0, 0.25, 10.0)
    for answer in log_normal(8.0, 300):
        times.record(answer)
    assert times.next_poll(0.0, 0.25, 10.0) > 1.2 * early


def test_two_kinds_of_answers_are_both_looked_for() -> None:
    times = AnswerTimes()
    for answer in log_normal(0.5, 200, 0.2) + log_normal(20.0, 200, 0.2):
        times.record(answer)
    between = times.next_poll(5.0, 0.25, 10.0)
    assert times.next_poll(0.4, 0.25, 10.0) < between
    assert times.next_poll(20.0, 0.25, 10.0) < between


@given(
    answers=st.lists(st.floats(0, 1e4), max_size=60),
    waited=st.floats(0, 1e4),
    interval=st.floats(0.01, 60),
    longest=st.floats(0.01, 60),
)
def test_the_wait_is_bounded_whatever_was_learned(
    answers: list[float], waited: float, interval: float, longest: float
) -> None:
    times = AnswerTimes()
    for answer in answers:
        times.record(answer)
    wait = times.next_poll(waited, interval, longest)
    assert 0 < wait <= longest


@given(st.floats(0, 300))
def test_an_answer_that_never_comes_costs_few_requests(began: float) -> None:
    times, waited, polls = AnswerTimes(), began, 0
    while waited < 300:
        waited += times.next_poll(waited, 0.25, 10.0)
        polls += 1
    assert polls <= 200
    assert times.next_poll(300, 0.25, 10.0) >= 300 * GROWTH
