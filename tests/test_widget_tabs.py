"""Several tabs of one browser: one stream, one conversation, whatever becomes of the tab that reads."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect

from tests.browser import ARGUMENTS, Stage, Visitor

MINUTE = "01:05"
"""For the clock of a page: longer than a hidden tab keeps its stream."""

HIDE = """hidden => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange", {bubbles: true}));
}"""


class Tab(Visitor):
    """One tab, with a count of its streams."""

    def __init__(self, page: Page, stage: Stage) -> None:
        super().__init__(page, stage)
        self.ended: set[Request] = set()
        page.on("requestfailed", lambda request: self.ended.add(request))
        page.on("requestfinished", lambda request: self.ended.add(request))

    @property
    def streams(self) -> list[Request]:
        """Every stream it asked for so far."""
        return [one for one in self.requests if urlsplit(one.url).path == "/v1/session/events"]

    @property
    def open_streams(self) -> int:
        """How many of them are still open."""
        return sum(one not in self.ended for one in self.streams)

    def enter(self) -> None:
        """Open the page, and the chat on it."""
        self.page.goto(f"{self.stage.workshop.url}/tabs")
        self.open_chat()

    def hide(self, hidden: bool = True) -> None:
        """As if another tab were in front of it."""
        self.page.evaluate(HIDE, hidden)

    def kept(self) -> list[str]:
        """The visitor's own messages in storage, oldest first."""
        script = """prefix => Object.keys(localStorage).filter(key => key.startsWith(prefix)).sort()
            .map(key => JSON.parse(localStorage[key]).content)"""
        found: list[str] = self.page.evaluate(script, f"chat-widget:{self.stage.proxy.url}:shop:")
        return found


class Window:
    """A browser window: tabs that share what a browser shares."""

    def __init__(self, context: BrowserContext, stage: Stage) -> None:
        self.context = context
        self.stage = stage
        self.tabs: list[Tab] = []

    def tab(self) -> Tab:
        """A new tab, not yet on any page."""
        self.tabs.append(Tab(self.context.new_page(), self.stage))
        return self.tabs[-1]

    def chats(self, count: int) -> list[Tab]:
        """New tabs with open chats."""
        tabs = [self.tab() for _ in range(count)]
        for tab in tabs:
            tab.enter()
        return tabs

    def conversation(self, count: int) -> list[Tab]:
        """New tabs with open chats, in which a greeting was answered."""
        tabs = self.chats(count)
        self.stage.upstream.order("answers", text="Welcome", delay=0.05)
        tabs[0].say("Hello")
        for tab in tabs:
            tab.answer("Welcome")
            expect(tab.page.locator(".typing")).to_be_hidden()
        self.settle()
        return tabs

    @property
    def open_streams(self) -> int:
        """In all tabs."""
        return sum(tab.open_streams for tab in self.tabs if not tab.page.is_closed())

    @property
    def leader(self) -> Tab:
        """The one tab that reads."""
        (leader,) = [tab for tab in self.tabs if not tab.page.is_closed() and tab.open_streams]
        return leader

    def settle(self) -> None:
        """Wait for the one stream."""
        self.tabs[-1].until(lambda: self.open_streams == 1)


def page_with_chat(stage: Stage, attributes: str = "") -> str:
    source = f"{stage.proxy.url}/widget.js"
    return f'<!doctype html><title>T</title><script src="{source}" data-site="shop" {attributes}></script>'


@contextmanager
def opened(browser: Browser, stage: Stage) -> Iterator[Window]:
    stage.workshop.pages["/tabs"] = ({}, page_with_chat(stage))
    stage.workshop.pages["/elsewhere"] = ({}, "<!doctype html><title>E</title>Elsewhere")
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    window = Window(context, stage)
    try:
        yield window
    finally:
        context.close()
    assert [line for tab in window.tabs for line in tab.console if line.startswith("uncaught")] == []


@pytest.fixture
def window(browser: Browser, stage: Stage) -> Iterator[Window]:
    """A visitor's browser. Whatever goes uncaught in one of its tabs fails the test."""
    with opened(browser, stage) as window:
        yield window


