"""WCAG 2.2 AA, as far as a program can tell: axe in every state of the widget, in every look."""

from typing import Any

from playwright.sync_api import Browser, FilePayload, Page, ViewportSize, expect

from tests.axe import violations
from tests.browser import Stage, Visitor, visiting
from tests.website import Website

WIDE: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
LOOKS: dict[str, tuple[ViewportSize, dict[str, Any]]] = {
    "light": (WIDE, {}),
    "dark": (WIDE, {"color_scheme": "dark"}),
    "phone": (PHONE, {}),
    "dark phone": (PHONE, {"color_scheme": "dark"}),
    "a page at 400 %": ({"width": 320, "height": 256}, {}),
}
RICH = """## Care

Use **warm** water, *never* hot: ~~soap~~.

1. Wipe
2. Dry
   - with cotton
   - or [linen](https://shop.example/linen)

| part | care |
|---|---|
| oak | oil, `once a year` |

```
dust();
```

> As our grandmother did.
"""


def broken(page: Page, within: str = "chat-widget") -> dict[str, list[str]]:
    """What each look breaks; nothing, where all are as they should be."""
    found = {}
    for name, (size, media) in LOOKS.items():
        page.set_viewport_size(size)
        page.emulate_media(**{"color_scheme": "light"} | media)
        found[name] = violations(page, within)
    page.set_viewport_size(WIDE)
    return {name: lines for name, lines in found.items() if lines}


def test_a_conversation(visitor: Visitor, stage: Stage) -> None:
    found: dict[str, dict[str, list[str]]] = {}

    def look(state: str) -> None:
        found[state] = broken(page)

    page = visitor.page
    stage.upstream.order("faults", kind="start", fault="status", status=503, times=1)
    stage.upstream.order("answers", text=RICH, delay=4, progress=[[0.1, "Looking it up"]])
    stage.upstream.order("answers", text="", delay=0.1, outcome="fail")
    visitor.go()
    page.locator("chat-widget .launcher").wait_for()
    look("launcher")
    visitor.open_chat()
    look("open")
    visitor.say("How do I care for it?")
    page.get_by_role("button", name="Try again").wait_for()
    look("not sent")
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("Looking it up").wait_for()
    look("typing")
    visitor.answer("grandmother")
    look("answered")
    visitor.say("And the shade?")
    page.get_by_role("button", name="Try again").wait_for()
    look("failed")
    page.get_by_role("button", name="New chat").click()
    page.get_by_role("button", name="Cancel").wait_for()
    look("new chat")
    page.get_by_role("button", name="Cancel").click()
    page.locator("textarea").fill("x" * 4001)
    page.get_by_text("too many").wait_for()
    look("too long")
    stage.upstream.order("end", session=stage.upstream.ask("sessions")[0]["id"])
    page.get_by_text("has ended").wait_for(timeout=10_000)
    look("ended")
    assert {state: looks for state, looks in found.items() if looks} == {}
    assert len(found) == 9


