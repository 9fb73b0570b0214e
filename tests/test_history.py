"""Reading a history page by page: nothing lost, nothing told twice, and the naive ways shown to fail."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from widget_proxy.history import LARGEST_PAGE, History, PageRequest
from widget_proxy.messages import Message

BEGIN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    message: Message
    visible: float  # seconds; stamped before it is committed


def rows_of(seed: int, count: int = 60) -> list[Row]:
    """A history with equal moments, equal texts, bursts and late commits, harsher than any real one."""
    chance = random.Random(seed)
    rows: list[Row] = []
    now = 0.0
    while len(rows) < count:
        now += chance.expovariate(1 / 5)
        for _ in range(chance.randint(8, 30) if chance.random() < 0.05 else 1):
            moment = now
            if rows and chance.random() < 0.15:
                moment = (rows[-1].message.created_at or BEGIN).timestamp() - BEGIN.timestamp()
            late = chance.uniform(0, 100) if chance.random() < 0.1 else 0.0
            text = rows[-1].message.content if rows and chance.random() < 0.1 else f"message {len(rows)}"
            stamp = BEGIN + timedelta(seconds=round(moment, 6))
            rows.append(Row(Message(stamp, "assistant", text), moment + 0.01 + late))
    return rows


def ask(rows: list[Row], request: PageRequest, now: float, chance: random.Random) -> tuple[list[Message], bool]:
    """Upstream's list: strictly after, ordered by moment alone, cut at the limit."""
    seen = [row.message for row in rows if row.visible <= now]
    seen = [one for one in seen if request.since is None or (one.created_at or BEGIN) > request.since]
    chance.shuffle(seen)
    seen.sort(key=lambda one: one.created_at or BEGIN)
    return seen[: request.limit], len(seen) > request.limit


def polls(rows: list[Row]) -> Iterator[float]:
    end = max(row.visible for row in rows) + 400
    now = 0.0
    while now < end:
        now += 30
        yield now


def ours(rows: list[Row], page: int, seed: int) -> list[Message]:
    history, told, chance = History(page=page), list[tuple[str, Message]](), random.Random(seed)
    for now in polls(rows):
        while True:
            messages, more = ask(rows, history.next_request(), now, chance)
            reading = history.accept(messages, has_more=more)
            told += reading.messages
            if reading.complete:
                break
    assert len({key for key, _ in told}) == len(told), "a key of its own for each"
    return [message for _, message in told]


def naive(rows: list[Row], page: int, seed: int) -> list[Message]:
    """A cursor at the newest message."""
    since: datetime | None = None
    told, chance = list[Message](), random.Random(seed)
    for now in polls(rows):
        more = True
        while more:
            messages, more = ask(rows, PageRequest(since, page), now, chance)
            told += messages
            since = messages[-1].created_at if messages else since
    return told


def overlapping_set(rows: list[Row], page: int, seed: int) -> list[Message]:
    """An overlap, and a set of what is known."""
    newest: datetime | None = None
    told, known, chance = list[Message](), set[Message](), random.Random(seed)
    for now in polls(rows):
        since = newest - timedelta(seconds=120) if newest else None
        messages, _ = ask(rows, PageRequest(since, 10_000), now, chance)
        told += [one for one in messages if one not in known]
        known |= set(messages)
        newest = messages[-1].created_at if messages else newest
    return told


def errors(read: Callable[[list[Row], int, int], list[Message]], seed: int, page: int = 10) -> tuple[int, int]:
    rows = rows_of(seed)
    wanted, told = Counter(row.message for row in rows), Counter(read(rows, page, seed))
    return (wanted - told).total(), (told - wanted).total()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), page=st.integers(1, 60))
def test_nothing_is_lost_and_nothing_told_twice(seed: int, page: int) -> None:
    assert errors(ours, seed, page) == (0, 0)


def test_the_naive_ways_fail_on_the_same_histories() -> None:
    """Or else the test above could not fail."""
    naive_lost = sum(errors(naive, seed)[0] for seed in range(20))
    set_lost = sum(errors(overlapping_set, seed)[0] for seed in range(20))
    assert naive_lost > 0
    assert set_lost > 0


def message(second: float, text: str = "x") -> Message:
    return Message(BEGIN + timedelta(seconds=second), "assistant", text)


def test_the_first_request_asks_for_everything() -> None:
    assert History().next_request() == PageRequest(None, 500)


def test_the_next_sweep_begins_before_the_newest_message() -> None:
    history = History()
    history.accept([message(0), message(500)], has_more=False)
    assert history.next_request().since == BEGIN + timedelta(seconds=380)


def test_a_tie_at_the_edge_of_a_page_is_asked_for_again_whole() -> None:
    history = History(page=2)
    reading = history.accept([message(1, "a"), message(2, "b")], has_more=True)
    assert [one.content for _, one in reading.messages] == ["a"]
    assert not reading.complete
    assert history.next_request() == PageRequest(BEGIN + timedelta(seconds=1), 2)


def test_a_page_of_one_moment_is_doubled() -> None:
    history = History(page=2)
    assert history.accept([message(1, "a"), message(1, "b")], has_more=True).messages == ()
    assert history.next_request() == PageRequest(None, 4)


def test_an_empty_page_that_claims_more_does_not_go_on_for_ever() -> None:
    assert History().accept([], has_more=True).complete


def test_a_message_without_a_moment_is_told_once_and_moves_no_cursor() -> None:
    history = History()
    undated = Message(None, "assistant", "when?")
    assert len(history.accept([message(0), undated], has_more=False).messages) == 2
    since = history.next_request().since
    assert history.accept([message(0), undated], has_more=False).messages == ()
    assert history.next_request().since == since


