"""A day of a website's visitors against upstream's limits, by the proxy's own rules, without network. Pure: given the
same seed, the same day.

Simulated are starts, messages, polls for answers and message polls. The bucket, the stretching, the shares of a
session's own allowance and the rhythm of polls are `pacing` and `answer_times` themselves; when what is asked is
written down here as `hub` does it.
"""

import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from widget_proxy.answer_times import AnswerTimes
from widget_proxy.pacing import (
    THINKING_SECONDS,
    WINDOW_SECONDS,
    Bucket,
    Budget,
    Purpose,
    answer_polls,
    answer_stretch,
    jittered,
    message_interval,
    message_pause,
    message_reserve,
    message_stretch,
)

DAY = 86_400.0
LEARNED_FROM = 300
"""Answers after which the rhythm has settled; the rest of the day is played with it as it is then."""


@dataclass(frozen=True)
class Visitors:
    """What is assumed of them. Times are seconds."""

    a_day: int = 1_000_000
    ask_share: float = 0.01
    questions: float = 4.0  # of those who ask, geometric
    peak: float = 1.9  # the busiest moment over the day's mean
    answer_median: float = 3.0  # log-normal, as in `lag`
    answer_sigma: float = 0.5
    think_median: float = 20.0  # reads the answer and types the next question; log-normal
    think_sigma: float = 0.7
    stays: float = 180.0  # keeps the chat open after the last answer; exponential

    def rate(self, at: float) -> float:
        """Chats that begin in a second at this time of day: one wave, highest at 20 o'clock."""
        wave = 1 + (self.peak - 1) * math.cos((at / DAY - 20 / 24) * 2 * math.pi)
        return self.a_day * self.ask_share / DAY * wave


@dataclass(frozen=True)
class Limits:
    """What upstream takes. A fixed part of each: see the contract's numbers in docs/scaling.md."""

    budget: Budget = field(default_factory=lambda: Budget(2000, WINDOW_SECONDS))
    session: int = 300
    starts: int = 300
    message_poll: float = 30.0
    answer_shortest: float = 0.2
    answer_longest: float = 10.0
    send_patience: float = 3.0


@dataclass
class Hour:
    """What happened in one hour of the day."""

    requests: Counter[str] = field(default_factory=Counter)
    lags: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    told_to_wait: int = 0
    given_up: int = 0
    starts_refused: int = 0
    open_most: int = 0
    chats: int = 0
    level_least: float = 1.0


@dataclass(slots=True, eq=False)
class _Chat:
    number: int
    questions: int
    started: bool = False
    tries: int = 0
    spoke_at: float = 0.0
    polled_at: float = -math.inf
    refused_since: float | None = None
    window: float = -math.inf
    used: int = 0
    leaves: float = math.inf
    reading: bool = False


