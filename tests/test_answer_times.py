"""Polls go where answers come."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widget_proxy.answer_times import GROWTH, AnswerTimes


def cost_and_lag(times: AnswerTimes, interval: float, answers: list[float]) -> tuple[float, float]:
    """Mean polls an answer, and mean seconds from its being there to its being found."""
    polls, lags = 0, []
    for answer in answers:
        waited = 0.0
        while waited < answer:
            waited += times.next_poll(waited, interval, 10.0)
            polls += 1
        lags.append(waited - answer)
    return polls / len(answers), statistics.mean(lags)


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


def test_a_site_that_is_known_costs_less_than_one_that_is_not_for_the_same_lag() -> None:
    answers = log_normal(3.0, 1000)
    known, unknown = AnswerTimes(), AnswerTimes()
    for answer in answers[:100]:
        known.record(answer)
    known_cost, known_lag = cost_and_lag(known, 0.25, answers)
    unknown_cost, unknown_lag = cost_and_lag(unknown, 0.25, answers)
    assert known_cost < 0.9 * unknown_cost
    assert known_lag == pytest.approx(unknown_lag, rel=0.1)


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