def say_upstream(stage: Stage, text: str) -> None:
    """A message of the bot's own, in the latest conversation."""
    stage.upstream.order("say", session=stage.upstream.ask("sessions")[-1]["id"], text=text)


def test_two_tabs_share_one_stream_and_show_the_same_exactly_once(window: Window, stage: Stage) -> None:
    first, second = window.chats(2)
    stage.upstream.order("answers", text="Worth the wait", delay=1.5, progress=[[0.2, "Thinking hard"]])
    first.say("Tell me everything")
    for tab in (second, first):
        expect(tab.page.locator(".mine")).to_have_text("Tell me everything")
        expect(tab.page.locator(".typing")).to_contain_text("Thinking hard")
    for tab in (second, first):
        tab.answer("Worth the wait")
        expect(tab.page.locator(".typing")).to_be_hidden()
        assert tab.lines() == ["mine: Tell me everything", "bot: Worth the wait"]
    second.say("Hello")
    first.answer("You are reading T")
    second.answer("You are reading T")
    first.until(lambda: first.kept() == [])
    assert first.lines() == second.lines()
    assert len(first.lines()) == 4
    assert window.open_streams == 1
    assert len(first.streams) + len(second.streams) == 1, "and there never was a second"
    assert len(stage.upstream.requests("start")) == 1


def test_ten_tabs_cost_one_stream_and_a_new_one_shows_what_was_said(window: Window, stage: Stage) -> None:
    tabs = window.chats(9)
    tabs[4].say("What does it cost?")
    tabs[8].answer("You are")  # no product on this page: the bot says where it is
    tabs += window.chats(1)
    for tab in tabs:
        expect(tab.page.locator(".item")).to_have_count(2)
    assert window.open_streams == 1
    assert sum(len(tab.streams) for tab in tabs) == 1
    assert len({tuple(tab.lines()) for tab in tabs}) == 1


def test_the_leader_closes_in_the_middle_of_an_answer_and_another_tab_goes_on(window: Window, stage: Stage) -> None:
    window.conversation(3)
    leader = window.leader
    stage.upstream.order("answers", text="Worth the wait", delay=2, progress=[[0.2, "Thinking hard"]])
    leader.say("Tell me everything")
    others = [tab for tab in window.tabs if tab is not leader]
    for tab in others:
        expect(tab.page.locator(".typing")).to_contain_text("Thinking hard")
    leader.page.close()
    others[0].until(lambda: window.open_streams == 1, seconds=1)
    (stream,) = window.leader.streams
    assert "last-event-id" in stream.all_headers(), "from the shared cursor"
    assert len(parse_qs(urlsplit(stream.url).query)["task"]) == 1, "with the answer that is awaited"
    for tab in others:
        tab.answer("Worth the wait")
        expect(tab.page.locator(".typing")).to_be_hidden()
        assert [line[:9] for line in tab.lines()] == ["mine: Hel", "bot: Welc", "mine: Tel", "bot: Wort"]


@pytest.mark.parametrize("missing", ["Navigator.prototype.locks", "window.BroadcastChannel"])
def test_where_a_browser_lacks_what_it_takes_each_tab_has_a_stream(
    window: Window, stage: Stage, missing: str
) -> None:
    window.context.add_init_script(f"delete {missing};")
    first, second = window.chats(2)
    first.say("What does it cost?")
    for tab in (first, second):
        expect(tab.page.locator(".item")).to_have_count(2)
        expect(tab.page.locator(".typing")).to_be_hidden()
        assert tab.open_streams == 1
    assert first.lines() == second.lines()
    assert len(stage.upstream.requests("start")) == 1, "one conversation all the same"


def test_where_storage_is_blocked_each_tab_is_for_itself(window: Window, stage: Stage) -> None:
    window.context.add_init_script("""for (const name of ["localStorage", "sessionStorage"]) {
        Object.defineProperty(window, name, {get() { throw new DOMException("denied", "SecurityError"); }});
    }""")
    first, second = window.chats(2)
    for tab, text in ((first, "One"), (second, "Two")):
        tab.say(text)
        expect(tab.page.locator(".item")).to_have_count(2)
        assert tab.open_streams == 1
        assert tab.lines()[0] == f"mine: {text}"
    assert len(stage.upstream.requests("start")) == 2


