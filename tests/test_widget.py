"""The whole job in a real browser: a shop, another origin for the chat, a visitor who asks."""

import base64
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, FloatRect, expect

from tests.browser import Stage, Visitor, secrets_of, visiting
from tests.servers import running

ROOT = Path(__file__).parent.parent
STATIC = ROOT / "static"


STRIP_FRAME: FloatRect = {"x": 850, "y": 120, "width": 430, "height": 680}


def strip(visitor: Visitor, frames: list[bytes], path: Path) -> None:
    """The frames side by side, as one picture."""
    page = visitor.page.context.new_page()
    pictures = "".join(f'<img src="data:image/png;base64,{base64.b64encode(one).decode()}">' for one in frames)
    page.set_content(f'<body style="display:inline-flex;gap:12px;margin:0;background:#fff">{pictures}')
    page.locator("body").screenshot(path=path)
    page.close()


def test_a_visitor_asks_about_the_product_in_front_of_them(visitor: Visitor, stage: Stage, images: Path) -> None:
    visitor.go()
    visitor.open_chat()
    expect(visitor.page.get_by_text("I can see which page you are on")).to_be_visible()
    frames = [visitor.page.screenshot(clip=STRIP_FRAME, animations="disabled")]
    cost = "**Aurora Desk Lamp** costs **€89.00** and is in stock."
    stage.upstream.order("answers", text=cost, delay=2.5, progress=[[0.1, "Looking at the page"]])
    visitor.page.get_by_role("button", name="What does it cost?").click()
    assert visitor.lines() == ["mine: What does it cost?"], "one's own message is there at once"
    expect(visitor.page.locator(".typing")).to_contain_text("Looking at the page")
    frames.append(visitor.page.screenshot(clip=STRIP_FRAME, animations="disabled"))
    visitor.answer("costs €89.00 and is in stock")
    expect(visitor.page.locator(".typing")).to_be_hidden()
    assert visitor.page.locator(".bot strong").first.inner_text() == "Aurora Desk Lamp", "rendered, not as typed"
    frames.append(visitor.page.screenshot(clip=STRIP_FRAME, animations="disabled"))
    visitor.say("Tell me about it")
    visitor.answer("Lighting")
    visitor.page.screenshot(path=images / "chat.png", animations="disabled")
    strip(visitor, frames, images / "strip.png")
    (start,) = stage.upstream.requests("start")
    context = start["body"]["page_context"]
    assert context["product_name"] == "Aurora Desk Lamp"
    assert context["price"] == "89.00"
    assert context["currency"] == "EUR"
    assert context["in_stock"] is True
    assert context["page_url"] == f"{stage.origin}/aurora-desk-lamp.html"
    assert context["page_language"] == "en"
    assert start["headers"]["referer"] == f"{stage.origin}/aurora-desk-lamp.html"


def test_no_byte_the_browser_receives_has_a_secret_in_it(visitor: Visitor, stage: Stage) -> None:
    visitor.go()
    visitor.open_chat()
    for message in ("What does it cost?", "/markdown", "/fail"):
        visitor.say(message)
        expect(visitor.page.locator(".typing")).to_be_visible()
        expect(visitor.page.locator(".typing")).to_be_hidden(timeout=10_000)
    # The streams, too: read as the widget reads them, byte by byte.
    script = """async ([url, origin, site]) => {
        const {handle} = JSON.parse(localStorage[`chat-widget:${origin}:${site}`]);
        const abort = new AbortController();
        const response = await fetch(url, {headers: {Authorization: `Bearer ${handle}`}, signal: abort.signal});
        const reader = response.body.getReader(), decoder = new TextDecoder();
        let text = JSON.stringify([...response.headers]);
        while (!text.includes("event: ready")) text += decoder.decode((await reader.read()).value);
        abort.abort();
        return text;
    }"""
    proxy = stage.proxy.url
    streamed: str = visitor.page.evaluate(script, [f"{proxy}/v1/session/events", proxy, "shop"])
    assert "costs" in streamed
    received = visitor.received() + streamed.encode()
    assert b"widget-proxy" in received or b"chat-widget" in received
    for name, forms in secrets_of(stage).items():
        for form in forms:
            assert form not in received, f"the {name} reached the browser"
            assert form not in visitor.sent(), f"the browser sent the {name}"
    for internal in (b"acme-team", b"trace_info", b"internal-acme-label", stage.upstream.url.encode()):
        assert internal not in received
    log = stage.proxy.output().encode()
    for name, forms in secrets_of(stage).items():
        if not name.startswith("session id"):
            assert not [form for form in forms if form in log], f"the {name} is in the log"
    assert visitor.page.context.cookies() == []
    assert visitor.hosts() == {urlsplit(stage.origin).netloc, urlsplit(proxy).netloc}


def test_the_search_for_secrets_finds_one_that_is_there(visitor: Visitor, stage: Stage) -> None:
    visitor.go()
    visitor.page.evaluate("key => { localStorage.leaked = btoa(key); }", "marker-embed-key-7f3a9c51")
    received = visitor.received()
    assert [form for form in secrets_of(stage)["embed key"] if form in received]


