"""The pages in a real browser: a site's owner builds a tag, and a visitor uses the chat by its link."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, FrameLocator, Locator, Page, Route, expect

from tests.browser import Stage, Visitor, visiting
from tests.servers import Proxy, running
from widget_proxy import __version__
from widget_proxy.config import Look
from widget_proxy.config.site import (
    TAG_ONLY,
)

VIOLATIONS = """window.violations = [];
    addEventListener("securitypolicyviolation", event => violations.push(`${event.violatedDirective} ${event.blockedURI}`));"""

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


@pytest.fixture
def owner(browser: Browser, stage: Stage) -> Iterator[Visitor]:
    """A site's owner on the front page. No policy may be violated, and nothing may go wrong unseen."""
    with visiting(browser, stage, permissions=["clipboard-read", "clipboard-write"]) as owner:
        owner.page.add_init_script(VIOLATIONS)
        open_front(owner)
        yield owner
        for frame in owner.page.frames:
            assert frame.evaluate("window.violations") == []
        assert [line for line in owner.console if not line.startswith("log")] == []


def open_front(owner: Visitor) -> None:
    owner.page.goto(owner.stage.proxy.url)
    preview(owner).locator("chat-widget .panel").wait_for()


def preview(owner: Visitor) -> FrameLocator:
    return owner.page.frame_locator("#preview")


def tag(owner: Visitor) -> str:
    text: str = owner.page.locator("#tag").inner_text()
    return text


def copied(owner: Visitor) -> str:
    """What the button puts on the clipboard."""
    owner.page.get_by_role("button", name="Copy", exact=True).click()
    expect(owner.page.get_by_role("button", name="Copied")).to_be_visible()
    text: str = owner.page.evaluate("navigator.clipboard.readText()")
    return text


def page_with(owner: Visitor, tag: str, policy: str | None = None) -> Page:
    """Another tab, on a page of an allowed website with this tag on it."""
    headers = {} if policy is None else {"Content-Security-Policy": policy}
    owner.stage.workshop.pages["/tagged"] = (
        headers,
        f"<!doctype html><title>T</title><body><h1>Shop</h1>{tag}</body>",
    )
    page = owner.page.context.new_page()
    page.goto(f"{owner.stage.workshop.url}/tagged")
    return page


def test_at_first_the_tag_says_only_what_the_site_needs(owner: Visitor, stage: Stage) -> None:
    assert tag(owner) == (
        f'<script src="{stage.proxy.url}/widget.js" data-site="shop"\n        data-accent="#1f5f5b"'
        '\n        data-button-label="Ask about this page" async></script>'
    ), "colour and name are the site's own; the launcher is drawn before they are known"


OPTIONS = [
    ("Left", 'data-position="left"', ("position", "left")),
    ("Centre", 'data-position="center"', ("position", "center")),
    ("Dark", 'data-theme="dark"', ("theme", "dark")),
    ("Square", 'data-button-shape="square"', ("button-shape", "square")),
    ("There is a button", 'data-show-button="false"', ("show-button", "false")),
    ("A button for the whole window", 'data-allow-full-screen="false"', ("allow-full-screen", "false")),
    ("Thumbs under replies", 'data-feedback="true"', ("feedback", "true")),
    ("A tone for replies while nobody looks", 'data-sound="true"', ("sound", "true")),
    ("Bottom", 'data-banner-position="bottom"', ("banner-position", "bottom")),
    ("Read-only: nothing can be sent", 'data-disabled="true"', ("disabled", "true")),
    ("Keep up to date in hidden tabs", 'data-background-stream="true"', ("background-stream", "true")),
]
FIELDS = {
    "Name of the button": ("button-label", "Ask the workshop"),
    "Image in place of its icon": ("icon-url", "https://images.example.com/icon.svg"),
    "Notice": ("banner-message", "Back at nine"),
    "Consent": ("consent-text", "We keep what you write."),
    "While an answer is in the making": ("typing-indicator-text", "Let me see"),
    "Before a new chat": ("new-chat-confirmation-message", "Really?"),
    "Forgotten after, in minutes": ("persistent-session-expire", "60"),
}
CHOICES = {
    "Language of its buttons": ("language", "de"),
    "Style of the notice": ("banner-style", "warning"),
    "A conversation is kept": ("persistent-session", "tab"),
    "The bot learns of the page": ("page-context", "off"),
}
NOT_TRIED = {"File with texts of your own": ("translations-url", "https://shop.example.com/chat.json")}