def test_a_hidden_tab_gives_up_its_stream_after_a_minute_and_catches_up(window: Window, stage: Stage) -> None:
    window.context.clock.install()
    (tab,) = window.conversation(1)
    tab.hide()
    tab.page.clock.fast_forward("00:35")
    assert len(tab.streams) == tab.open_streams == 1, "a short look elsewhere costs no new stream"
    tab.page.clock.fast_forward("00:30")
    tab.until(lambda: tab.open_streams == 0)
    say_upstream(stage, "Are you still there?")
    tab.hide(False)
    tab.answer("Are you still there?")
    assert tab.open_streams == 1
    assert "last-event-id" in tab.streams[-1].all_headers()


def test_a_hidden_tab_waits_for_the_answer_it_asked_for(window: Window, stage: Stage) -> None:
    window.context.clock.install()
    (tab,) = window.chats(1)
    stage.upstream.order("answers", text="Worth the wait", delay=1.5)
    tab.say("Tell me everything")
    expect(tab.page.locator(".typing")).to_be_visible()
    tab.hide()
    tab.page.clock.fast_forward(MINUTE)
    tab.answer("Worth the wait")
    tab.until(lambda: tab.open_streams == 0)


@pytest.mark.parametrize("yes", ["on", "true", ""])
def test_a_page_can_ask_for_the_stream_to_stay_in_the_background(window: Window, stage: Stage, yes: str) -> None:
    stage.workshop.pages["/tabs"] = ({}, page_with_chat(stage, f'data-background-stream="{yes}"'))
    window.context.clock.install()
    (tab,) = window.conversation(1)
    tab.hide()
    for text in ("One", "Two"):
        tab.page.clock.fast_forward("00:35")
        say_upstream(stage, text)
        tab.answer(text)
    assert len(tab.streams) == tab.open_streams == 1


def test_when_the_hidden_leader_steps_back_a_visible_tab_reads(window: Window, stage: Stage) -> None:
    window.context.clock.install()
    leader, other = window.conversation(2)
    leader, other = (leader, other) if window.leader is leader else (other, leader)
    leader.hide()
    leader.page.clock.fast_forward(MINUTE)
    other.until(lambda: window.open_streams == 1 and window.leader is other)
    say_upstream(stage, "By the way")
    other.answer("By the way")
    assert leader.page.locator(".bot", has_text="By the way").count() == 1, "it hears all the same"


def test_a_closed_chat_has_no_stream(window: Window) -> None:
    first, second = window.conversation(2)
    for tab in (first, second):
        expect(tab.page.locator(".typing")).to_be_hidden()
        tab.page.get_by_role("button", name="Close chat").click()
    first.until(lambda: window.open_streams == 0)


def test_a_frozen_tab_gives_the_stream_to_another_and_catches_up(window: Window, stage: Stage) -> None:
    first, second = window.conversation(2)
    frozen = window.leader
    other = second if frozen is first else first
    frozen.page.evaluate("document.dispatchEvent(new Event('freeze'))")
    other.until(lambda: other.open_streams == 1, seconds=2)
    say_upstream(stage, "By the way")
    other.answer("By the way")
    frozen.page.evaluate("document.dispatchEvent(new Event('resume'))")
    frozen.answer("By the way")
    assert window.open_streams == 1
    assert frozen.lines() == other.lines()