def test_on_the_next_product_the_next_answer_is_about_that(visitor: Visitor, stage: Stage) -> None:
    visitor.go("aurora-desk-lamp.html")
    visitor.open_chat()
    visitor.say("What does it cost?")
    visitor.answer("Aurora Desk Lamp costs €89.00")
    visitor.go("birk-side-table.html")
    visitor.answer("Aurora Desk Lamp costs €89.00")
    visitor.say("Is it in stock?")
    visitor.answer("Birk Side Table is out of stock")
    visitor.go("care-guide.html")
    visitor.say("How do I care for the wood?")
    visitor.answer("Care guide: oak, wool and stoneware")
    assert len(stage.upstream.requests("start")) == 1, "one conversation"
    assert [line.partition(":")[0] for line in visitor.lines()] == ["mine", "bot"] * 3


def test_a_reload_in_the_middle_of_an_answer_loses_nothing(visitor: Visitor, stage: Stage) -> None:
    stage.upstream.order("answers", text="Worth the wait", delay=3, progress=[[0.2, "Thinking hard"]])
    visitor.go()
    visitor.open_chat()
    visitor.say("Tell me everything")
    expect(visitor.page.locator(".typing")).to_contain_text("Thinking hard")
    visitor.page.reload()
    visitor.page.locator(".panel").wait_for()
    assert visitor.lines() == ["mine: Tell me everything"]
    expect(visitor.page.locator(".typing")).to_contain_text("Thinking hard")
    visitor.answer("Worth the wait")
    expect(visitor.page.locator(".typing")).to_be_hidden()
    assert visitor.lines() == ["mine: Tell me everything", "bot: Worth the wait"]
    wait_for_own_row(visitor, stage)
    assert visitor.lines() == ["mine: Tell me everything", "bot: Worth the wait"]
    visitor.page.reload()
    visitor.answer("Worth the wait")
    assert visitor.lines() == ["mine: Tell me everything", "bot: Worth the wait"]


def test_a_restart_of_the_proxy_in_the_middle_of_an_answer_loses_nothing(visitor: Visitor, stage: Stage) -> None:
    stage.upstream.order("answers", text="Worth the wait", delay=4)
    visitor.go()
    visitor.open_chat()
    visitor.say("Tell me everything")
    expect(visitor.page.locator(".typing")).to_be_visible()
    wait_for_request(stage, "task_poll")
    stage.proxy.kill()
    expect(visitor.page.get_by_text("Connection lost")).to_be_visible()
    stage.proxy.start()
    visitor.answer("Worth the wait")
    expect(visitor.page.get_by_text("Connection lost")).to_be_hidden()
    visitor.say("And now?")
    visitor.answer("You are looking at Aurora Desk Lamp")
    wait_for_own_row(visitor, stage)
    lines = visitor.lines()
    assert lines[:3] == ["mine: Tell me everything", "bot: Worth the wait", "mine: And now?"]
    assert len(lines) == 4
    assert len(stage.upstream.requests("message")) == 2, "nothing was sent twice"


def test_a_failed_answer_is_one_outcome_with_a_retry(visitor: Visitor, stage: Stage, images: Path) -> None:
    stage.upstream.order("answers", text="", delay=0.3, outcome="fail")
    visitor.go()
    visitor.open_chat()
    visitor.say("What does it cost?")
    retry = visitor.page.get_by_role("button", name="Try again")
    expect(retry).to_be_visible()
    expect(visitor.page.get_by_text("could not answer")).to_be_visible()
    visitor.page.screenshot(path=images / "failure.png", animations="disabled")
    # Then the history brings the bot's apology, which takes the failure's place.
    visitor.answer("Sorry, something went wrong")
    expect(visitor.page.get_by_text("could not answer")).to_be_hidden()
    expect(retry).to_be_visible()
    retry.click()
    visitor.answer("costs €89.00")
    expect(retry).to_be_hidden()
    assert [line[:9] for line in visitor.lines()] == ["mine: Wha", "bot: Sorr", "mine: Wha", "bot: Auro"]


def test_a_message_that_was_not_sent_can_be_sent_again(visitor: Visitor, stage: Stage) -> None:
    stage.upstream.order("faults", kind="start", fault="status", status=503, times=1)
    visitor.go()
    visitor.open_chat()
    visitor.say("What does it cost?")
    visitor.page.get_by_role("button", name="Try again").click()
    visitor.answer("costs €89.00")
    assert visitor.lines() == ["mine: What does it cost?", "bot: Aurora Desk Lamp costs €89.00 and is in stock."]
    assert len(stage.upstream.requests("message")) == 1


def test_a_message_of_unknown_fate_is_looked_for_and_settled_by_the_history(visitor: Visitor, stage: Stage) -> None:
    visitor.go()
    visitor.open_chat()
    visitor.say("Hello")
    visitor.answer("You are looking at Aurora Desk Lamp")
    stage.upstream.order("faults", kind="message", fault="close_after_accept", times=1)
    visitor.say("What does it cost?")
    expect(visitor.page.get_by_text("Checking whether it arrived")).to_be_visible()
    visitor.answer("costs €89.00")
    expect(visitor.page.get_by_text("Checking whether it arrived")).to_be_hidden()
    assert [line[:9] for line in visitor.lines()] == ["mine: Hel", "bot: Hell", "mine: Wha", "bot: Auro"]