def unfold(owner: Visitor) -> None:
    for group in owner.page.locator("summary").all():
        group.click()


def test_an_option_is_in_the_tag_and_in_the_preview(owner: Visitor) -> None:
    widget, shown = preview(owner).locator("chat-widget"), owner.page.locator("#tag")
    unfold(owner)
    for option, written, attribute in OPTIONS:
        owner.page.get_by_label(option, exact=True).click()
        expect(shown).to_contain_text(written)
        expect(widget).to_have_attribute(*attribute)
        owner.page.get_by_role("button", name="Reset the options").click()
        expect(shown).not_to_contain_text(written)
        expect(widget).not_to_have_attribute(*attribute)


def test_what_is_written_or_picked_is_in_the_tag_and_in_the_preview(owner: Visitor) -> None:
    page, shown = owner.page, owner.page.locator("#tag")
    page.route(
        "https://images.example.com/**", lambda route: route.fulfill(content_type="image/svg+xml", body=PICTURE)
    )
    unfold(owner)
    for label, (_, value) in (FIELDS | NOT_TRIED).items():
        page.get_by_label(label, exact=True).fill(value)
    for label, (_, value) in CHOICES.items():
        page.get_by_label(label, exact=True).select_option(value)
    page.get_by_label("Open when a page loads").check()
    widget = preview(owner).locator("chat-widget[banner-message]")
    for name, value in (FIELDS | CHOICES).values():
        expect(shown).to_contain_text(f'data-{name}="{value}"')
        expect(widget).to_have_attribute(name, value)
    for name, value in [*NOT_TRIED.values(), ("visible", "true")]:
        expect(shown).to_contain_text(f'data-{name}="{value}"')
        assert widget.get_attribute(name) is None
    page.get_by_label("Image in place of its icon").fill("http://images.example.com/icon.svg")
    expect(shown).not_to_contain_text("icon-url")
    assert page.get_by_label("Visitors can attach files").is_disabled(), "the site takes none"


def test_every_attribute_that_makes_sense_there_can_be_built(owner: Visitor) -> None:
    """All of the reference's table but what only a single page or visitor can say."""
    script = "[...new Set([...document.querySelector('#options').elements].map(one => one.name))].filter(Boolean)"
    built = set(owner.page.evaluate(script)) - {"integrity"}
    fields = {name.replace("_", "-") for name in {*Look.model_fields, *TAG_ONLY}}
    assert built == fields - {"mode", "user-id", "user-name", "visitor-token"}


def test_texts_are_in_the_tag_and_in_the_preview(owner: Visitor) -> None:
    page = owner.page
    page.get_by_label("Text", exact=True).fill("Ask \"us\" & <i>'more'</i>")
    expect(preview(owner).locator("chat-widget .launcher")).to_have_text("Ask \"us\" & <i>'more'</i>")
    expect(page.get_by_label("Button", exact=True)).to_be_checked()
    page.get_by_label("Heading").fill("Ask the workshop")
    page.get_by_label("Welcome messages").fill("Hello!\n\n  It's us.  \n")
    expect(page.get_by_label("Chat", exact=True)).to_be_checked()
    page.get_by_label("Accent colour").fill("#7a1f5b")
    expect(page.locator("#accent-code")).to_have_text("#7a1f5b")
    expect(preview(owner).locator("chat-widget")).to_have_attribute("welcome-messages", '["Hello!","It\'s us."]')
    expect(preview(owner).locator("chat-widget")).to_have_attribute("accent", "#7a1f5b")
    written = tag(owner)
    assert "data-button-text='Ask \"us\" &amp; &lt;i>&#39;more&#39;&lt;/i>'" in written
    assert 'data-header-text="Ask the workshop"' in written
    assert 'data-welcome-messages=\'["Hello!","It&#39;s us."]\'' in written
    assert "starter-questions" not in written, "the site's own"
    page.get_by_label("Starter questions").fill("")
    expect(page.locator("#tag")).to_contain_text('data-starter-questions="[]"')