def test_what_an_owner_and_a_visitor_can_choose(website: Website) -> None:
    found: dict[str, dict[str, list[str]]] = {}

    def look(state: str) -> None:
        found[state] = broken(website.page)

    upstream = website.stage.upstream
    website.enter(site="other", consent_text="We keep what you write.", feedback="on")
    website.button("I agree").wait_for()
    look("consent")
    website.button("I agree").click()
    website.button("Attach files").wait_for()
    for style in ("default", "info", "warning", "error"):
        website.widget(f"Object.assign(widget, {{bannerMessage: 'Back at nine', bannerStyle: '{style}'}})")
        expect(website.page.locator(f".banner[data-style={style}]")).to_be_visible()
        look(f"banner, {style}")
    upstream.order("faults", kind="upload", fault="status", status=503)
    website.page.locator("input[type=file]").set_input_files([file("plan.txt"), file("setup.exe")])
    website.button("Upload again: plan.txt").wait_for()
    look("files refused")
    website.button("Upload again: plan.txt").click()
    website.page.locator(".files .done").wait_for()
    look("file attached")
    website.ask("Does it fit?", RICH, "grandmother")
    look("thumbs")
    website.button("Helpful").click()
    look("a thumb pressed")
    upstream.order("faults", kind="message", fault="close_after_accept")
    website.say("Is it there?")
    website.page.get_by_text("Checking whether it arrived").wait_for()
    look("unknown fate")
    website.answer("You are")
    website.bot_says("\n\n".join(f"Paragraph {number}" for number in range(60)))
    website.answer("Paragraph 59")
    website.page.locator(".messages").evaluate("log => { log.scrollTop = 0; }")
    website.bot_says("By the way")
    website.page.locator(".pill").wait_for()
    found["pill"] = {"light": violations(website.page, "chat-widget")}  # a larger window would show it all
    website.button("Enter full screen").click()
    look("full screen")
    website.page.keyboard.press("Escape")
    website.widget("widget.language = 'ar'")
    expect(website.panel).to_have_attribute("dir", "rtl")
    look("from right to left")
    website.widget("void (widget.disabled = true)")
    expect(website.field).to_be_disabled()
    look("read-only")
    website.widget("(widget.disabled = null, widget.close())")
    website.bot_says("Are you there?")
    upstream.order("expire", session=upstream.ask("sessions")[-1]["id"])
    website.widget("void widget.open()")
    website.page.locator(".bar:not([hidden]) .solid").last.wait_for(timeout=10_000)
    look("expired")
    assert {state: looks for state, looks in found.items() if any(looks.values())} == {}
    assert len(found) == 15


def file(name: str) -> FilePayload:
    return {"name": name, "mimeType": "text/plain", "buffer": b"two rooms"}


def test_a_kiosk(website: Website) -> None:
    place = '<div style="position:relative;width:300px;height:500px"><chat-widget site="shop" mode="kiosk"></chat-widget></div>'
    website.visit(place)
    website.panel.wait_for()
    website.ask("Hello", RICH, "grandmother")
    assert broken(website.page) == {}


def test_a_chat_that_is_unavailable(browser: Browser, stage: Stage) -> None:
    with visiting(browser, stage) as visitor:
        visitor.page.goto(f"{stage.origin.replace('127.0.0.1', 'localhost')}/aurora-desk-lamp.html")
        visitor.open_chat()
        expect(visitor.page.get_by_text("Chat is unavailable just now")).to_be_visible()
        assert broken(visitor.page) == {}


def test_a_chat_while_the_server_is_away(visitor: Visitor, stage: Stage) -> None:
    visitor.go()
    visitor.open_chat()
    visitor.say("What does it cost?")
    visitor.answer("costs €89.00")
    stage.proxy.kill()
    try:
        expect(visitor.page.get_by_text("Connection lost")).to_be_visible()
        assert broken(visitor.page) == {}
    finally:
        stage.proxy.start()


def test_the_front_page(visitor: Visitor, stage: Stage) -> None:
    visitor.page.goto(stage.proxy.url)
    assert broken(visitor.page, "html") == {}
    for group in visitor.page.locator("summary").all():
        group.click()
    assert broken(visitor.page, "html") == {}, "unfolded"


def test_the_chat_page(visitor: Visitor, stage: Stage) -> None:
    visitor.page.goto(f"{stage.proxy.url}/sites/shop/chat")
    visitor.page.locator(".panel").wait_for()
    assert broken(visitor.page, "html") == {}


def test_what_is_broken_is_found_inside_the_widget_too(visitor: Visitor) -> None:
    visitor.go()
    visitor.open_chat()
    visitor.page.evaluate("""() => {
        const root = document.querySelector("chat-widget").shadowRoot;
        root.querySelector("textarea").removeAttribute("aria-label");
        root.querySelector("textarea").removeAttribute("placeholder");
        root.querySelector("h2").style.color = "#3b6be0";
        for (const starter of root.querySelectorAll(".starter")) starter.style = "width: 9px; height: 9px; padding: 0";
    }""")
    lines = violations(visitor.page)
    assert {line.partition(" ")[0] for line in lines} >= {"label", "color-contrast", "target-size"}, lines
    assert all("chat-widget" in line for line in lines)