def test_a_page_in_the_back_forward_cache_holds_nothing_and_comes_back_complete(
    browser: Browser, whole_chromium_path: str, stage: Stage
) -> None:
    # Playwright switches this cache off: a browser of the test's own has it.
    with (
        browser.browser_type.launch(
            executable_path=whole_chromium_path,
            args=ARGUMENTS,
            ignore_default_args=["--disable-back-forward-cache"],
        ) as caching,
        opened(caching, stage) as window,
    ):
        first, second = window.chats(2)
        first.say("Hello")
        second.answer("You are reading T")
        window.settle()
        leader = window.leader
        other = second if leader is first else first
        leader.page.evaluate("addEventListener('pageshow', ({persisted}) => { document.title = persisted; })")
        leader.page.goto(f"{stage.workshop.url}/elsewhere")
        other.until(lambda: other.open_streams == 1, seconds=2)
        say_upstream(stage, "By the way")
        other.answer("By the way")
        leader.page.go_back(wait_until="commit")
        leader.answer("By the way")
        assert leader.page.title() == "true", "it was in the cache"
        assert leader.lines() == other.lines()
        assert window.open_streams == 1


def test_a_restart_of_the_proxy_with_several_tabs_loses_nothing(window: Window, stage: Stage) -> None:
    tabs = window.chats(3)
    stage.upstream.order("answers", text="Worth the wait", delay=3)
    tabs[1].say("Tell me everything")
    for tab in tabs:
        expect(tab.page.locator(".typing")).to_be_visible()
    window.settle()
    stage.proxy.kill()
    try:
        for tab in tabs:
            expect(tab.page.get_by_text("Connection lost")).to_be_visible(timeout=10_000)
    finally:
        stage.proxy.start()
    tabs[0].page.evaluate("dispatchEvent(new Event('online'))")  # whichever tab notices, the one that reads tries
    for tab in tabs:
        tab.answer("Worth the wait")
        expect(tab.page.get_by_text("Connection lost")).to_be_hidden()
        assert tab.lines() == ["mine: Tell me everything", "bot: Worth the wait"]
    assert window.open_streams == 1


def test_the_time_to_the_next_try_is_drawn_from_the_whole_of_what_the_proxy_told(window: Window) -> None:
    """Full jitter, from the first try on, so that a restart of the proxy brings no stampede."""
    window.context.add_init_script("""window.waits = [];
        const wait = setTimeout, random = Math.random;
        window.setTimeout = (then, milliseconds) => { waits.push(milliseconds); return wait(then, milliseconds); };
        Math.random = () => 0.25;""")
    tab = window.tab()
    tries: list[Route] = []

    def answer(route: Route) -> None:
        tries.append(route)
        headers = {"Access-Control-Allow-Origin": window.stage.workshop.url, "Content-Type": "text/event-stream"}
        if len(tries) == 1:
            route.fulfill(body="retry: 800\n\n", headers=headers)
        elif len(tries) <= 4:
            route.abort()

    tab.page.route("**/v1/session/events*", answer)
    tab.enter()
    tab.say("Hello")
    tab.until(lambda: len(tries) == 5)
    waits = tab.page.evaluate("waits")
    assert [one for one in waits if one in {200, 400, 800, 1600}] == [200, 400, 800, 1600]


def test_a_gateway_that_refuses_for_a_while_ends_no_stream(window: Window, stage: Stage) -> None:
    """In the middle of a deploy a front server answers what it likes."""
    tab = window.tab()
    tries: list[Route] = []

    def refuse(route: Route) -> None:
        tries.append(route)
        if len(tries) <= 4:
            origin = {"Access-Control-Allow-Origin": window.stage.workshop.url, "Content-Type": "text/html"}
            route.fulfill(status=(404, 403, 400, 410)[len(tries) - 1], headers=origin, body="<h1>Not now</h1>")
        else:
            route.continue_()

    tab.page.route("**/v1/session/events*", refuse)
    tab.page.evaluate("Math.random = () => 0.05")
    tab.enter()
    stage.upstream.order("answers", text="Here I am", delay=1)
    tab.say("Hello")
    tab.answer("Here I am")
    assert len(tries) == 5


def test_a_tab_woken_from_sleep_reconnects_at_once(window: Window) -> None:
    window.context.clock.install()
    (tab,) = window.conversation(1)
    tab.page.evaluate("Math.random = () => 0.999")
    tab.page.clock.fast_forward("08:00:00")
    tab.until(lambda: len(tab.streams) == 2, seconds=1)
    assert tab.open_streams == 1