def test_the_copied_tag_gives_the_widget_of_the_preview(owner: Visitor, stage: Stage) -> None:
    owner.page.get_by_label("Left", exact=True).click()
    owner.page.get_by_label("Text", exact=True).fill("Ask \"us\" & <i>'more'</i>")
    expect(owner.page.locator("#tag")).to_contain_text("button-text")
    page = page_with(owner, copied(owner))
    launcher = page.locator("chat-widget .launcher")
    expect(launcher).to_have_text("Ask \"us\" & <i>'more'</i>")
    expect(launcher).to_have_css("background-color", "rgb(31, 95, 91)")
    box = launcher.bounding_box()
    assert box is not None
    assert box["x"] < 60
    attributes = (
        "one => Object.fromEntries([...one.attributes].filter(a => a.name !== 'style').map(a => [a.name, a.value]))"
    )
    shown = preview(owner).locator("chat-widget").evaluate(attributes)
    assert page.locator("chat-widget").evaluate(attributes) == shown
    launcher.click()
    visitor = Visitor(page, stage)
    visitor.say("What does it cost?")
    expect(page.locator("[role=log] .bot").last).to_be_visible(timeout=15_000)
    assert len(stage.upstream.requests("message")) == 1


def test_a_pinned_tag_is_run_by_the_browser_and_only_as_it_is(owner: Visitor, stage: Stage) -> None:
    owner.page.get_by_label("Pin this version (integrity)").check()
    expect(owner.page.locator("#tag")).to_contain_text(f"/widget@{__version__}.js")
    pinned = copied(owner)
    assert re.search(r'integrity="sha384-[\w+/]{64}" crossorigin', pinned)
    page = page_with(owner, pinned)
    page.locator("chat-widget .launcher").click()
    page.locator(".panel").wait_for()
    broken = re.sub(r"sha384-.", lambda found: found[0][:-1] + ("B" if found[0][-1] == "A" else "A"), pinned)
    page = page_with(owner, broken)
    page.wait_for_load_state("networkidle")
    assert page.locator("chat-widget").count() == 0
    page = page_with(owner, pinned.replace(f"@{__version__}", "@0.0.1"))
    page.wait_for_load_state("networkidle")
    assert page.locator("chat-widget").count() == 0


def test_a_pinned_loader_finds_itself_where_there_is_no_current_script(owner: Visitor, stage: Stage) -> None:
    """As a module, or written by a tag manager."""
    source = f"{stage.proxy.url}/widget@{__version__}.js"
    page = page_with(owner, f'<script type="module" crossorigin src="{source}" data-site="shop"></script>')
    page.locator("chat-widget .launcher").click()
    page.locator(".panel").wait_for()


def test_the_preview_answers_and_sends_nothing(owner: Visitor, stage: Stage) -> None:
    chat = preview(owner)
    chat.get_by_role("button", name="What does it cost?").click()
    expect(chat.locator("[role=log] .bot", has_text="This is a preview")).to_be_visible(timeout=10_000)
    expect(chat.locator("[role=log] strong")).to_have_text("your assistant")
    chat.locator("textarea").fill("And now?")
    chat.locator("textarea").press("Enter")
    expect(chat.locator("[role=log] .bot")).to_have_count(2, timeout=10_000)
    assert [one.url for one in owner.requests if "/v1/" in one.url] == []
    assert stage.upstream.requests() == []
    (frame,) = [one for one in owner.page.frames if one.url.endswith("/preview")]
    assert frame.evaluate("self.origin") == "null"