class Day:
    """One day, simulated by `run`."""

    def __init__(self, visitors: Visitors, limits: Limits, seed: int) -> None:
        self.hours = [Hour() for _ in range(24)]
        self.most_starts = 0
        self.most_requests = 0
        self._visitors, self._limits = visitors, limits
        self._chance = random.Random(seed)
        self._bucket = Bucket(limits.budget.capacity, 0.0)
        self._times = AnswerTimes()
        self._answered = 0
        self._starts: deque[float] = deque()
        self._asked: deque[float] = deque()
        self._open = 0
        self._waiting = 0
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = count()

    def run(self) -> "Day":
        """All of it."""
        self._at(0.0, self._arrive)
        while self._due:
            at, _, happens = heapq.heappop(self._due)
            if at >= DAY:
                break
            happens(at)
        return self

    # Visitors

    def _arrive(self, now: float) -> None:
        most = self._visitors.rate(20 / 24 * DAY)
        self._at(now + self._chance.expovariate(most), self._arrive)
        if self._chance.random() * most > self._visitors.rate(now):
            return
        more = 1 - 1 / self._visitors.questions
        questions = 1 + int(math.log(1 - self._chance.random()) / math.log(more)) if more > 0 else 1
        self._hour(now).chats += 1
        self._ask(_Chat(next(self._numbers), questions), now)

    def _ask(self, chat: _Chat, now: float) -> None:
        """A visitor presses send: the first time, a session is started before."""
        hour, first = self._hour(now), now
        if not chat.started:
            while self._starts and self._starts[0] <= now - WINDOW_SECONDS:
                self._starts.popleft()
            if len(self._starts) >= self._limits.starts:
                hour.starts_refused += 1
                return self._come_again(chat, now, self._starts[0] + WINDOW_SECONDS - now)
        return self._send(chat, first, now)

    def _send(self, chat: _Chat, first: float, now: float) -> None:
        kind = "message" if chat.started else "start"
        wait = self._take(Purpose.SEND.value, now)
        if wait > 0:
            if now + wait > first + self._limits.send_patience:
                self._hour(now).told_to_wait += 1
                return self._come_again(chat, now, wait)
            return self._at(now + jittered(wait, self._chance.random()), lambda at: self._send(chat, first, at))
        self._note(kind, now)
        if not chat.started:
            chat.started, chat.spoke_at = True, now
            self._starts.append(now)
            self.most_starts = max(self.most_starts, len(self._starts))
            self._open += 1
            self._hour(now).open_most = max(self._hour(now).open_most, self._open)
            self._at(now, lambda at: self._read(chat, at))
            return self._send(chat, now, now)
        chat.questions -= 1
        chat.tries = 0
        chat.spoke_at = now
        self._spend_own(chat, now)
        ready = now + self._log_normal(self._visitors.answer_median, self._visitors.answer_sigma)
        wait = self._pause(chat, 0.0, 1.0, now)
        return self._at(now + wait, lambda at: self._poll_answer(chat, now, ready, at))

    def _come_again(self, chat: _Chat, now: float, wait: float) -> None:
        """Told when to try again, a visitor does so five times."""
        chat.tries += 1
        if chat.tries > 5:
            self._hour(now).given_up += 1
            chat.leaves = now
            return
        self._at(now + max(1.0, wait) + 2 * self._chance.random(), lambda at: self._ask(chat, at))

    # Answers

    def _poll_answer(self, chat: _Chat, began: float, ready: float, now: float) -> None:
        wait = self._take(Purpose.ANSWER.value, now)
        stretch = answer_stretch(self._bucket.level(self._limits.budget))
        if wait > 0:
            usual = self._pause(chat, now - began, stretch, now) * (0.5 + self._chance.random())
            return self._at(now + max(wait, usual), lambda at: self._poll_answer(chat, began, ready, at))
        self._note("task_poll", now)
        self._spend_own(chat, now)
        if now < ready:
            pause = self._pause(chat, now - began, stretch, now)
            return self._at(now + pause, lambda at: self._poll_answer(chat, began, ready, at))
        self._hour(now).lags.append(now - ready)
        self._answered += 1
        if self._answered <= LEARNED_FROM:
            self._times.record(now - began)
        chat.spoke_at = now
        if chat.questions:
            thinks = self._log_normal(self._visitors.think_median, self._visitors.think_sigma)
            return self._at(now + thinks, lambda at: self._ask(chat, at))
        chat.leaves = now + self._chance.expovariate(1 / self._visitors.stays)
        return self._at(chat.leaves, lambda _: self._leave())

    def _pause(self, chat: _Chat, waited: float, stretch: float, now: float) -> float:
        """As `hub.answers` does: by everybody's budget and by the session's own allowance."""
        remaining, reset = self._own(chat, now)
        if remaining < 1:
            return reset
        polls = answer_polls(self._limits.session, remaining, reset, self._times.mean + THINKING_SECONDS)
        interval = max(self._limits.answer_shortest * stretch, self._times.interval(polls))
        return self._times.next_poll(waited, interval, self._limits.answer_longest)

    # Transcripts and message polls

    def _read(self, chat: _Chat, now: float) -> None:
        if now >= chat.leaves:
            return self._let(chat)
        shortest, quiet = self._limits.message_poll, now - chat.spoke_at
        usual = shortest
        if chat.reading:
            usual = message_interval(shortest, quiet)
            if quiet >= 2 * shortest:
                usual *= message_stretch(self._bucket.level(self._limits.budget))
            usual = max(usual, message_pause(self._limits.session, *self._own(chat, now)))
        if (due := chat.polled_at + usual - now) > 0:
            return self._at(
                now + jittered(min(due, shortest), self._chance.random()), lambda at: self._read(chat, at)
            )
        overdue = 0.0 if chat.refused_since is None else now - chat.refused_since
        reserve = message_reserve(overdue, quiet < 2 * shortest, shortest)
        wait = self._take(reserve if chat.reading else Purpose.TRANSCRIPT.value, now)
        if wait > 0:
            if chat.refused_since is None:
                chat.refused_since = now
                self._waiting += 1
            chance = self._chance.random
            wait = max(wait, shortest * 0.01) * (1 + chance()) + self._waiting / self._limits.budget.rate * chance()
            return self._at(now + wait, lambda at: self._read(chat, at))
        self._let(chat)
        self._note("message_poll" if chat.reading else "transcript", now)
        self._spend_own(chat, now)
        if chat.reading:
            self._hour(now).gaps.append(now - chat.polled_at)
        chat.reading, chat.polled_at = True, now
        return self._at(now + jittered(shortest, self._chance.random()), lambda at: self._read(chat, at))

    def _let(self, chat: _Chat) -> None:
        if chat.refused_since is not None:
            chat.refused_since = None
            self._waiting -= 1

    def _leave(self) -> None:
        self._open -= 1

    # Upstream

    def _take(self, reserve: float, now: float) -> float:
        self._bucket, wait = self._bucket.take(self._limits.budget, reserve, now)
        return wait

    def _own(self, chat: _Chat, now: float) -> tuple[int, float]:
        """What remains of the session's own allowance, and for how long."""
        if now >= chat.window + WINDOW_SECONDS:
            chat.window, chat.used = now, 0
        return self._limits.session - chat.used, chat.window + WINDOW_SECONDS - now

    def _spend_own(self, chat: _Chat, now: float) -> None:
        self._own(chat, now)
        chat.used += 1

    def _note(self, kind: str, now: float) -> None:
        hour = self._hour(now)
        hour.requests[kind] += 1
        hour.level_least = min(hour.level_least, self._bucket.level(self._limits.budget))
        self._asked.append(now)
        while self._asked[0] <= now - WINDOW_SECONDS:
            self._asked.popleft()
        self.most_requests = max(self.most_requests, len(self._asked))

    def _hour(self, now: float) -> Hour:
        return self.hours[min(int(now / 3600), 23)]

    def _at(self, moment: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self._due, (moment, next(self._numbers), happens))

    def _log_normal(self, median: float, sigma: float) -> float:
        return median * math.exp(self._chance.gauss(0.0, sigma))
