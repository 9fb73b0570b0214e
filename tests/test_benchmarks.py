"""The benchmarks' own counting can fail."""

import asyncio
import random
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser

from benchmarks import page_cost
from benchmarks.day import Day, Limits, Visitors
from benchmarks.poll_discipline import shortest_gaps
from benchmarks.verdict import UNSAVED, Noted, Verdict, judge
from benchmarks.visitors import Visitor, client
from tests.browser import Stage, visiting
from widget_proxy.pacing import Budget


def row(role: str, second: int, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "created_at": f"2026-11-20T12:00:{second:02}.000000Z", "content": content, **more}


STORED = [row("user", 1, "hello"), row("assistant", 2, "Hi."), row("assistant", 9, "A reminder.")]
SENT = [("hello", "t1")]
ENDS = {"t1": {"complete": 1}}


def test_what_was_shown_as_it_was_stored_is_clean() -> None:
    assert judge(Noted(SENT, STORED, ENDS), STORED).clean


def test_upstream_leaves_a_zero_fraction_out() -> None:
    stored = [one | {"created_at": one["created_at"].replace(".000000", "")} for one in STORED]
    assert judge(Noted(SENT, STORED, ENDS), stored).clean


def test_what_is_missing_is_lost_and_what_is_there_twice_is_doubled() -> None:
    assert judge(Noted(SENT, STORED[:2], ENDS), STORED).lost == 1
    assert judge(Noted(SENT, [*STORED, STORED[1]], ENDS), STORED).doubled == 1
    swapped = judge(Noted(SENT, [*STORED[:2], STORED[1]], ENDS), STORED)
    assert (swapped.lost, swapped.doubled) == (1, 1)


def test_an_answer_without_an_end_or_with_two_is_counted() -> None:
    assert judge(Noted(SENT, STORED, {}), STORED).without_exactly_one_done == 1
    assert judge(Noted(SENT, STORED, {"t1": {"complete": 1, "timeout": 1}}), STORED).without_exactly_one_done == 1
    assert judge(Noted(SENT, STORED, {"t1": {"complete": 3}}, repeated=2), STORED).repeated_on_the_wire == 2


def ends_of(*tasks: str) -> bytes:
    return "".join(f'event: done\ndata: {{"task":"{one}","status":"complete"}}\n\n' for one in tasks).encode()


@pytest.mark.anyio
async def test_an_end_told_twice_on_one_stream_is_counted_and_on_two_it_is_not() -> None:
    told = [["t1", "t2"], ["t2"], ["t1", "t3", "t1"]]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = ends_of(*told.pop(0))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, client() as http:
        visitor = Visitor(http, [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"], random.Random(0))
        for _ in range(3):
            await visitor._stream()
    assert (visitor.repeated, visitor.repeated_on_one_stream) == (3, 1)
    noted = Noted(SENT, STORED, ENDS, visitor.repeated, 3, visitor.repeated_on_one_stream)
    assert judge(noted, STORED).done_twice_on_one_stream == 1
    assert not judge(noted, STORED).clean


def test_an_answer_upstream_never_stored_is_counted_by_its_task() -> None:
    sent, ends = [("/unsaved v1", "t2")], {"t2": {"complete": 1}}
    stored, answer = [row("user", 1, "/unsaved v1")], row("assistant", 3, UNSAVED, task="t2")
    assert judge(Noted(sent, [*stored, answer], ends), stored).clean
    assert judge(Noted(sent, stored, ends), stored).lost == 1
    assert judge(Noted(sent, [*stored, answer, answer], ends), stored).doubled == 1


def test_a_message_sent_twice_or_never_is_counted() -> None:
    assert judge(Noted(SENT, STORED, ENDS), [*STORED, row("user", 3, "hello")]).sent_twice == 1
    assert judge(Noted([*SENT, ("lost on the way", "t3")], STORED, ENDS), STORED).never_arrived == 1


def test_verdicts_add_up() -> None:
    total = Verdict(lost=1, messages=5) + Verdict(lost=2, messages=5)
    assert (total.lost, total.messages, total.clean) == (3, 10, False)


def test_the_shortest_gap_of_each_session_is_found() -> None:
    asked = [
        {"session": "a", "at": 0},
        {"session": "b", "at": 1},
        {"session": "a", "at": 3},
        {"session": "a", "at": 5},
    ]
    assert shortest_gaps(asked) == [2]


def played(budget: Budget, **limits: int) -> Day:
    """A quiet day: some 200 chats, ten of them in the busiest hour."""
    return Day(Visitors(a_day=20_000), Limits(budget=budget, **limits), seed=1).run()


def median_lag(day: Day) -> float:
    lags = sorted(lag for hour in day.hours for lag in hour.lags)
    return lags[len(lags) // 2]


def test_a_computed_day_keeps_the_budget_and_pays_with_lateness() -> None:
    roomy, tight = played(Budget(2000, 300.0)), played(Budget(60, 300.0))
    assert 60 < roomy.most_requests < 2000
    assert tight.most_requests <= 60
    assert median_lag(roomy) < 0.5 < median_lag(tight)
    asked = sum(hour.requests["message"] for hour in roomy.hours)
    assert asked > 400
    assert asked - 5 <= sum(len(hour.lags) for hour in roomy.hours) <= asked, "but for those at midnight"


def test_a_computed_day_refuses_the_starts_that_a_channel_does_not_take() -> None:
    day = played(Budget(2000, 300.0), starts=1)
    assert day.most_starts == 1
    assert sum(hour.starts_refused for hour in day.hours) > 0


def test_what_a_page_is_sent_and_does_is_counted(browser: Browser, stage: Stage) -> None:
    script = """addEventListener("load", () => setTimeout(() => {
        for (let end = performance.now() + 120, steps = 0; performance.now() < end || steps < 1e6; steps++);
        document.body.prepend(Object.assign(document.createElement("div"), {style: "height: 300px"}));
    }, 300))"""
    page = f'<body><p style="height: 400px">Text<script src="{stage.proxy.url}/widget.js"></script><script>{script}</script>'
    stage.workshop.pages["/costly"] = ({}, page)
    with visiting(browser, stage) as visitor:
        debugger = visitor.page.context.new_cdp_session(visitor.page)
        costs = page_cost.Costs(debugger, {urlsplit(stage.workshop.url).netloc})
        visitor.page.add_init_script(page_cost.OBSERVE)
        visitor.page.goto(f"{stage.workshop.url}/costly")
        page_cost.wait_for(debugger, "observed.long.length && observed.shift > 0.1")
        cost = costs.so_far()
    assert cost["requests"] == 1
    assert 1.5 < cost["kilobytes"] < 5, "of the loader, gzipped, with its headers"
    assert cost["script_ms"] > 10
    assert cost["longest_task_ms"] >= 100