def test_a_gateways_error_page_leaves_the_fate_of_a_message_open(visitor: Visitor, stage: Stage) -> None:
    visitor.go()
    visitor.open_chat()
    visitor.say("Hello")
    visitor.answer("You are looking at Aurora Desk Lamp")
    page = {"Access-Control-Allow-Origin": stage.origin, "Content-Type": "text/html"}
    visitor.page.route(
        "**/v1/session/messages",
        lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>", headers=page),
        times=1,
    )
    visitor.say("What does it cost?")
    expect(visitor.page.get_by_text("Checking whether it arrived")).to_be_visible()


def test_what_is_typed_in_the_chat_is_no_shortcut_of_the_page(visitor: Visitor) -> None:
    visitor.go()
    visitor.page.evaluate("() => { window.heard = 0; document.addEventListener('keydown', () => { heard++; }); }")
    visitor.open_chat()
    visitor.page.locator("textarea").press_sequentially("no")
    assert visitor.page.evaluate("heard") == 0


def test_a_new_chat_is_another_conversation(visitor: Visitor, stage: Stage) -> None:
    visitor.go()
    visitor.open_chat()
    visitor.say("What does it cost?")
    visitor.answer("costs €89.00")
    visitor.page.locator("button.icon").nth(0).click()
    visitor.page.get_by_role("button", name="Cancel").click()
    assert len(visitor.lines()) == 2
    visitor.page.locator("button.icon").nth(0).click()
    visitor.page.locator(".bar:not([hidden]) .solid").click()
    assert visitor.lines() == []
    expect(visitor.page.get_by_role("button", name="Is it in stock?")).to_be_visible()
    visitor.say("Is it in stock?")
    visitor.answer("is in stock")
    visitor.page.reload()
    visitor.answer("is in stock")
    assert len(visitor.lines()) == 2
    assert len(stage.upstream.requests("start")) == 2


def test_two_tabs_are_one_conversation(visitor: Visitor, stage: Stage) -> None:
    visitor.go()
    visitor.open_chat()
    second = Visitor(visitor.page.context.new_page(), stage)
    second.go("fjord-armchair.html")
    second.open_chat()
    visitor.say("What does it cost?")
    visitor.answer("Aurora Desk Lamp costs €89.00")
    second.say("And this?")
    second.answer("Fjord Armchair")
    second.answer("Aurora Desk Lamp costs €89.00")
    visitor.answer("Fjord Armchair")
    assert len(stage.upstream.requests("start")) == 1
    assert [line for line in second.console if line.startswith("uncaught")] == []