def test_a_leader_that_hangs_loses_the_lock_to_a_tab_that_hears_nothing(window: Window, stage: Stage) -> None:
    window.context.clock.install()
    first, second = window.conversation(2)
    hanging = window.leader
    other = second if hanging is first else first
    mute = "BroadcastChannel.prototype.postMessage = function () {}"
    hanging.page.evaluate(mute)
    other.page.clock.fast_forward("00:40")
    other.page.clock.fast_forward("00:10")
    other.until(lambda: other.open_streams == 1)
    hanging.until(lambda: hanging.open_streams == 0)
    say_upstream(stage, "By the way")
    for tab in (other, hanging):
        tab.answer("By the way")
    assert window.open_streams == 1


def test_a_leader_that_lives_keeps_the_lock(window: Window) -> None:
    window.context.clock.install()
    first, second = window.conversation(2)
    leader = window.leader
    other = second if leader is first else first
    for _ in range(3):
        other.page.clock.fast_forward("00:40")
        other.page.evaluate("fetch('/elsewhere').then(one => one.text())")  # time for the question and its answer
        other.page.clock.fast_forward("00:10")
    assert window.leader is leader
    assert other.streams == []


def test_a_message_of_unknown_fate_is_looked_for_before_it_can_be_sent_again(window: Window, stage: Stage) -> None:
    window.context.clock.install()
    first, second = window.conversation(2)

    def later(text: str, seconds: str) -> None:
        """Time goes by after a word from the bot: silence for longer than 40 s would break the stream."""
        say_upstream(stage, text)
        for tab in (first, second):
            tab.answer(text)
        for tab in (first, second):
            tab.page.clock.fast_forward(seconds)

    later("Still here", "00:25")
    later("By the way", "00:25")
    page = {"Access-Control-Allow-Origin": stage.workshop.url, "Content-Type": "text/html"}
    first.page.route("**/v1/session/messages", lambda route: route.fulfill(status=502, headers=page), times=1)
    first.say("What does it cost?")
    for tab in (first, second):
        expect(tab.page.get_by_text("Checking whether it arrived …")).to_be_visible()
        expect(tab.page.get_by_role("button", name="Send again")).to_be_hidden()
    later("And so on", "00:25")
    later("And on", "00:25")
    for tab in (first, second):
        expect(tab.page.get_by_text("Not sure this was delivered.")).to_be_visible()
    second.page.get_by_role("button", name="Send again").click()
    for tab in (first, second):
        expect(tab.page.locator(".item")).to_have_count(8)
        expect(tab.page.get_by_text("Not sure")).to_be_hidden()
        assert [line for line in tab.lines() if line.startswith("mine")] == [
            "mine: Hello",
            "mine: What does it cost?",
        ]
    sent = [one for tab in (first, second) for one in tab.requests if one.post_data and "cost" in one.post_data]
    keys = {one.all_headers()["idempotency-key"] for one in sent}
    assert len(keys) == len(sent) == 2, "another try, not a repetition"


BEATING = """const real = fetch;
    window.fetch = (url, options) => !`${url}`.includes("/v1/session/events") ? real(url, options) : Promise.resolve(
        new Response(new ReadableStream({start(feed) {
            window.beat = () => feed.enqueue(new TextEncoder().encode(": \\n\\n"));
        }})));"""


def test_a_message_nobody_brings_can_be_sent_again_though_nothing_else_comes(window: Window, stage: Stage) -> None:
    """No event draws the chat anew: the stream has nothing but its heartbeat."""
    window.context.clock.install()
    window.context.add_init_script(BEATING)
    (tab,) = window.chats(1)
    page = {"Access-Control-Allow-Origin": stage.workshop.url, "Content-Type": "text/html"}
    tab.page.route("**/v1/session/messages", lambda route: route.fulfill(status=502, headers=page), times=1)
    tab.say("What does it cost?")
    expect(tab.page.get_by_text("Checking whether it arrived …")).to_be_visible()
    for _ in range(3):
        tab.page.evaluate(
            "async () => { beat(); await new Promise(resolve => { requestAnimationFrame(resolve); }); }"
        )
        expect(tab.page.get_by_text("Checking whether it arrived …")).to_be_visible()
        tab.page.clock.fast_forward("00:15")
    expect(tab.page.get_by_role("button", name="Send again")).to_be_visible()


