"""Every row of the tables in `docs/widget.md` does what it says, on a website of somebody else's."""

import json
import re
import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from pydantic import SecretStr

from tests.browser import Stage, Visitor, visiting
from tests.servers import VISITOR_SECRET
from widget_proxy.visitor_tokens import sign_token

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs/widget.md").read_text()


def table(heading: str) -> list[str]:
    """The first cells of a section's table."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| `")]
    return [name.strip("`") for row in rows for name in re.findall(r"`[^`]+`", row)]


class Site:
    """A website with the tag on it."""

    def __init__(self, visitor: Visitor, stage: Stage) -> None:
        self.visitor = visitor
        self.page = visitor.page
        self.stage = stage

    def go(self, body: str = "", headers: dict[str, str] | None = None, lang: str = "en", **attributes: str) -> None:
        """A page with the tag; its attributes without `data-`, with `_` for `-`."""
        named = {"site": "shop"} | {name.replace("_", "-"): value for name, value in attributes.items()}
        told = " ".join(f'data-{name}="{escape(value)}"' for name, value in named.items())
        tag = f'<script src="{self.stage.proxy.url}/widget.js" {told} async></script>'
        html = f'<!doctype html><html lang="{lang}"><title>Lamps</title><body>{body}{tag}'
        self.stage.workshop.pages["/reference"] = (headers or {}, html)
        self.page.goto(f"{self.stage.workshop.url}/reference")
        self.page.locator("chat-widget").wait_for(state="attached")

    def open(self, body: str = "", **attributes: Any) -> None:
        """The same, and its chat opened."""
        self.go(body, **attributes)
        self.element("void widget.open()")  # it may be open already, as it was on the page before
        self.page.locator(".panel").wait_for()

    def element(self, script: str) -> Any:
        """What a script says of the element `widget`."""
        return self.page.evaluate(
            f"() => {{ const widget = document.querySelector('chat-widget'); return {script}; }}"
        )

    def style(self, selector: str, name: str) -> str:
        found: str = self.page.locator(selector).first.evaluate(f"one => getComputedStyle(one)['{name}']")
        return found

    def box(self, selector: str) -> dict[str, float]:
        found = self.page.locator(selector).first.bounding_box()
        assert found is not None
        return {"x": found["x"], "y": found["y"], "width": found["width"], "height": found["height"]}

    def listen(self) -> None:
        """Keep every event of the element."""
        self.page.evaluate("""() => {
            window.events = [];
            for (const type of ["open", "close", "message:before-send", "message:sent", "message:received",
                                "session:started", "session:ended", "feedback", "error"])
                addEventListener(`ocs:${type}`, ({type, detail, composed, target}) =>
                    events.push([type, detail, composed, target.localName]));
        }""")

    def events(self, name: str) -> list[Any]:
        """Details of what was told by this name."""
        told: list[list[Any]] = self.page.evaluate("events")
        for _, _, composed, target in told:
            assert composed
            assert target == "chat-widget"
        return [detail for type_, detail, _, _ in told if type_ == name]


@pytest.fixture
def site(visitor: Visitor, stage: Stage) -> Site:
    return Site(visitor, stage)


def position(site: Site) -> None:
    for place, (least, most) in {"left": (0, 30), "center": (400, 700), "right": (800, 1280)}.items():
        site.open(position=place)
        assert least < site.box(".panel")["x"] < most
        site.element("widget.close()")
        assert least < site.box(".launcher")["x"] < most


def theme(site: Site) -> None:
    colours = {}
    for name in ("light", "dark", "auto"):
        site.open(theme=name)
        colours[name] = site.style(".panel", "backgroundColor")
    assert colours["light"] == colours["auto"] == "rgb(255, 255, 255)", "the system here is light"
    assert colours["dark"] == "rgb(23, 27, 36)"


def accent(site: Site) -> None:
    for colour, text in (("#ffdd00", "rgb(0, 0, 0)"), ("#123456", "rgb(255, 255, 255)")):
        site.open(accent=colour)
        site.page.locator("textarea").fill("Hello")
        number = int(colour[1:], 16)
        assert site.style(".send", "backgroundColor") == f"rgb({number >> 16}, {number >> 8 & 255}, {number & 255})"
        assert site.page.evaluate(PIXEL, site.style(".send", "color")) == text, (
            "black or white, whichever can be read"
        )


PIXEL = """colour => {
    const context = document.createElement("canvas").getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return `rgb(${[...context.getImageData(0, 0, 1, 1).data].slice(0, 3).join(", ")})`;
}"""


def mode(site: Site) -> None:
    site.go(
        '<div style="position:relative;width:600px;height:500px"><chat-widget site="shop" mode="kiosk"></chat-widget></div>'
    )
    site.page.locator(".panel").wait_for()
    box = site.box(".panel")
    assert (round(box["width"]), round(box["height"])) == (600, 500)
    assert site.page.locator(".launcher").is_hidden()
    assert site.page.locator(".header").is_hidden()
    site.page.keyboard.press("Escape")
    assert site.page.locator(".panel").is_visible()


def visible(site: Site) -> None:
    site.go(visible="true")
    expect(site.page.locator(".panel")).to_be_visible()
    site.element("widget.setAttribute('visible', 'false')")
    expect(site.page.locator(".panel")).to_be_hidden()


def show_button(site: Site) -> None:
    site.go(show_button="false")
    assert site.page.locator(".launcher").is_hidden()
    site.element("void widget.open()")
    expect(site.page.locator(".panel")).to_be_visible()
    site.element("widget.close()")
    assert site.page.locator(".launcher").is_hidden()


def button_text(site: Site) -> None:
    site.go(button_text="Ask us")
    expect(site.page.get_by_role("button", name="Ask us")).to_be_visible()
    site.element("widget.buttonText = 'Or them'")
    expect(site.page.get_by_role("button", name="Or them")).to_be_visible()


def button_label(site: Site) -> None:
    named = site.page.get_by_role("button", name="Chat öffnen", exact=True)
    site.go(button_label="Chat öffnen", lang="de")
    expect(named).to_be_visible()
    site.open(button_label="Chat öffnen", lang="de")
    site.element("widget.close()")
    expect(named).to_be_visible()
    site.go(button_label="Chat öffnen", button_text="Ask us")
    expect(site.page.get_by_role("button", name="Ask us", exact=True)).to_be_visible()


def button_shape(site: Site) -> None:
    site.go(button_shape="square")
    square = site.style(".launcher", "borderRadius")
    site.go(button_shape="round")
    assert (square, site.style(".launcher", "borderRadius")) == ("12px", "29px")


def icon_url(site: Site) -> None:
    site.go(icon_url="/icon.svg")
    assert site.page.locator(".launcher img").get_attribute("src") == "/icon.svg"
    assert site.page.locator(".launcher img").get_attribute("alt") == ""


def header_text(site: Site) -> None:
    site.open(header_text="Our lamps")
    expect(site.page.get_by_role("heading", name="Our lamps")).to_be_visible()
    expect(site.page.get_by_role("dialog", name="Our lamps")).to_be_visible()


def welcome_messages(site: Site) -> None:
    for written in ('["It\'s us", "Ask, please"]', "['It's us', 'Ask, please']"):
        site.open(welcome_messages=written)
        expect(site.page.locator(".messages > .bot")).to_have_text(["It's us", "Ask, please"])
    site.open(welcome_messages="")
    expect(site.page.locator(".messages > .bot")).to_have_count(0)
    site.open()
    expect(site.page.locator(".messages > .bot")).to_have_count(1)


def starter_questions(site: Site) -> None:
    site.open(starter_questions="['Is it warm?']")
    site.page.get_by_role("button", name="Is it warm?").click()
    expect(site.page.locator(".mine")).to_have_text("Is it warm?")
    expect(site.page.locator(".starter")).to_be_hidden()


def typing_indicator_text(site: Site) -> None:
    site.stage.upstream.order("answers", text="x", delay=1.5)
    site.open(typing_indicator_text="Let me see")
    site.visitor.say("Hello")
    expect(site.page.locator(".typing")).to_have_text("Let me see")


def new_chat_confirmation_message(site: Site) -> None:
    site.open(new_chat_confirmation_message="Really?")
    site.visitor.say("Hello")
    site.visitor.answer("You are reading")
    site.page.get_by_role("button", name="Start new chat").first.click()
    expect(site.page.locator(".ask")).to_contain_text("Really?")


def banner_message(site: Site) -> None:
    site.open()
    assert site.page.locator(".banner").is_hidden()
    site.element("widget.bannerMessage = 'Back at <nine>'")
    expect(site.page.locator(".banner")).to_have_text("Back at <nine>")


def banner_style(site: Site) -> None:
    colours = set()
    for style in ("default", "info", "warning", "error"):
        site.open(banner_message="Back at nine", banner_style=style)
        colours.add(site.style(".banner", "backgroundColor"))
    assert len(colours) == 4


def banner_position(site: Site) -> None:
    site.open(banner_message="Back at nine", banner_position="bottom")
    assert site.box(".banner")["y"] > site.box(".messages")["y"]
    site.open(banner_message="Back at nine")
    assert site.box(".banner")["y"] < site.box(".messages")["y"]


def disabled(site: Site) -> None:
    site.open(disabled="true")
    expect(site.page.locator("textarea")).to_be_disabled()
    expect(site.page.locator(".send")).to_be_disabled()
    expect(site.page.locator(".starter").first).to_be_hidden()
    site.element("void widget.send('Hello')")
    site.page.wait_for_timeout(300)
    assert site.stage.upstream.requests("start") == []
    site.element("widget.disabled = null")
    expect(site.page.locator("textarea")).to_be_enabled()


def allow_full_screen(site: Site) -> None:
    site.open(allow_full_screen="false")
    assert site.page.locator(".large").is_hidden()
    site.open()
    site.page.get_by_role("button", name="Enter full screen").click()
    assert site.box(".panel")["height"] == 800
    assert site.page.locator(".panel").evaluate("panel => panel.matches(':modal')")
    site.page.keyboard.press("Escape")
    assert site.box(".panel")["height"] < 700
    expect(site.page.get_by_role("button", name="Enter full screen")).to_be_visible()


def allow_attachments(site: Site) -> None:
    site.open()
    assert site.page.locator(".attach").count() == 0


def consent_text(site: Site) -> None:
    site.open(consent_text="We keep what you write.")
    assert site.page.locator("textarea").is_hidden()
    assert site.page.locator(".starter").first.is_hidden()
    expect(site.page.get_by_text("We keep what you write.")).to_be_visible()
    site.page.get_by_role("button", name="I agree").click()
    expect(site.page.locator("textarea")).to_be_focused()
    site.open(consent_text="We keep what you write.")
    expect(site.page.locator("textarea")).to_be_visible()


def feedback(site: Site) -> None:
    site.open(feedback="on")
    site.listen()
    site.visitor.say("Hello")
    site.visitor.answer("You are reading")
    site.page.get_by_role("button", name="Not helpful").click()
    expect(site.page.get_by_role("button", name="Not helpful")).to_have_attribute("aria-pressed", "true")
    (told,) = site.events("ocs:feedback")
    assert told["rating"] == "not_helpful"
    assert told["message"]["content"].startswith("You are reading")


def sound(site: Site) -> None:
    site.page.add_init_script(
        "window.tones = 0; const start = OscillatorNode.prototype.start;"
        "OscillatorNode.prototype.start = function () { tones++; start.call(this); };"
    )
    site.stage.upstream.order("answers", text="Here", delay=1)
    site.open(sound="on")
    site.visitor.say("Hello")
    site.element("widget.close()")
    expect(site.page.locator(".launcher.unread")).to_be_visible()
    assert site.page.evaluate("tones") == 1


def user_id(site: Site) -> None:
    site.open(user_id="maya")
    site.visitor.say("I am Maya")
    site.visitor.answer("You are reading")
    (start,) = site.stage.upstream.requests("start")
    assert start["body"]["participant_remote_id"] == "maya"
    site.open(user_id="noah")
    expect(site.page.locator(".item")).to_have_count(0)
    site.open(user_id="maya")
    expect(site.page.locator(".item")).to_have_count(2)


def user_name(site: Site) -> None:
    site.open(user_name="Maya")
    site.visitor.say("Hello")
    site.visitor.answer("You are reading")
    (start,) = site.stage.upstream.requests("start")
    assert start["body"]["participant_name"] == "Maya"


def visitor_token(site: Site) -> None:
    def token(name: str) -> str:
        claims = {
            "sub": "u-7",
            "name": name,
            "aud": "other",
            "exp": time.time() + 600,
            "page_context": {"shelf": name},
        }
        return sign_token(claims, SecretStr(VISITOR_SECRET))

    site.open(site="other", visitor_token=token("Maya"), user_id="somebody else", page_context='{"shelf": 1}')
    site.visitor.say("Hello")
    site.visitor.answer("You are reading")
    (start,) = site.stage.upstream.requests("start")
    assert (start["body"]["participant_remote_id"], start["body"]["participant_name"]) == ("u-7", "Maya")
    for script, name in (
        ("text", "Noah"),
        ("() => text", "Lina"),
        ("async () => text", "Omar"),
        ("null", "Maya"),
    ):
        site.element(f"void (widget.visitorToken = ((text) => {script})({json.dumps(token(name))}))")
        site.stage.upstream.order("answers", text=f"Good day, {name}", delay=0.05)
        site.visitor.say("Who am I?")
        site.visitor.answer(f"Good day, {name}")
        assert site.stage.upstream.requests("message")[-1]["body"]["context"]["shelf"] == name
    site.element("void (widget.visitorToken = async () => { throw new Error('no network') })")
    site.visitor.say("Is it sent?")
    expect(site.page.get_by_role("button", name="Try again")).to_be_visible()
    assert len(site.stage.upstream.requests("message")) == 5


def persistent_session(site: Site) -> None:
    for keep, lines, elsewhere in (("true", 2, 2), ("tab", 2, 0), ("false", 0, 0), ("off", 0, 0)):
        site.go(persistent_session=keep)
        site.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        site.open(persistent_session=keep)
        site.visitor.say("Hello")
        site.visitor.answer("You are reading")
        site.open(persistent_session=keep)
        expect(site.page.locator(".item")).to_have_count(lines)
        other = Visitor(site.page.context.new_page(), site.stage)
        other.page.goto(site.page.url)
        other.open_chat()
        expect(other.page.locator(".item")).to_have_count(elsewhere)
        other.page.close()


def persistent_session_expire(site: Site) -> None:
    site.open(persistent_session_expire="10")
    site.visitor.say("Hello")
    site.visitor.answer("You are reading")
    site.page.evaluate("""for (const [key, value] of Object.entries(localStorage)) {
        const kept = JSON.parse(value);
        if (kept.at) localStorage[key] = JSON.stringify({...kept, at: Date.now() - 11 * 60_000});
    }""")
    site.open(persistent_session_expire="0")
    expect(site.page.locator(".item")).to_have_count(2)
    site.open(persistent_session_expire="10")
    expect(site.page.locator(".item")).to_have_count(0)


def language(site: Site) -> None:
    site.open(language="de")
    expect(site.page.get_by_role("button", name=texts("de")["composer.send"])).to_be_visible()
    site.open(language="auto", lang="ar-EG")
    assert site.page.locator(".panel").get_attribute("dir") == "rtl"
    expect(site.page.get_by_role("button", name=texts("ar")["composer.send"])).to_be_visible()
    site.open(language="tlh")
    expect(site.page.get_by_role("button", name="Send message")).to_be_visible()


def translations_url(site: Site) -> None:
    mine = {
        "composer.send": "Abschicken",
        "branding.headerText": "",
        "content.welcomeMessages": ["Moin"],
        "status.typing": None,
    }
    site.stage.workshop.pages["/mine.json"] = ({"Content-Type": "application/json"}, json.dumps(mine))
    site.open(language="de", translations_url="/mine.json", header_text="Laden", typing_indicator_text="Nein")
    expect(site.page.get_by_role("button", name="Abschicken")).to_be_visible()
    expect(site.page.locator(".messages > .bot")).to_have_text("Moin")
    expect(site.page.get_by_role("heading", name="Laden")).to_be_visible()
    site.stage.upstream.order("answers", text="x", delay=1.5)
    site.visitor.say("Hallo")
    expect(site.page.locator(".typing")).to_have_text(texts("de")["status.typing"])


def page_context(site: Site) -> None:
    sent: dict[str, Any] = {}
    for number, context in enumerate(("auto", "explicit", "off", '{"shelf": 7}')):
        site.go(page_context=context)
        site.page.evaluate("localStorage.clear()")
        site.open(page_context=context)
        site.visitor.say("Hello")
        site.visitor.answer("")
        sent[context] = site.stage.upstream.requests("start")[number]["body"].get("page_context")
    assert sent["auto"]["page_title"] == "Lamps"
    assert not sent["explicit"]
    assert not sent["off"]
    assert (sent['{"shelf": 7}']["shelf"], sent['{"shelf": 7}']["page_title"]) == (7, "Lamps")


def background_stream(site: Site) -> None:
    site.open(background_stream="on")
    assert site.element("widget.backgroundStream") == "on"


ATTRIBUTES: dict[str, Callable[[Site], None]] = {
    name.replace("_", "-"): check
    for name, check in {
        "position": position, "theme": theme, "accent": accent, "mode": mode, "visible": visible, "show_button": show_button,
        "button_text": button_text, "button_label": button_label, "button_shape": button_shape, "icon_url": icon_url, "header_text": header_text,
        "welcome_messages": welcome_messages, "starter_questions": starter_questions,
        "typing_indicator_text": typing_indicator_text, "new_chat_confirmation_message": new_chat_confirmation_message,
        "banner_message": banner_message, "banner_style": banner_style, "banner_position": banner_position,
        "disabled": disabled, "allow_full_screen": allow_full_screen, "allow_attachments": allow_attachments,
        "consent_text": consent_text, "feedback": feedback, "sound": sound, "user_id": user_id, "user_name": user_name,
        "visitor_token": visitor_token,
        "persistent_session": persistent_session, "persistent_session_expire": persistent_session_expire,
        "language": language, "translations_url": translations_url, "page_context": page_context,
        "background_stream": background_stream,
    }.items()
}  # fmt: skip


def texts(language: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / f"static/widget/languages/{language}.json").read_text())
    return found


def test_every_attribute_is_tried() -> None:
    assert set(table("Attributes")) == {"site", *ATTRIBUTES}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_does_what_the_table_says(site: Site, name: str) -> None:
    ATTRIBUTES[name](site)


def test_events_are_told_with_the_official_names_and_details(site: Site, stage: Stage) -> None:
    site.open()
    site.page.evaluate(
        """addEventListener("ocs:message:before-send", ({target}) => { target.pageContext = {shelf: 9}; })"""
    )
    site.listen()
    site.visitor.say("Hello")
    site.visitor.answer("You are reading")
    (before,) = site.events("ocs:message:before-send")
    (sent,) = site.events("ocs:message:sent")
    (received,) = site.events("ocs:message:received")
    (started,) = site.events("ocs:session:started")
    assert (before["message"], sent["message"]) == ("Hello", "Hello")
    assert received["message"]["role"] == "assistant"
    assert received["message"]["content"].startswith("You are reading")
    assert started["sessionId"] == sent["sessionId"] == received["sessionId"]
    upstreams = {one["id"] for one in stage.upstream.ask("sessions")}
    assert started["sessionId"] not in upstreams
    (message,) = stage.upstream.requests("message")
    assert message["body"]["context"]["shelf"] == 9, "what the listener said of the page goes with that send"
    stage.upstream.order("end", session=stage.upstream.ask("sessions")[0]["id"])
    site.visitor.say("Are you there?")
    expect(site.page.get_by_text("has ended").first).to_be_visible()
    assert len(site.events("ocs:session:ended")) == 1
    site.element("widget.close()")
    assert site.events("ocs:close") == [None]
    site.element("void widget.open()")
    expect(site.page.locator(".panel")).to_be_visible()
    assert site.events("ocs:open") == [None]
    assert site.events("ocs:error"), "the refused message"
    told = {"ocs:feedback"} | {type_ for type_, *_ in site.page.evaluate("events")}
    assert told == set(table("Events"))


def test_what_is_read_again_is_not_told_as_news(site: Site, stage: Stage) -> None:
    # The history takes its time, so that the visitor's own message is unconfirmed while the answer is there.
    stage.upstream.order("faults", kind="message_poll", fault="delay", seconds=4)
    site.open()
    site.visitor.say("Hello")
    site.visitor.answer("You are reading")
    site.page.reload()
    site.listen()
    site.visitor.answer("You are reading")
    site.visitor.say("Again")
    site.page.locator(".bot").nth(2).wait_for()
    assert len(site.events("ocs:message:received")) == 1


def test_methods_do_what_the_table_says(site: Site, stage: Stage) -> None:
    site.go()
    site.element("void widget.send('From a script', {shelf: 3})")
    expect(site.page.locator(".launcher.unread")).to_be_visible()
    assert site.page.locator(".panel").is_hidden()
    assert site.page.title() == "● Lamps"
    assert stage.upstream.requests("message")[0]["body"]["context"]["shelf"] == 3
    site.element("void widget.toggle()")
    expect(site.page.locator(".panel")).to_be_visible()
    assert site.page.title() == "Lamps"
    assert site.element("widget.opened") is True
    expect(site.page.locator(".item")).to_have_count(2)
    site.element("void widget.newChat()")
    expect(site.page.locator(".item")).to_have_count(0)
    site.element("widget.toggle()")
    expect(site.page.locator(".panel")).to_be_hidden()


def test_what_a_page_asks_of_the_widget_while_it_loads_happens_in_that_order(site: Site) -> None:
    # Of two imports of one module the second is often done first.
    script = """for (const early of [0, 1, 2, 3]) setTimeout(() => {
            const widget = document.querySelector("chat-widget");
            if (!early) widget.newChat();
            else widget.send(early);
        }, 3 * early)"""
    for _ in range(6):
        site.go()
        site.page.evaluate(f"() => {{ {script} }}")
        expect(site.page.locator(".mine")).to_have_text(["1", "2", "3"])


def test_an_element_of_the_page_asks(site: Site, stage: Stage) -> None:
    body = (
        """<a href="/nowhere" data-chat-ask="Does it fit?" data-chat-context='{"variant": "sand"}'><b>Ask</b></a>"""
    )
    site.go(body)
    site.page.locator("a b").click()
    expect(site.page.locator(".mine")).to_have_text("Does it fit?")
    site.visitor.answer("")
    assert site.page.url.endswith("/reference"), "the link is not followed"
    assert stage.upstream.requests("message")[0]["body"]["context"]["variant"] == "sand"


def test_properties_set_before_the_script_has_come_count(site: Site) -> None:
    body = """<chat-widget site="shop"></chat-widget><script>
        Object.assign(document.querySelector("chat-widget"), {buttonText: "Early", bannerMessage: "Soon"})</script>"""
    site.open(body)
    expect(site.page.locator(".banner")).to_have_text("Soon")


def test_every_property_of_the_official_widget_has_its_effect(browser: Browser, stage: Stage) -> None:
    sheet = (ROOT / "static/widget/panel.css").read_text() + (ROOT / "static/widget.js").read_text()
    without = {
        "--code-bg-user-color",
        "--code-border-user-color",
        "--code-text-user-color",
        "--message-user-link-color",
    }
    listed = {name for name in table("Styling") if name.startswith("--")} - without
    assert len(listed) > 85
    for name in listed:
        assert f"var({name}" in sheet, name
    read = """names => {
        const root = document.querySelector("chat-widget").shadowRoot, seen = {};
        for (const one of root.querySelectorAll("*")) for (const part of [null, "::before", "::placeholder"]) {
            const style = getComputedStyle(one, part);
            for (const name of names) (seen[name] ??= new Set()).add(`${style[name]}`);
        }
        return Object.fromEntries(Object.entries(seen).map(([name, values]) => [name, [...values]]));
    }"""
    shown = [
        "color",
        "backgroundColor",
        "borderTopColor",
        "fontSize",
        "width",
        "height",
        "zIndex",
        "boxShadow",
        "scrollbarColor",
    ]
    colours = {"--message-user-bg-color": "rgb(1, 2, 3)", "--message-user-text-color": "rgb(4, 5, 6)",
               "--header-bg-color": "rgb(7, 8, 9)", "--send-button-bg-color": "rgb(10, 11, 12)",
               "--starter-question-text-color": "rgb(13, 14, 15)", "--chat-window-bg-color": "rgb(16, 17, 18)",
               "--message-assistant-text-color": "rgb(19, 20, 21)", "--input-border-color": "rgb(22, 23, 24)"}  # fmt: skip
    with visiting(browser, stage) as visitor:
        site = Site(visitor, stage)
        rules = ";".join(f"{name}:{value}" for name, value in colours.items())
        site.open(f"<style>chat-widget {{ {rules}; --chat-window-width: 480px; --chat-z-index: 77 }}</style>")
        visitor.page.locator("textarea").fill("Hello")
        found = visitor.page.evaluate(read, shown)
        every = {value for values in found.values() for value in values}
        assert "rgb(10, 11, 12)" in every
        visitor.say("Hello")
        visitor.answer("You are reading")
        found = visitor.page.evaluate(read, shown)
        every = {value for values in found.values() for value in values}
        assert set(colours.values()) - every <= {"rgb(10, 11, 12)", "rgb(13, 14, 15)"}, "these are not shown any more"
        assert "480px" in found["width"]
        assert "77" in found["zIndex"]