def test_what_is_out_of_order_is_told_in_order() -> None:
    reading = History().accept([message(2, "b"), message(1, "a")], has_more=False)
    assert [one.content for _, one in reading.messages] == ["a", "b"]


def one_page_a_poll(history: History, rows: list[Row], seed: int) -> list[Message]:
    """As the hub reads: each page costs a poll, and messages are committed while the next one is awaited."""
    told, chance, now = list[Message](), random.Random(seed), 0.0
    end = max(row.visible for row in rows) + 30 * len(rows)
    while now < end:
        now += 30
        messages, more = ask(rows, history.next_request(), now, chance)
        told += [message for _, message in history.accept(messages, has_more=more).messages]
    return told


class Hasty(History):
    """Begins each sweep an overlap before the newest message, however long the last one took."""

    def _end_sweep(self, now: datetime | None) -> None:
        self._first_edge = None
        super()._end_sweep(now)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), page=st.integers(4, 60))
def test_nothing_is_lost_that_comes_while_the_next_page_is_awaited(seed: int, page: int) -> None:
    assert errors(lambda rows, page, seed: one_page_a_poll(History(page=page), rows, seed), seed, page) == (0, 0)


def test_a_hasty_reader_of_several_pages_loses_some() -> None:
    """Or else the test above could not fail."""
    wrong = [
        errors(lambda rows, page, seed: one_page_a_poll(Hasty(page=page), rows, seed), seed) for seed in range(20)
    ]
    assert sum(lost for lost, _ in wrong) > 0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), page=st.integers(1, 60))
def test_a_reader_who_comes_late_gives_every_message_the_same_key(seed: int, page: int) -> None:
    """A key depends on what was said, not on when and in how many pages it was read."""
    rows, keys = rows_of(seed), list[set[str]]()
    for late in (False, True):
        history, told, chance = History(page=page), set[str](), random.Random(seed)
        for now in list(polls(rows))[-1 if late else 0 :]:
            complete = False
            while not complete:
                messages, more = ask(rows, history.next_request(), now, chance)
                reading = history.accept(messages, has_more=more)
                told |= {key for key, _ in reading.messages}
                complete = reading.complete
        keys.append(told)
    assert keys[0] == keys[1]


def test_a_history_of_several_pages_is_read_whole() -> None:
    rows = [Row(message(second, str(second)), 0.0) for second in range(0, 4500, 2)]
    history, told, pages = History(), list[Message](), 0
    while True:
        messages, more = ask(rows, history.next_request(), 1.0, random.Random(0))
        reading = history.accept(messages, has_more=more)
        told, pages = told + [one for _, one in reading.messages], pages + 1
        if reading.complete:
            break
    assert told == [row.message for row in rows]
    assert pages == 5


def test_an_upstream_that_always_claims_more_is_asked_on_and_told_nothing_twice() -> None:
    history, told = History(page=2), list[str]()
    for _ in range(50):
        messages, _ = ask(
            [Row(message(1, "a"), 0), Row(message(2, "b"), 0)], history.next_request(), 1.0, random.Random(0)
        )
        told += [one.content for _, one in history.accept(messages, has_more=True).messages]
    assert sorted(told) == ["a", "b"]


def test_a_moment_that_fills_even_the_largest_page_is_taken_as_it_is() -> None:
    history = History(page=LARGEST_PAGE)
    messages = [message(1, str(number)) for number in range(LARGEST_PAGE)]
    reading = history.accept(messages, has_more=True)
    assert len(reading.messages) == LARGEST_PAGE
    assert history.next_request().since == BEGIN + timedelta(seconds=1)


def test_what_is_known_does_not_grow_with_the_history() -> None:
    history = History()
    for second in range(0, 100_000, 60):
        history.accept([message(second)], has_more=False)
    assert len(history._told) <= 3


def too_large(messages: list[Message], longest: int) -> bool:
    return sum(len(one.content) for one in messages) > longest


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), page=st.integers(100, 500), longest=st.integers(700, 2000))
def test_where_pages_are_too_large_smaller_ones_are_asked_for_and_nothing_is_lost(
    seed: int, page: int, longest: int
) -> None:
    """Of these histories no moment fills a halved page."""
    rows, told = rows_of(seed, 120), list[Message]()
    history, chance = History(page=page), random.Random(seed)
    for now in polls(rows):
        while True:
            messages, more = ask(rows, history.next_request(), now, chance)
            if too_large(messages, longest):
                assert history.halve()
                continue
            reading = history.accept(messages, has_more=more)
            told += [one for _, one in reading.messages]
            if reading.complete:
                break
    assert Counter(told) == Counter(row.message for row in rows)


def test_after_a_sweep_of_small_pages_the_usual_ones_are_asked_for_again() -> None:
    history = History()
    assert [history.halve(), history.next_request().limit] == [True, 250]
    history.accept([message(0), message(1)], has_more=True)
    assert history.next_request().limit == 250
    history.accept([message(2)], has_more=False)
    assert history.next_request().limit == 500


def test_a_moment_that_fills_a_halved_page_is_taken_as_it_is() -> None:
    """Doubled, it would be too large again, for ever."""
    history = History(page=4)
    history.halve()
    reading = history.accept([message(1, "a"), message(1, "b")], has_more=True)
    assert [one.content for _, one in reading.messages] == ["a", "b"]
    assert history.next_request() == PageRequest(BEGIN + timedelta(seconds=1), 2)


def test_less_than_one_message_cannot_be_asked_for() -> None:
    history = History()
    assert [history.halve() for _ in range(9)] == [True] * 8 + [False]
    assert history.next_request().limit == 1
    reading = history.accept([message(1)], has_more=True)
    assert len(reading.messages) == 1
    assert history.next_request() == PageRequest(BEGIN + timedelta(seconds=1), 1)