def test_a_tab_closed_while_it_sends_leaves_the_look_to_the_others(window: Window, stage: Stage) -> None:
    first, second = window.conversation(2)
    first.page.route("**/v1/session/messages", lambda route: None)
    first.say("What does it cost?")
    expect(second.page.locator(".mine")).to_have_count(2)
    expect(second.page.get_by_text("Checking whether it arrived …")).to_be_hidden()
    first.page.close(run_before_unload=True)
    expect(second.page.get_by_text("Checking whether it arrived …")).to_be_visible()


def test_what_is_typed_in_two_tabs_at_once_survives_in_both(window: Window, stage: Stage) -> None:
    first, second = window.conversation(2)
    first.until(lambda: first.kept() == [])
    for tab in (first, second):
        tab.page.route("**/v1/session/messages", lambda route: None)
    first.say("One")
    second.say("Two")
    expect(first.page.locator(".mine")).to_have_text(["Hello", "One", "Two"])
    expect(second.page.locator(".mine")).to_have_text(["Hello", "One", "Two"])
    assert first.kept() == second.kept() == ["One", "Two"]
    second.page.reload()
    expect(second.page.locator(".mine")).to_have_text(["Hello", "One", "Two"])


def test_two_first_messages_at_once_begin_one_conversation(window: Window, stage: Stage) -> None:
    first, second = window.chats(2)
    for tab in (first, second):
        tab.page.locator("textarea").fill("Hello")
    for tab in (first, second):
        tab.page.evaluate("document.querySelector('chat-widget').shadowRoot.querySelector('.send').click()")
    for tab in (first, second):
        expect(tab.page.locator(".item")).to_have_count(4)
    assert len(stage.upstream.requests("start")) == 1
    assert window.open_streams == 1


def test_a_conversation_renewed_in_one_tab_is_new_in_the_others(window: Window, stage: Stage) -> None:
    first, second = window.conversation(2)
    second.page.locator("textarea").fill("half a sentence")
    first.page.locator("button.icon").nth(0).click()
    first.page.locator(".bar:not([hidden]) .solid").click()
    expect(second.page.locator(".item")).to_have_count(0)
    expect(second.page.locator("textarea")).to_have_value("half a sentence")
    second.until(lambda: window.open_streams == 0)
    second.page.locator("textarea").press("Enter")
    for tab in (first, second):
        expect(tab.page.locator(".item")).to_have_count(2)
    assert first.lines() == second.lines()
    assert len(stage.upstream.requests("start")) == 2
    assert window.open_streams == 1


@pytest.mark.parametrize(("order", "told"), [("end", "has ended"), ("expire", "has expired")])
def test_a_conversation_that_is_over_is_over_in_every_tab(
    window: Window, stage: Stage, order: str, told: str
) -> None:
    first, second = window.conversation(2)
    stage.upstream.order(order, session=stage.upstream.ask("sessions")[-1]["id"])
    for tab in (first, second):
        expect(tab.page.get_by_text(told)).to_be_visible(timeout=10_000)
        assert len(tab.lines()) == 2
    first.until(lambda: window.open_streams == 0)
    first.page.locator(".bar:not([hidden]) .solid").last.click()
    expect(second.page.locator("textarea")).to_be_visible()


def test_a_refusal_that_only_one_tab_meets_is_known_in_the_others(window: Window, stage: Stage) -> None:
    first, second = window.conversation(2)
    problem = json.dumps({"code": "session_expired", "status": 410, "detail": "This conversation has expired."})
    headers = {"Access-Control-Allow-Origin": stage.workshop.url, "Content-Type": "application/problem+json"}
    first.page.route("**/v1/session/messages", lambda route: route.fulfill(status=410, headers=headers, body=problem))
    first.say("What does it cost?")
    expect(second.page.get_by_text("has expired").last).to_be_visible()
    second.until(lambda: window.open_streams == 0)
