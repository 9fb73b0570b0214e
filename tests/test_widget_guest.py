"""A good guest: whatever else is on the page, and however the script came there, neither disturbs the other."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.website import Website

ROOT = Path(__file__).parent.parent

HOSTILE = """<style>
    * { margin: 9px !important; padding: 9px !important; border: 3px solid red !important; box-sizing: content-box !important;
        width: 33px !important; background: yellow !important; float: left !important; animation: none !important }
    button, textarea, dialog, form, header, h2, p, svg, [role] { display: none !important; appearance: auto !important }
    html { font-size: 8px } button { all: unset } ::placeholder { color: red } :focus { outline: none !important }
</style>"""

LOOKS = """() => {
    const root = document.querySelector("chat-widget").shadowRoot;
    return [...root.querySelectorAll(".launcher, .panel, .panel *")].filter(one => !one.closest("time")).map(one => {
        const style = getComputedStyle(one), box = one.getBoundingClientRect();
        const look = Object.fromEntries([...style].filter(name => !name.startsWith("--")).map(name => [name, style[name]]));
        return {element: `${one.localName}.${one.className.baseVal ?? one.className}`, at: [box.x, box.y, box.width, box.height], ...look};
    });
}"""

THEIRS = """() => [...document.querySelectorAll("html, head, body, main *")].map(one => {
    const style = getComputedStyle(one), {x, y, width, height} = one.getBoundingClientRect();
    return [one.localName, x, y, width, height, ...[...style].map(name => `${name}: ${style[name]}`)].join("; ");
})"""

SHOP = """<main><h1>Lamps</h1><p class="panel send item">Text</p><button class="launcher icon solid">Buy</button>
    <textarea class="input">x</textarea><dialog open class="panel full">Theirs</dialog><form class="composer"><input></form></main>"""


def differences(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[str]:
    """What looks otherwise, in words."""
    assert len(one) == len(other)
    return [
        f"{a['element']} {name}: {a[name]} -> {b[name]}"
        for a, b in zip(one, other, strict=True)
        for name in a
        if a[name] != b[name]
    ]


def test_a_hostile_style_sheet_changes_nothing_of_the_chat(website: Website) -> None:
    looks = []
    for head in ("", HOSTILE):
        website.visit(head=head)
        website.page.evaluate("localStorage.clear()")
        website.page.emulate_media(reduced_motion="reduce")
        website.page.reload()
        website.widget("void widget.open()")
        website.panel.wait_for()
        website.ask("Hello", "**Welcome**\n\n```\ncode\n```", "Welcome code")
        website.field.fill("Half a")
        looks.append(website.page.evaluate(LOOKS))
    assert len(looks[0]) > 30
    assert differences(*looks) == []


def test_the_chats_styles_do_not_reach_the_page(website: Website) -> None:
    website.visit(SHOP, tag="<chat-widget hidden></chat-widget>")
    before = website.page.evaluate(THEIRS)
    website.enter(SHOP)
    website.ask()
    website.page.mouse.move(0, 0)
    website.page.evaluate("document.activeElement.blur()")
    assert website.page.evaluate(THEIRS) == before
    assert website.page.evaluate("document.styleSheets.length + document.adoptedStyleSheets.length") == 0


def test_nothing_of_it_is_printed(website: Website) -> None:
    website.visit("Lamps")
    website.page.emulate_media(media="print")
    expect(website.launcher).to_be_hidden()
    website.page.emulate_media(media="screen")
    website.open_chat()
    website.button("Enter full screen").click()
    website.page.emulate_media(media="print")
    expect(website.panel).to_be_hidden()
    expect(website.page.locator("chat-widget")).to_have_css("display", "none")


COVER = """<div class="cover" style="position:fixed;inset:0;z-index:2147483647;background:#000c"></div>"""


def on_top(website: Website, box: dict[str, float]) -> str:
    """What is met at the middle of a box."""
    found: str = website.page.evaluate(
        "([x, y]) => document.elementFromPoint(x, y).localName",
        [(box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2],
    )
    return found


def test_the_highest_of_all_z_indexes_covers_neither_launcher_nor_chat(website: Website) -> None:
    website.visit(COVER)
    assert website.page.evaluate("document.elementFromPoint(9, 9).className") == "cover"
    assert on_top(website, website.box(website.launcher)) == "chat-widget"
    website.open_chat()
    assert on_top(website, website.box(website.panel)) == "chat-widget"
    website.ask()
    website.button("Enter full screen").click()
    assert on_top(website, website.box(website.panel)) == "chat-widget"


def test_a_dialog_of_the_page_stands_before_the_chat(website: Website) -> None:
    website.enter("<dialog id=cookies><button>Accept</button></dialog>")
    website.page.evaluate("cookies.showModal()")
    website.button("Accept").click()
    website.page.evaluate("cookies.close()")
    website.ask()


def test_two_sites_on_one_page_are_two_chats(website: Website) -> None:
    other = website.tag(site="other", position="left")
    website.visit(tag=website.tag() + other)
    expect(website.page.locator("chat-widget")).to_have_count(2)
    for site, title in (("shop", "Ask Nordlicht"), ("other", "Ask the other")):
        chat = website.page.locator(f"chat-widget[site={site}]")
        chat.locator(".launcher").click()
        expect(website.page.get_by_role("dialog", name=title)).to_be_visible()
        website.stage.upstream.order("answers", text=f"Welcome to {site}", delay=0.05)
        chat.locator("textarea").fill(f"Hello {site}")
        chat.locator("textarea").press("Enter")
        expect(chat.locator(".item .bot")).to_have_text(f"Welcome to {site}")
        expect(chat.locator(".item .mine")).to_have_text(f"Hello {site}")
    assert len(website.stage.upstream.ask("sessions")) == 2
    website.page.reload()
    for site in ("shop", "other"):
        chat = website.page.locator(f"chat-widget[site={site}]")
        expect(chat.locator(".item .bot")).to_have_text(f"Welcome to {site}")


INJECTED = """<script>
    const script = document.createElement("script");
    script.src = "{src}";
    script.dataset.site = "shop";
    document.{where}.append(script);