def test_the_preview_cannot_send_even_if_it_tries(owner: Visitor, stage: Stage) -> None:
    (frame,) = [one for one in owner.page.frames if one.url.endswith("/preview")]
    script = """url => new Promise(resolve => {
        const request = new XMLHttpRequest();
        request.onloadend = () => resolve(request.status);
        request.open("POST", url);
        request.send("{}");
    })"""
    assert frame.evaluate(script, f"{stage.proxy.url}/v1/sites/shop/sessions") == 0
    assert [one for one in frame.evaluate("violations.splice(0)") if one.startswith("connect-src")]
    owner.console.clear()


def test_everything_works_by_keyboard(owner: Visitor) -> None:
    page = owner.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the tag")).to_be_focused()
    reached: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        focused: str = page.evaluate("document.activeElement.name || document.activeElement.id || ''")
        reached.append(focused)
        if focused == "position":
            page.keyboard.press("ArrowLeft")
            page.keyboard.press("ArrowLeft")
        if focused == "button-text":
            page.keyboard.type("Hello")
        if focused == "integrity":
            page.keyboard.press("Space")
        if focused == "preview":
            page.locator("#copy").focus()  # what is in the frame is the widget's to test
            break
    order = [
        "theme",
        "accent",
        "position",
        "button-shape",
        "button-text",
        "icon-url",
        "show-button",
        "header-text",
        "language",
    ]
    order += ["welcome-messages", "starter-questions", "allow-full-screen", "feedback", "sound", "integrity"]
    assert [name for name in reached if name in order] == order
    assert "view" in reached
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Copied to the clipboard.")
    text: str = page.evaluate("navigator.clipboard.readText()")
    assert text == tag(owner)
    assert 'data-position="left"' in text
    assert 'data-button-text="Hello"' in text
    assert "integrity" in text


def test_without_a_clipboard_the_tag_is_selected(owner: Visitor) -> None:
    owner.page.evaluate(
        "navigator.clipboard.writeText = () => Promise.reject(new Error()); document.execCommand = () => false"
    )
    owner.page.get_by_role("button", name="Copy", exact=True).click()
    expect(owner.page.get_by_role("status")).to_contain_text("Ctrl+C")
    assert owner.page.evaluate("getSelection().toString()").strip() == tag(owner).strip()


def test_the_link_and_its_code_are_there(owner: Visitor, stage: Stage) -> None:
    link = f"{stage.proxy.url}/sites/shop/chat"
    expect(owner.page.get_by_role("link", name=link)).to_have_attribute("href", link)
    code = owner.page.get_by_role("img", name=f"QR code of {link}")
    assert code.evaluate("image => image.complete && image.naturalWidth > 100")
    owner.page.get_by_role("button", name="Copy the link").click()
    expect(owner.page.get_by_role("button", name="Copied")).to_be_visible()
    assert owner.page.evaluate("navigator.clipboard.readText()") == link
    with owner.page.expect_download() as download:
        owner.page.get_by_role("link", name="Save the QR code").click()
    assert download.value.suggested_filename == "chat-shop.svg"


CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const rgb = (...layers) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const layer of layers) { canvas.fillStyle = layer; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (colour) => colour.map(one => one / 255)
        .map(one => one <= .03928 ? one / 12.92 : ((one + .055) / 1.055) ** 2.4)
        .reduce((sum, one, index) => sum + one * [.2126, .7152, .0722][index], 0);
    const poor = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
        if (!text || !element.checkVisibility() || ["SCRIPT", "NOSCRIPT", "OPTION"].includes(element.tagName)) continue;
        const grounds = [];
        for (let one = element; one; one = one.parentElement) grounds.unshift(getComputedStyle(one).backgroundColor);
        const ground = rgb("white", ...grounds), colour = rgb("white", ...grounds, getComputedStyle(element).color);
        const [light, dark] = [luminance(ground), luminance(colour)].sort((one, other) => other - one);
        const ratio = (light + .05) / (dark + .05);
        if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${text}`);
    }
    return poor;
}"""


class Screen(NamedTuple):
    """Somebody before a large screen or a small one, light or dark; `pictures` is where one taken there goes."""

    visitor: Visitor
    small: bool
    pictures: Path


SCREENS = [(scheme, small) for scheme in ("light", "dark") for small in (False, True)]


@pytest.fixture(params=SCREENS, ids=[f"{scheme}-{'phone' if small else 'desktop'}" for scheme, small in SCREENS])
def screen(
    request: pytest.FixtureRequest, browser: Browser, stage: Stage, images: Path, tmp_path: Path
) -> Iterator[Screen]:
    scheme, small = request.param
    pictures = images if (scheme, small) == ("light", False) else tmp_path
    with visiting(browser, stage, color_scheme=scheme, **(PHONE if small else {})) as visitor:
        yield Screen(visitor, small, pictures)


def test_the_front_page_fits_and_can_be_read(screen: Screen) -> None:
    owner, small, pictures = screen
    open_front(owner)
    assert owner.page.evaluate(CONTRAST) == []
    width = owner.page.evaluate("innerWidth")
    assert owner.page.evaluate("document.documentElement.scrollWidth") <= width
    unlabelled = "[...document.querySelectorAll('input, select, textarea')].filter(one => !one.labels.length).length"
    assert owner.page.evaluate(unlabelled) == 0
    if small:
        low = """[...document.querySelectorAll("button, select, textarea, .choice label, .check")]
            .filter(one => one.checkVisibility() && one.getBoundingClientRect().height < 24).length"""
        assert owner.page.evaluate(low) == 0
    else:
        owner.page.set_viewport_size({"width": 1280, "height": 1160})
    owner.page.screenshot(path=pictures / "builder.png", animations="disabled", full_page=small)


# The full-page chat


@pytest.fixture
def linked(browser: Browser, stage: Stage) -> Iterator[Visitor]:
    """A visitor who followed the link."""
    with visiting(browser, stage) as visitor:
        follow(visitor)
        yield visitor
        assert visitor.page.evaluate("violations") == []
        assert [line for line in visitor.console if not line.startswith("log")] == []


def follow(visitor: Visitor) -> None:
    visitor.page.add_init_script(VIOLATIONS)
    visitor.page.goto(f"{visitor.stage.proxy.url}/sites/shop/chat")
    visitor.page.locator(".panel").wait_for()


def test_whoever_has_the_link_can_ask_and_is_answered(linked: Visitor, stage: Stage) -> None:
    assert linked.page.title() == "Ask Nordlicht"
    linked.say("What can you do?")
    expect(linked.page.locator("[role=log] .bot")).to_have_count(1, timeout=15_000)
    (start,) = stage.upstream.requests("start")
    assert start["headers"]["origin"] == stage.proxy.url, "upstream learns where the visitor really is"
    assert start["body"]["page_context"]["page_url"] == f"{stage.proxy.url}/sites/shop/chat"
    linked.page.reload()
    expect(linked.page.locator("[role=log] .bot")).to_have_count(1, timeout=15_000)
    assert len(stage.upstream.requests("start")) == 1, "one conversation"


PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="40" height="30"/></svg>'
PICTURES = """![The lamp](https://images.example.com/lamp.svg)

![Somebody else's](https://elsewhere.example/count.svg)"""


def test_an_image_of_an_allowed_host_is_shown_and_no_other_is_asked_for(linked: Visitor, stage: Stage) -> None:
    """On our chat page, whose policy names the host, and on a website."""
    asked: list[tuple[str, str | None]] = []

    def answer(route: Route) -> None:
        asked.append((route.request.url, route.request.headers.get("referer")))
        route.fulfill(content_type="image/svg+xml", body=PICTURE)

    linked.page.context.route("https://*.example/**", answer)
    linked.page.context.route("https://images.example.com/**", answer)
    for website in (False, True):
        asked.clear()
        stage.upstream.order("answers", text=PICTURES, delay=0.1)
        if website:
            linked.go()
            linked.open_chat()
        linked.say("What does it look like?")
        image = linked.page.get_by_role("img", name="The lamp")
        expect(image).to_be_visible(timeout=15_000)
        assert image.evaluate("async image => { await image.decode(); return image.naturalWidth; }") == 40
        expect(linked.page.get_by_role("link", name="Somebody else's")).to_be_visible()
        assert linked.page.locator(".bot img").count() == 1
        assert asked == [("https://images.example.com/lamp.svg", None)]


def test_the_chat_page_works_by_keyboard(linked: Visitor) -> None:
    expect(linked.page.locator("textarea")).to_be_focused()
    linked.page.keyboard.type("What can you do?")
    linked.page.keyboard.press("Enter")
    expect(linked.page.locator("[role=log] .bot")).to_have_count(1, timeout=15_000)


def test_the_chat_page_fits(screen: Screen) -> None:
    visitor, small, pictures = screen
    follow(visitor)
    visitor.say("What can you do?")
    expect(visitor.page.locator("[role=log] .bot")).to_have_count(1, timeout=15_000)
    box = visitor.page.locator(".panel").bounding_box()
    assert box is not None
    width, height = visitor.page.evaluate("[innerWidth, innerHeight]")
    if small:
        assert (box["x"], box["width"]) == (0, 390)
        assert box["y"] + box["height"] == 844
        assert box["y"] < 80, "at most a heading above it"
    else:
        assert abs(box["x"] + box["width"] / 2 - width / 2) <= 1, "in the middle"
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= height
    assert visitor.page.evaluate("document.documentElement.scrollHeight") <= height
    visitor.page.screenshot(path=pictures / "chat-page.png", animations="disabled")


@pytest.mark.parametrize("by_keyboard", [True, False], ids=["by keyboard", "by finger"])
def test_the_chat_page_begins_a_new_chat(browser: Browser, stage: Stage, by_keyboard: bool) -> None:
    with visiting(browser, stage, **({} if by_keyboard else PHONE)) as visitor:
        page = visitor.page

        def press(button: Locator) -> None:
            if by_keyboard:
                button.focus()
                page.keyboard.press("Enter")
            else:
                button.tap()

        follow(visitor)
        fresh = page.get_by_role("button", name="Start new chat")
        expect(fresh).to_have_count(0)  # there is nothing to leave behind yet
        visitor.say("What can you do?")
        expect(page.locator("[role=log] .bot")).to_have_count(1, timeout=15_000)
        press(fresh)
        page.get_by_role("button", name="Cancel").wait_for()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
        assert len(visitor.lines()) == 2
        press(fresh)
        press(page.locator(".ask .solid"))
        expect(page.locator(".item")).to_have_count(0)
        expect(page.locator("textarea")).to_be_focused()
        visitor.say("And now?")
        expect(page.locator("[role=log] .bot")).to_have_count(1, timeout=15_000)
        assert len(stage.upstream.requests("start")) == 2
        page.reload()
        expect(page.locator("[role=log] .bot")).to_have_count(1, timeout=15_000)
        assert visitor.lines()[0] == "mine: And now?"


def test_switched_off_there_is_nothing(browser: Browser, stage: Stage, tmp_path: Path) -> None:
    off = Proxy(
        stage.upstream.url,
        tmp_path / "proxy.log",
        WIDGET_PROXY_PAGES__FRONT="false",
        WIDGET_PROXY_PAGES__CHAT="false",
    )
    with running(off), visiting(browser, stage) as visitor:
        response = visitor.page.goto(off.url)
        assert response is not None
        assert response.status == 404
        response = visitor.page.goto(f"{off.url}/sites/shop/chat")
        assert response is not None
        assert response.status == 404
        expect(visitor.page.get_by_role("heading", name="There is no chat here")).to_be_visible()