def test_everything_works_by_keyboard(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go("care-guide.html")
    page.locator("chat-widget .launcher").focus()
    page.keyboard.press("Enter")
    expect(page.locator("textarea")).to_be_focused()
    page.keyboard.type("first line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    visitor.answer("You are reading")
    assert visitor.lines()[0] == "mine: first line\nsecond line"
    expect(page.locator("textarea")).to_have_value("")
    page.keyboard.press("Escape")
    expect(page.locator(".panel")).to_be_hidden()
    expect(page.locator("chat-widget .launcher")).to_be_focused()


def test_a_message_too_long_is_held_back_and_says_by_how_much(visitor: Visitor, stage: Stage) -> None:
    visitor.go()
    visitor.open_chat()
    visitor.say("x" * 4007)
    expect(visitor.page.get_by_text("7 characters too many")).to_be_visible()
    expect(visitor.page.get_by_role("button", name="Send")).to_be_disabled()
    visitor.page.locator("textarea").fill("   ")
    expect(visitor.page.get_by_role("button", name="Send")).to_be_disabled()
    assert stage.upstream.requests("start") == []


def test_nothing_a_bot_writes_runs_or_calls_home(visitor: Visitor, stage: Stage) -> None:
    visitor.go()
    visitor.open_chat()
    visitor.say("/markdown")
    bubble = visitor.answer("What Markdown can do")
    for selector in ("table td", "ol > li ul li", "blockquote", "pre code", "s", "em", "h3"):
        expect(bubble.locator(selector).first).to_be_visible()
    assert bubble.locator("script, img, iframe, style, [onerror]").count() == 0
    links = bubble.locator("a").evaluate_all("links => links.map(a => [a.protocol, a.target, a.rel])")
    assert links
    assert all(one == ["https:", "_blank", "noopener noreferrer nofollow"] for one in links)
    assert visitor.hosts() == {urlsplit(stage.origin).netloc, urlsplit(stage.proxy.url).netloc}


@pytest.mark.parametrize(("order", "told"), [("end", "has ended"), ("expire", "has expired")])
def test_a_conversation_that_is_over_stays_readable(visitor: Visitor, stage: Stage, order: str, told: str) -> None:
    visitor.go()
    visitor.open_chat()
    visitor.say("What does it cost?")
    visitor.answer("costs €89.00")
    stage.upstream.order(order, session=stage.upstream.ask("sessions")[0]["id"])
    expect(visitor.page.get_by_text(told)).to_be_visible(timeout=10_000)
    expect(visitor.page.locator("textarea")).to_be_hidden()
    assert len(visitor.lines()) == 2
    visitor.page.locator(".bar:not([hidden]) .solid").last.click()
    visitor.say("Is it in stock?")
    visitor.answer("is in stock")


def test_a_page_can_say_more_of_itself(visitor: Visitor, stage: Stage) -> None:
    visitor.go("index.html")
    visitor.page.evaluate("""() => {
        const chat = document.querySelector("chat-widget");
        chat.setAttribute("page-context", '{"product_name": "Declared", "price": "1.00", "currency": "EUR"}');
        chat.pageContext = {price: "2.00"};
    }""")
    visitor.open_chat()
    visitor.say("What does it cost?")
    visitor.answer("Declared costs €2.00")
    visitor.page.evaluate("document.querySelector('chat-widget').pageContext = {product_name: 'Set by a script'}")
    visitor.say("What does it cost?")
    visitor.answer("Set by a script costs €1.00")


def test_the_script_can_carry_what_the_page_declares(visitor: Visitor, stage: Stage) -> None:
    declared = """data-page-context='{"product_name": "Declared", "price": "3.00", "currency": "EUR"}' data-position="left" """
    page = tag(stage).replace('data-site="shop"', 'data-site="shop" ' + declared)
    early = "<script>document.write('<chat-widget hidden></chat-widget>')</script>"
    stage.workshop.pages["/declared"] = ({}, page + early)
    visitor.page.goto(f"{stage.workshop.url}/declared")
    visitor.page.locator("chat-widget[site=shop] .launcher").click()
    visitor.page.locator(".panel").wait_for()
    box = visitor.page.locator(".panel").bounding_box()
    assert box is not None
    assert box["x"] == 20
    visitor.say("What does it cost?")
    visitor.answer("Declared costs €3.00")


def test_it_works_where_storage_is_blocked(browser: Browser, stage: Stage) -> None:
    with visiting(browser, stage) as visitor:
        visitor.page.add_init_script("""for (const name of ["localStorage", "sessionStorage"]) {
            Object.defineProperty(window, name, {get() { throw new DOMException("denied", "SecurityError"); }});
        }""")
        visitor.page.route("**/shop.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
        visitor.go()
        visitor.open_chat()
        visitor.say("What does it cost?")
        visitor.answer("costs €89.00")
        assert [line for line in visitor.console if line.startswith("uncaught")] == []


def tag(stage: Stage) -> str:
    return f'<!doctype html><title>T</title><script src="{stage.proxy.url}/widget.js" data-site="shop"></script>'


def test_it_works_under_the_strictest_policy(visitor: Visitor, stage: Stage) -> None:
    proxy = stage.proxy.url
    policy = f"default-src 'none'; script-src {proxy}; connect-src {proxy}; "
    policy += "require-trusted-types-for 'script'; trusted-types 'none'"
    stage.workshop.pages["/strict"] = ({"Content-Security-Policy": policy}, tag(stage))
    visitor.page.add_init_script("""window.violations = [];
        addEventListener("securitypolicyviolation", event => violations.push(event.violatedDirective));""")
    visitor.page.goto(f"{stage.workshop.url}/strict")
    visitor.open_chat()
    visitor.say("/markdown")
    visitor.answer("What Markdown can do")
    assert [one for one in visitor.page.evaluate("violations") if one != "img-src"] == [], (
        "the favicon is Chromium's own"
    )


def test_a_blocked_chat_names_what_is_missing(visitor: Visitor, stage: Stage) -> None:
    policy = f"default-src 'none'; script-src {stage.proxy.url}"
    stage.workshop.pages["/blocked"] = ({"Content-Security-Policy": policy}, tag(stage))
    visitor.page.goto(f"{stage.workshop.url}/blocked")
    with visitor.page.expect_console_message(lambda told: told.text.startswith("chat-widget:")) as message:
        visitor.page.locator("chat-widget .launcher").click()
    assert "connect-src" in message.value.text
    expect(visitor.page.locator("chat-widget .launcher")).to_be_visible()


def test_a_page_of_another_origin_gets_a_quiet_sentence(browser: Browser, stage: Stage) -> None:
    with visiting(browser, stage) as visitor:
        visitor.page.goto(f"{stage.origin.replace('127.0.0.1', 'localhost')}/aurora-desk-lamp.html")
        visitor.open_chat()
        expect(visitor.page.get_by_text("Chat is unavailable just now")).to_be_visible()
        assert [line for line in visitor.console if f"allowed_origins name {visitor.page.evaluate('origin')}" in line]
        assert [line for line in visitor.console if line.startswith("uncaught")] == []


def test_the_page_is_left_alone(visitor: Visitor, stage: Stage) -> None:
    """Nothing but the loader before the visitor wants to chat, no layout shift, no globals, no styles in or out."""
    visitor.page.add_init_script("""window.before = new Set(Object.getOwnPropertyNames(window)); window.shift = 0;
        new PerformanceObserver(list => list.getEntries().forEach(one => { shift += one.value; }))
            .observe({type: "layout-shift", buffered: true});""")
    visitor.go()
    visitor.page.locator("chat-widget .launcher").wait_for()
    visitor.page.wait_for_load_state("networkidle")
    asked = [urlsplit(one.url).path for one in visitor.requests if one.url.startswith(stage.proxy.url)]
    assert asked == ["/widget.js"]
    assert visitor.page.evaluate("shift") == 0
    added: list[str] = visitor.page.evaluate("Object.getOwnPropertyNames(window).filter(name => !before.has(name))")
    assert [name for name in added if name not in {"before", "shift", "shown", "count"}] == []
    visitor.page.add_style_tag(
        content="* { color: red !important; display: none !important; font-size: 99px !important }"
    )
    visitor.page.evaluate("document.querySelector('chat-widget').open()")
    color = "element => getComputedStyle(element).color"
    assert visitor.page.locator(".panel textarea").evaluate(color) != "rgb(255, 0, 0)"


def test_a_script_loaded_twice_is_one_chat(visitor: Visitor, stage: Stage) -> None:
    visitor.go()
    visitor.page.locator("chat-widget .launcher").wait_for()
    visitor.page.evaluate(
        """src => new Promise(resolve => {
            const script = Object.assign(document.createElement("script"), {src, onload: resolve});
            script.dataset.site = "shop";
            document.head.append(script);
        })""",
        f"{stage.proxy.url}/widget.js?again",
    )
    assert visitor.page.locator("chat-widget").count() == 1


def test_on_a_phone_the_panel_fills_the_screen(browser: Browser, stage: Stage, images: Path) -> None:
    phone = {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "has_touch": True,
        "is_mobile": True,
    }
    with visiting(browser, stage, **phone) as visitor:
        visitor.go()
        visitor.open_chat()
        visitor.say("What does it cost?")
        visitor.answer("costs €89.00")
        box = visitor.page.locator(".panel").bounding_box()
        assert box == {"x": 0, "y": 0, "width": 390, "height": 844}
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
        size = "element => parseFloat(getComputedStyle(element).fontSize)"
        assert visitor.page.locator("textarea").evaluate(size) >= 16, "smaller, and a phone zooms in"
        visitor.page.screenshot(path=images / "phone.png", animations="disabled")


def test_in_a_dark_scheme_it_is_dark(browser: Browser, stage: Stage, images: Path) -> None:
    with visiting(browser, stage, color_scheme="dark") as visitor:
        visitor.go()
        visitor.open_chat()
        visitor.say("What does it cost?")
        visitor.answer("costs €89.00")
        background = visitor.page.locator(".panel").evaluate("element => getComputedStyle(element).backgroundColor")
        assert background == "rgb(23, 27, 36)"
        visitor.page.screenshot(path=images / "dark.png", animations="disabled")


def test_answers_to_a_closed_chat_are_marked_as_unread(visitor: Visitor, stage: Stage) -> None:
    stage.upstream.order("answers", text="There you are", delay=1.5)
    visitor.go()
    visitor.open_chat()
    visitor.say("Hello")
    expect(visitor.page.locator(".typing")).to_be_visible()
    visitor.page.get_by_role("button", name="Close chat").click()
    expect(visitor.page.locator(".launcher.unread")).to_be_visible()
    visitor.open_chat()
    visitor.answer("There you are")
    assert visitor.page.locator(".launcher.unread").count() == 0


def test_an_answer_to_a_chat_that_was_closed_is_marked_on_the_next_page_too(visitor: Visitor, stage: Stage) -> None:
    stage.upstream.order("answers", text="There you are", delay=3)
    visitor.go()
    visitor.open_chat()
    visitor.say("Hello")
    expect(visitor.page.locator(".typing")).to_be_visible()
    visitor.page.get_by_role("button", name="Close chat").click()
    for path in ("fjord-armchair.html", "care-guide.html"):  # on the way there, and already counted
        visitor.go(path)
        unread = visitor.page.get_by_role("button", name="Open chat, 1 new message")
        expect(unread).to_be_visible(timeout=10_000)
        assert visitor.page.title().startswith("● ")
        expect(visitor.page.locator(".panel")).to_be_hidden()
    unread.click()
    visitor.answer("There you are")
    visitor.page.get_by_role("button", name="Close chat").click()
    visitor.go()
    visitor.page.wait_for_load_state("networkidle")
    assert not visitor.page.title().startswith("● ")
    assert visitor.page.locator(".panel").count() == 0, "nothing is loaded again before it is wanted"


def test_a_conversation_that_ends_with_its_page_leaves_nothing_to_wait_for(visitor: Visitor, stage: Stage) -> None:
    stage.upstream.order("answers", text="There you are", delay=30)
    stage.workshop.pages["/brief"] = (
        {},
        tag(stage).replace("data-site", 'data-persistent-session="false" data-site'),
    )
    visitor.page.goto(f"{stage.workshop.url}/brief")
    visitor.open_chat()
    visitor.say("Hello")
    expect(visitor.page.locator(".typing")).to_be_visible()
    visitor.page.get_by_role("button", name="Close chat").click()
    for asked in (True, False):
        visitor.page.reload()
        visitor.page.wait_for_load_state("networkidle")
        assert (visitor.page.locator(".panel").count() == 1) is asked


def test_the_launcher_says_what_it_does_after_the_chat_was_closed_too(visitor: Visitor) -> None:
    visitor.go()
    visitor.open_chat()
    visitor.page.get_by_role("button", name="Close chat").click()
    launcher = visitor.page.get_by_role("button", name="Ask about this page", exact=True)  # the shop's own words
    expect(launcher).to_be_focused()


def test_the_launcher_can_be_moved_and_stays_within_the_window(visitor: Visitor) -> None:
    visitor.go()
    launcher, mouse = visitor.page.locator("chat-widget .launcher"), visitor.page.mouse
    launcher.hover()
    mouse.down()
    mouse.move(300, 400, steps=5)
    mouse.move(-50, 400)
    mouse.up()
    mouse.move(600, 100)
    box = launcher.bounding_box()
    assert box is not None
    assert box["x"] == 0
    assert 340 < box["y"] < 400
    assert visitor.page.locator(".panel").count() == 0, "a move is no press"
    visitor.open_chat()
    panel = visitor.page.locator(".panel").bounding_box()
    assert panel is not None
    assert panel["x"] + panel["width"] == 1260, "the panel is in its corner"


@pytest.fixture(scope="module")
def stage_with_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("files"), WIDGET_PROXY_SITES__SHOP__ATTACHMENTS="true")
    with running(stage.upstream, stage.proxy, stage.shop), stage.workshop:
        yield stage


def test_files_are_checked_uploaded_and_sent(browser: Browser, stage_with_files: Stage) -> None:
    stage = stage_with_files
    with visiting(browser, stage) as visitor:
        page = visitor.page
        visitor.go()
        visitor.open_chat()
        choose = page.locator("input[type=file]")
        choose.set_input_files({"name": "lamp.exe", "mimeType": "text/plain", "buffer": b"x"})
        expect(page.locator(".file.bad")).to_contain_text("Unsupported file type")
        page.get_by_role("button", name="Remove file: lamp.exe").click()
        expect(page.locator(".file")).to_have_count(0)
        expect(page.locator(".send")).to_be_disabled()
        stage.upstream.order("faults", kind="upload", fault="status", status=500, times=1)
        choose.set_input_files({"name": "lamp.txt", "mimeType": "text/plain", "buffer": b"warm white"})
        page.get_by_role("button", name="Upload again: lamp.txt").click()
        expect(page.locator(".file.done")).to_contain_text("File attached")
        expect(page.locator(".send")).to_be_disabled()  # a message of files alone is none
        visitor.say("Which colour is this?")
        expect(page.locator(".item .file")).to_have_text("lamp.txt")
        expect(page.locator(".files .file")).to_have_count(0)
        expect(page.locator(".item .bot")).to_be_visible(timeout=10_000)
        (sent,) = stage.upstream.requests("message")
        assert len(sent["body"]["attachment_ids"]) == 1
        assert [line for line in visitor.console if line.startswith("uncaught")] == []


def test_all_of_the_widget_weighs_little() -> None:
    loader = weight(STATIC / "widget.js")
    everything = loader + sum(weight(path) for path in (STATIC / "widget").iterdir() if path.is_file())
    assert loader < 3750
    assert everything < 22_760, "bytes gzipped, loader and modules and styles"


def test_the_documentation_says_what_it_weighs() -> None:
    files = weight(STATIC / "widget/files.js")
    modules = sum(weight(path) for path in (STATIC / "widget").iterdir() if path.is_file())
    opened = modules - files + weight(STATIC / "widget/languages/en.json")
    loader = weight(STATIC / "widget.js")
    section = (ROOT / "docs/widget.md").read_text().split("\n## What it costs a page\n")[1].split("\n## ")[0]
    told = [float(figure) for figure in re.findall(r"([\d.]+) kB", section)]
    figures = [loader, opened, loader + opened, files, loader + modules]
    assert told == [round(figure / 1000, 1) for figure in figures]


def test_what_is_loaded_is_loaded_when_it_is_wanted(visitor: Visitor, stage: Stage) -> None:
    seen: list[str] = []

    def asked() -> list[str]:
        """What was asked of the proxy since the last look; which tabs and answers there are is not of interest."""
        paths = [
            urlsplit(one.url).path
            for one in visitor.requests
            if one.url.startswith(stage.proxy.url) and one.method != "OPTIONS"
        ]
        new = paths[len(seen) :]
        seen.extend(new)
        return sorted(new)

    visitor.go()
    visitor.page.locator("chat-widget .launcher").wait_for()
    visitor.page.wait_for_load_state("networkidle")
    assert asked() == ["/widget.js"]
    visitor.open_chat()
    visitor.page.wait_for_load_state("networkidle")
    names = ["chat.js", "languages/en.json", "page-context.js", "panel.css", "panel.js", "transcript.js"]
    assert asked() == ["/v1/sites/shop", *(f"/widget/{name}" for name in names)]
    visitor.say("What does it cost?")
    visitor.answer("costs €89.00")
    assert asked() == ["/v1/session/events", "/v1/session/messages", "/v1/sites/shop/sessions"]


def test_what_is_served_is_what_is_written(stage: Stage) -> None:
    with stage.proxy.client(None) as client:
        for path in (STATIC / "widget.js", *(path for path in (STATIC / "widget").rglob("*") if path.is_file())):
            response = client.get(f"/{path.relative_to(STATIC).as_posix()}")
            assert response.content == path.read_bytes()
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            again = client.get(
                f"/{path.relative_to(STATIC).as_posix()}", headers={"If-None-Match": response.headers["ETag"]}
            )
            assert again.status_code == 304


def weight(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9))


def wait_for_request(stage: Stage, kind: str) -> None:
    for _ in range(500):
        if stage.upstream.requests(kind):
            return
    raise AssertionError(f"upstream was asked for no {kind}")


def wait_for_own_row(visitor: Visitor, stage: Stage) -> None:
    """Until the history has brought the visitor's own messages too: nothing is kept as unconfirmed any more."""
    kept = json.dumps(f"chat-widget:{stage.proxy.url}:shop:")
    none = f"!Object.keys(localStorage).some(key => key.startsWith({kept}))"
    visitor.page.wait_for_function(none, timeout=15_000)


# The pure modules, in the browser that runs them


@pytest.fixture
def modules(visitor: Visitor, stage: Stage) -> Visitor:
    visitor.go("care-guide.html")
    visitor.page.evaluate(f"() => {{ window.load = (name) => import('{stage.proxy.url}/widget/' + name); }}")
    return visitor


SSE_CASES = [
    ("data: a\n\n", [["message", "a", None]]),
    ('event: x\ndata: {"a": 1}\nid: 7\n\n', [["x", '{"a": 1}', "7"]]),
    ("data: a\r\ndata: b\r\n\r\n", [["message", "a\nb", None]]),
    (": comment\n\ndata:a\n\ndata:  b\n\n", [["message", "a", None], ["message", " b", None]]),
    ("data\n\n", [["message", "", None]]),
    ("event: x\n\ndata: a\n\n", [["message", "a", None]]),
    ("data: never ended\n", []),
    ("data: ä → 😀\n\n", [["message", "ä → 😀", None]]),
    ("data: a: b: c\n\n", [["message", "a: b: c", None]]),
]


@pytest.mark.parametrize(("text", "events"), SSE_CASES)
def test_a_stream_is_read_the_same_however_it_is_cut(modules: Visitor, text: str, events: list[list[str]]) -> None:
    script = """async ([text, cut]) => {
        const {parser} = await load("transcript.js");
        const events = [], feed = parser(({event, data, id}) => events.push([event, data, id ?? null]), () => {});
        if (cut === 0) [...text].forEach(feed); else { feed(text.slice(0, cut)); feed(text.slice(cut)); }
        return events;
    }"""
    for cut in range(len(text)):
        assert modules.page.evaluate(script, [text, cut]) == events


def test_a_stream_tells_how_long_to_wait(modules: Visitor) -> None:
    script = """async () => {
        const {parser} = await load("transcript.js");
        let told;
        parser(() => {}, (wait) => { told = wait; })("retry: 1234\\n\\n");
        return told;
    }"""
    assert modules.page.evaluate(script) == 1234


TRANSCRIPT = """async (steps) => {
    const {Transcript} = await load("transcript.js");
    const transcript = Transcript(), own = {};
    for (const [what, value] of steps) {
        if (what === "own") own[value.id] = transcript.addOwn(value);
        if (what === "accepted") Object.assign(own[value.id], {state: "sent", ...value});
        if (what === "add") transcript.add({created_at: null, ...value});
        if (what === "live") transcript.add({created_at: null, ...value}, true);
        if (what === "done") transcript.done(value);
    }
    return transcript.items.map(item => item.content + (item.key ? "" : "?") + (item.own && transcript.hasOutcome(item) ? "+" : ""));
}"""


def message(key: str, role: str, content: str, created_at: str, **more: str) -> list[object]:
    return ["add", {"key": key, "role": role, "content": content, "created_at": created_at} | more]


TRANSCRIPTS: dict[str, tuple[list[list[object]], list[str]]] = {
    "by time, whatever the order of arrival": (
        [message("b", "assistant", "two", "2"), message("a", "user", "one", "1"), message("c", "user", "three", "3")],
        ["one", "two", "three"],
    ),
    "a known key once": ([message("a", "user", "one", "1"), message("a", "user", "one", "1")], ["one"]),
    "one's own is adopted, not doubled": (
        [["own", {"id": "x", "content": "hi"}], message("a", "user", "hi", "1"), message("b", "assistant", "yes", "2")],
        ["hi+", "yes"],
    ),
    "two equal ones are two": (
        [["own", {"id": "x", "content": "hi"}], ["own", {"id": "y", "content": "hi"}], message("a", "user", "hi", "1"),
         message("b", "user", "hi", "2"), message("c", "user", "hi", "3")],
        ["hi", "hi", "hi"],
    ),
    "an answer stands behind its question, though clocks differ": (
        [["own", {"id": "x", "content": "hi"}], ["accepted", {"id": "x", "task": "t", "time": "5"}],
         message("b", "assistant", "yes", "4", task="t")],
        ["hi?+", "yes"],
    ),
    "nor though the history dates the question later": (
        [["own", {"id": "x", "content": "hi"}], ["accepted", {"id": "x", "task": "t", "time": "3"}],
         message("b", "assistant", "yes", "4", task="t"), message("a", "user", "hi", "5")],
        ["hi+", "yes"],
    ),
    "nor though the answer is there before the question is accepted": (
        [["own", {"id": "x", "content": "hi"}], message("b", "assistant", "yes", "4", task="t"),
         ["own", {"id": "x", "state": "sent", "task": "t", "time": "5"}]],
        ["hi?+", "yes"],
    ),
    "and at once behind the question on its way": (
        [["own", {"id": "x", "content": "hi"}], ["own", {"id": "y", "content": "and"}],
         ["live", message("b", "assistant", "yes", "4", task="t")[1]]],
        ["hi?+", "yes", "and?"],
    ),
    "an answer stored nowhere is known by its task": (
        [message("a", "assistant", "yes", "4", task="t"), message("b", "assistant", "yes", "5", task="t")],
        ["yes"],
    ),
    "of unknown fate, it is not found in what was said before": (
        [message("a", "user", "yes", "1"), message("b", "assistant", "ok", "2"),
         ["own", {"id": "x", "content": "yes", "state": "unknown", "after": "2"}]],
        ["yes", "ok", "yes?"],
    ),
    "nor when that is read again": (
        [["own", {"id": "x", "content": "yes", "state": "unknown", "after": "2"}],
         message("a", "user", "yes", "1"), message("b", "assistant", "ok", "2"), message("c", "user", "yes", "3")],
        ["yes", "ok", "yes"],
    ),
    "what is not sent yet stays last": (
        [["own", {"id": "x", "content": "hi"}], message("b", "assistant", "earlier", "9")],
        ["earlier", "hi?"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "shown"), TRANSCRIPTS.values(), ids=TRANSCRIPTS)
def test_a_transcript_shows(modules: Visitor, steps: list[list[object]], shown: list[str]) -> None:
    assert modules.page.evaluate(TRANSCRIPT, steps) == shown


HTML_CASES = [
    ("<p>a <strong>b</strong> &lt;i&gt; &amp;amp;</p>\n", "<p>a <strong>b</strong> &lt;i&gt; &amp;amp;</p>\n"),
    ('<p><a href="javascript:alert(1)" rel="x">l</a></p>', "<p><a>l</a></p>"),
    ("<img src=x onerror=alert(1)><p>a</p>", "&lt;img src=x onerror=alert(1)&gt;<p>a</p>"),
    ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    ('<p onclick="x()">a</p>', "<p>a</p>"),
    ("<ol start=\"3\"><li>a</li></ol>", '<ol start="3"><li>a</li></ol>'),
    ("<p>never <em>closed", "<p>never <em>closed</em></p>"),
    ("a</p></div>b", "a&lt;/div&gt;b"),
    ("a < b", "a &lt; b"),
    ('<a href="https://e.example/?a=1&amp;b=2">x</a>',
     '<a href="https://e.example/?a=1&amp;b=2" target="_blank" rel="noopener noreferrer nofollow">x</a>'),
]  # fmt: skip


@pytest.mark.parametrize(("given", "built"), HTML_CASES)
def test_html_is_built_from_an_allow_list(modules: Visitor, given: str, built: str) -> None:
    script = """async (html) => {
        const {build} = await load("transcript.js"), box = document.createElement("div");
        box.append(build(html));
        return box.innerHTML;
    }"""
    assert modules.page.evaluate(script, given) == built


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (
            "aurora-desk-lamp.html",
            {"product_name": "Aurora Desk Lamp", "product_id": "NL-1042", "price": "89.00", "in_stock": True},
        ),
        (
            "fjord-armchair.html",
            {"product_name": "Fjord Armchair", "brand": "Nordlicht", "price": "549.00", "category": "Seating"},
        ),
        (
            "birk-side-table.html",
            {"product_name": "Birk Side Table", "availability": "OutOfStock", "in_stock": False},
        ),
        ("strand-vase.html", {"product_name": "Strand Vase", "price": "42.50", "currency": "EUR"}),
        ("skog-wool-throw.html", {"product_name": "Skog Wool Throw", "price": "129.00", "brand": "Nordlicht"}),
        (
            "klar-carafe.html",
            {"product_name": "Klar Carafe", "availability": "LimitedAvailability", "in_stock": True},
        ),
    ],
)
def test_a_product_page_is_understood(modules: Visitor, page: str, expected: dict[str, object]) -> None:
    modules.go(page)
    context = page_context(modules)
    assert expected.items() <= context.items()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("", {}),
        ('<script type="application/ld+json">{broken</script>', {}),
        ('<meta property="og:type" content="product"><meta property="og:title" content="Vase">'
         '<meta property="product:price:amount" content="4.50"><meta property="product:availability" content="instock">',
         {"product_name": "Vase", "price": "4.50", "availability": "instock", "in_stock": True}),
        ('<meta property="og:title" content="An article"><meta property="og:type" content="article">', {}),
        ('<script type="application/ld+json">[{"@type": "Thing"}, {"@type": ["Product", "Book"], "name": "B", '
         '"offers": {"@type": "AggregateOffer", "lowPrice": 3, "priceCurrency": "USD"}}]</script>',
         {"product_name": "B", "price": "3", "currency": "USD"}),
        ('<script type="application/ld+json">{"@type": "WebPage", "mainEntity": {"@type": "https://schema.org/Product", '
         '"name": "M", "brand": "Plain"}}</script>', {"product_name": "M", "brand": "Plain"}),
    ],
)  # fmt: skip
def test_a_page_is_understood_as_far_as_it_says(modules: Visitor, head: str, expected: dict[str, object]) -> None:
    modules.page.evaluate("head => { document.head.innerHTML = '<title>T</title>' + head; }", head)
    context = page_context(modules)
    own = {key: value for key, value in context.items() if not key.startswith("page_")}
    assert own == expected
    assert context["page_title"] == "T"
    assert "?" not in str(context["page_url"])


def page_context(visitor: Visitor) -> dict[str, object]:
    origin = visitor.stage.proxy.url
    script = (
        f"""async () => (await import('{origin}/widget/page-context.js')).pageContext(document, null, null, 8192)"""
    )
    found: dict[str, object] = visitor.page.evaluate(script)
    return {key: value for key, value in found.items() if value is not None}