</script>"""


@pytest.mark.parametrize(
    "how", ["", "async", "defer", 'type="module"', 'type="module" async', "in the head", "by a tag manager", "by one in the head"]
)  # fmt: skip
def test_however_the_script_comes_there_is_one_chat(website: Website, how: str) -> None:
    source = f"{website.stage.proxy.url}/widget.js"
    injected = INJECTED.replace("{src}", source)
    tags = {
        "in the head": website.tag(how=""),
        "by a tag manager": injected.replace("{where}", "body"),
        "by one in the head": injected.replace("{where}", "head"),
    }
    tag = tags.get(how) or website.tag(how=how)
    if how.endswith("head"):
        website.visit("Lamps", head=tag, tag="")
    else:
        website.visit("Lamps", tag=tag)
    website.launcher.wait_for()
    website.open_chat()
    expect(website.page.get_by_role("dialog", name="Ask Nordlicht")).to_be_visible()
    expect(website.page.locator("chat-widget")).to_have_count(1)


def test_the_script_twice_in_a_page_is_one_chat(website: Website) -> None:
    website.visit(tag=website.tag(how="") + website.tag(how="") + website.tag(how='type="module"'))
    website.enter(tag=website.tag() * 2)
    expect(website.page.locator("chat-widget")).to_have_count(1)
    website.stage.upstream.order("answers", text="Welcome", delay=0.05)
    website.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<button data-chat-ask=Hello>Ask</button>')")
    website.button("Ask").click()
    website.answer("Welcome")
    assert website.lines() == ["mine: Hello", "bot: Welcome"], "and asks once"


def test_an_element_of_that_name_that_is_somebody_elses_is_left_alone(website: Website) -> None:
    theirs = "<script>customElements.define('chat-widget', class extends HTMLElement {})</script>"
    website.visit(theirs + "<chat-widget site='shop'>Theirs</chat-widget>", tag=website.tag(how=""))
    expect(website.page.locator("chat-widget")).to_have_count(1)
    expect(website.page.locator("chat-widget")).to_have_text("Theirs")
    assert website.page.evaluate("document.querySelector('chat-widget').shadowRoot") is None


DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_under_a_strict_policy_files_and_full_screen_work_too(website: Website) -> None:
    proxy = website.stage.proxy.url
    website.page.add_init_script("""window.violations = [];
        addEventListener("securitypolicyviolation", event => violations.push(event.violatedDirective));""")
    documented = re.search(r"```\n(.*?)\n```", (ROOT / "docs/csp.md").read_text())
    assert documented is not None
    policy = documented[1].replace("https://chat.example.com", proxy)
    html = f"<!doctype html><title>Lamps</title><body>{website.tag(site='other', sound='on', feedback='on')}"
    website.stage.workshop.pages["/strict"] = ({"Content-Security-Policy": policy}, html)
    website.page.goto(f"{website.stage.workshop.url}/strict")
    website.open_chat()
    with website.page.expect_file_chooser() as chooser:
        website.button("Attach files").click()
    chooser.value.set_files({"name": "room.png", "mimeType": "image/png", "buffer": DOT})
    expect(website.page.locator(".files .file")).to_contain_text("File attached")
    expect(website.page.locator(".files canvas")).to_be_visible()
    website.ask("Hello", "| a | b |\n|---|---|\n| c | d |", "a b c d")
    website.button("Enter full screen").click()
    website.widget("widget.bannerMessage = 'Soon'")
    expect(website.page.locator(".banner")).to_be_visible()
    assert [one for one in website.page.evaluate("violations") if one != "img-src"] == [], (
        "the favicon is Chromium's own"
    )


@pytest.mark.parametrize(
    "scripts", ["'nonce-bm9uY2U=' 'strict-dynamic'", "PROXY/widget.js PROXY/widget/"], ids=["a nonce", "paths"]
)
def test_a_policy_can_trust_by_nonce_or_by_path(scripts: str, website: Website) -> None:
    proxy = website.stage.proxy.url
    policy = f"default-src 'none'; script-src {scripts.replace('PROXY', proxy)}; connect-src {proxy}"
    html = f"<!doctype html><title>Lamps</title><body>{website.tag().replace('<script', '<script nonce=bm9uY2U=')}"
    website.stage.workshop.pages["/trusting"] = ({"Content-Security-Policy": policy}, html)
    website.page.goto(f"{website.stage.workshop.url}/trusting")
    website.open_chat()
    website.ask()


@pytest.mark.parametrize("missing", ["script-src", "connect-src"])
def test_the_console_names_what_the_policy_lacks(website: Website, missing: str) -> None:
    proxy = website.stage.proxy.url
    allowed = {"script-src": f"{proxy}/widget.js" if missing == "script-src" else proxy}
    if missing != "connect-src":
        allowed["connect-src"] = proxy
    policy = "default-src 'none'; " + "; ".join(f"{name} {value}" for name, value in allowed.items())
    html = f"<!doctype html><title>Lamps</title><body>{website.tag()}"
    website.stage.workshop.pages["/blocked"] = ({"Content-Security-Policy": policy}, html)
    website.page.goto(f"{website.stage.workshop.url}/blocked")
    website.page.evaluate("window.heard = []; addEventListener('ocs:error', ({detail}) => heard.push(detail.code))")
    with website.page.expect_console_message(lambda told: told.text.startswith("chat-widget:")) as message:
        website.launcher.click()
    assert f"{missing}" in message.value.text
    assert proxy in message.value.text
    assert website.page.evaluate("heard") == ["blocked"]
    expect(website.launcher).to_be_visible()


def test_after_a_failure_to_load_the_next_press_tries_again(website: Website) -> None:
    website.page.route("**/widget/panel.js", lambda route: route.abort(), times=2)
    website.visit()
    website.page.evaluate("window.heard = []; addEventListener('ocs:error', ({detail}) => heard.push(detail.code))")
    website.launcher.click()
    website.page.wait_for_function("heard.length > 0")
    website.open_chat()


def test_taken_out_of_the_page_and_put_back_it_goes_on(website: Website) -> None:
    website.enter()
    website.ask()
    website.page.evaluate("window.widget = document.querySelector('chat-widget'); widget.remove()")
    website.until(lambda: len(website.page.query_selector_all("chat-widget")) == 0)
    website.page.evaluate("document.body.append(widget)")
    website.panel.wait_for()
    website.answer("Welcome")
    website.ask("Again", "And again")
    assert [line.partition(":")[0] for line in website.lines()] == ["mine", "bot"] * 2


def test_the_methods_are_there_for_the_page(website: Website) -> None:
    website.visit(
        "<button onclick=\"document.querySelector('chat-widget').toggle()\">Help</button>", show_button="false"
    )
    website.button("Help").click()
    expect(website.panel).to_be_visible()
    website.button("Help").click()
    expect(website.panel).to_be_hidden()
    website.stage.upstream.order("answers", text="Welcome", delay=0.05)
    website.widget("void widget.open().then(() => widget.send('Hello'))")
    website.answer("Welcome")
    website.widget("void widget.open()")
    expect(website.panel).to_be_visible()
    website.widget("widget.close()")
    expect(website.panel).to_be_hidden()
    website.widget("widget.close()")
    website.page.reload()
    website.widget("void widget.open()")
    website.answer("Welcome")
    website.widget("void widget.newChat()")
    expect(website.page.locator(".item")).to_have_count(0)
    website.page.reload()
    website.panel.wait_for()
    expect(website.page.locator(".item")).to_have_count(0)


INHERITED = """<style>* { letter-spacing: 9px !important; text-transform: uppercase !important; word-spacing: 20px !important;
    text-align: right !important; line-height: 3 !important; font-style: italic !important; font-weight: 100 !important;
    text-indent: 40px !important; cursor: wait !important; text-shadow: 1px 1px red !important; white-space: nowrap !important;
    visibility: hidden !important; opacity: .5 !important }</style>"""


def test_what_a_page_forces_on_everything_is_not_inherited(website: Website) -> None:
    looks = []
    for head in ("", INHERITED):
        website.visit(head=head)
        website.page.evaluate("localStorage.clear()")
        website.page.emulate_media(reduced_motion="reduce")
        website.page.reload()
        website.widget("void widget.open()")
        website.page.locator("chat-widget .panel[open]").wait_for(state="attached")
        looks.append(website.page.evaluate(LOOKS))
    names = [
        "letter-spacing",
        "text-transform",
        "word-spacing",
        "text-align",
        "font-style",
        "text-indent",
        "cursor",
        "text-shadow",
    ]
    slim = [[{name: one.get(name) for name in ["element", *names]} for one in look] for look in looks]
    assert differences(*slim) == []


def test_a_module_without_a_site_leaves_the_pages_own_element_alive(website: Website) -> None:
    website.visit(
        '<chat-widget site="shop"></chat-widget>',
        tag=f'<script type="module" src="{website.stage.proxy.url}/widget.js"></script>',
    )
    website.open_chat()


def test_put_elsewhere_while_it_loads_it_is_drawn_once(website: Website) -> None:
    held: list[Route] = []
    website.page.route("**/widget/panel.css", lambda route: held.append(route))
    website.visit()
    website.launcher.click()
    website.until(lambda: len(held) == 1)
    website.widget("(document.body.append(widget), void widget.open())")
    website.until(lambda: len(held) == 2)
    for one in held:
        one.continue_()
    website.panel.first.wait_for()
    website.ask()
    expect(website.panel).to_have_count(1)


def test_closed_while_it_loads_it_stays_closed(website: Website) -> None:
    website.visit()
    website.widget("(widget.open(), widget.close(), window.asked = widget.send('Hello'), 0)")
    expect(website.page.locator(".launcher.unread")).to_be_visible()
    expect(website.panel).to_be_hidden()


def test_another_visitor_of_the_same_page_sees_nothing_of_the_first(website: Website) -> None:
    """A single-page application in which one signs out and another in."""
    website.enter(user_id="maya", user_name="Maya")
    website.ask("I am Maya", "Good day")
    website.widget("widget.userId = 'noah'")
    website.widget("widget.userName = 'Noah'")
    website.panel.wait_for()
    expect(website.page.locator(".item")).to_have_count(0)
    website.ask("I am Noah", "Hello")
    assert website.lines() == ["mine: I am Noah", "bot: Hello"]
    bodies = [one["body"] for one in website.stage.upstream.requests("start")]
    names = [(one["participant_remote_id"], one["participant_name"]) for one in bodies]
    assert names == [("maya", "Maya"), ("noah", "Noah")]
    website.widget("widget.userId = 'maya'")
    website.answer("Good day")
    assert website.lines() == ["mine: I am Maya", "bot: Good day"]


def test_a_colour_in_the_elements_own_style_stays(website: Website) -> None:
    website.visit('<chat-widget site="shop" style="--accent: #7a3b69"></chat-widget>')
    for colour, accent in (
        ("rgb(122, 59, 105)", "null"),
        ("rgb(1, 2, 3)", "'#010203'"),
        ("rgb(122, 59, 105)", "null"),
    ):
        website.widget(f"void (widget.accent = {accent})")
        expect(website.launcher).to_have_css("background-color", colour)
    website.open_chat()
    expect(website.page.locator(".header")).to_have_css("background-color", "rgb(122, 59, 105)")
