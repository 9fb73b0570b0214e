"""Reading and writing: what comes while the visitor looks elsewhere, what an answer may hold, what waits to be sent; and
what the chat says when an answer does not come."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser import Stage
from tests.website import Website, on_website

LONG = "\n\n".join(f"Paragraph {number}" for number in range(60))

RICH = """```
dust --with "cotton" && \\
  wait
```
"""

TURNED = "log => log.scrollHeight - log.scrollTop - log.clientHeight"


@pytest.fixture
def chat(website: Website) -> Website:
    """An open chat with a conversation."""
    website.enter()
    website.ask()
    return website


# Reading


def test_who_reads_further_up_is_left_there_and_told(chat: Website) -> None:
    chat.ask("Tell me everything", LONG, "Paragraph 59")
    scroller = chat.page.locator(".messages")
    scroller.hover()
    chat.page.mouse.wheel(0, -600)
    chat.page.wait_for_function(
        f"() => ({TURNED})(document.querySelector('chat-widget').shadowRoot.querySelector('.messages')) > 500"
    )
    before = scroller.evaluate("log => log.scrollTop")
    pill = chat.page.locator(".pill")
    expect(pill).to_be_hidden()
    chat.bot_says("By the way")
    expect(pill).to_have_text("1 new message")
    chat.bot_says("One more thing")
    expect(pill).to_have_text("2 new messages")
    assert scroller.evaluate("log => log.scrollTop") == before
    pill.click()
    expect(chat.page.get_by_text("One more thing")).to_be_in_viewport()
    expect(pill).to_be_hidden()
    assert chat.page.title() == "Lamps"


def test_who_reads_at_the_end_sees_what_comes(chat: Website) -> None:
    chat.ask("Tell me everything", LONG, "Paragraph 59")
    chat.bot_says("By the way")
    chat.answer("By the way")
    expect(chat.page.get_by_text("By the way")).to_be_in_viewport()
    expect(chat.page.locator(".pill")).to_be_hidden()
    assert chat.page.title() == "Lamps"


def test_ones_own_message_is_shown_wherever_one_reads(chat: Website) -> None:
    chat.ask("Tell me everything", LONG, "Paragraph 59")
    chat.page.locator(".messages").evaluate("log => { log.scrollTop = 0; }")
    chat.say("And this?")
    expect(chat.page.locator(".mine", has_text="And this?")).to_be_in_viewport()


def test_what_came_to_a_closed_chat_is_counted_by_name_and_gone_when_it_is_opened(chat: Website) -> None:
    for number in range(2):
        chat.stage.upstream.order("answers", text=f"Answer {number}", delay=1.5)
        chat.say(f"Question {number}")
    chat.button("Close chat").click()
    expect(chat.button("Open chat, 2 new messages")).to_be_visible()
    assert chat.page.title() == "● Lamps"
    chat.open_chat()
    expect(chat.page.get_by_text("Answer 1")).to_be_in_viewport()
    assert chat.page.title() == "Lamps"
    chat.button("Close chat").click()
    expect(chat.launcher).to_be_visible()
    assert "new message" not in (chat.launcher.get_attribute("aria-label") or "")


def test_a_message_of_the_bots_own_comes_as_one(chat: Website) -> None:
    chat.page.evaluate(
        "window.heard = []; addEventListener('ocs:message:received', ({detail}) => heard.push(detail.message))"
    )
    chat.bot_says("Your lamp **has arrived**.")
    chat.answer("Your lamp has arrived.")
    expect(chat.page.locator(".bot strong")).to_have_text("has arrived")
    assert chat.page.evaluate("heard") == [{"role": "assistant", "content": "Your lamp **has arrived**."}]
    assert [line.partition(":")[0] for line in chat.lines()] == ["mine", "bot", "bot"]


def test_what_is_wide_scrolls_inside_the_answer(chat: Website) -> None:
    chat.ask("How do I care for it?", f"`{'x' * 90}`\n\n```\n{'y' * 200}\n```", "yyy")
    wide = "one => one.scrollWidth > one.clientWidth"
    code = chat.page.locator(".bot pre")
    assert code.evaluate(wide)
    code.evaluate("one => { one.scrollLeft = 50; }")
    assert code.evaluate("one => one.scrollLeft") == 50
    assert not chat.page.locator(".messages").evaluate(wide)
    assert not chat.panel.evaluate(wide)


def test_code_is_copied_as_it_is(chat: Website) -> None:
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.ask("How do I care for it?", RICH, "dust")
    chat.button("Copy").click()
    expect(chat.button("Copied")).to_be_visible()
    assert chat.page.evaluate("navigator.clipboard.readText()") == 'dust --with "cotton" && \\\n  wait\n'


def test_a_link_opens_beside_the_page_and_tells_it_nothing(chat: Website) -> None:
    chat.stage.workshop.pages["/care"] = ({}, "<!doctype html><title>Care</title>Care")
    chat.ask("Where?", f"[There]({chat.stage.workshop.url}/care)", "There")
    with chat.page.context.expect_page() as opened:
        chat.page.get_by_role("link", name="There").click()
    page = opened.value
    page.wait_for_load_state()
    assert page.evaluate("[opener, document.referrer]") == [None, ""]
    assert chat.page.url.endswith("/website")


def test_each_message_has_its_time_and_each_day_its_line(browser: Browser, stage: Stage) -> None:
    with on_website(browser, stage, timezone_id="UTC") as website:
        website.enter()
        website.ask()
        today = website.page.evaluate(
            "new Intl.DateTimeFormat('en', {weekday: 'long', day: 'numeric', month: 'long'}).format()"
        )
        first = 2_000_000_000  # the eighteenth of May 2033, half past three in the night
        for number, moment in enumerate([first, first + 36_000, first + 86_400]):
            website.bot_says(f"Message {number}", created_at=moment)
            website.answer(f"Message {number}")
        days = website.page.locator(".item").evaluate_all(
            """items => items.map(item => getComputedStyle(item, "::before").content.replaceAll('"', ""))"""
        )
        assert days == [today, "none", "Wednesday, May 18", "none", "Thursday, May 19"]
        times = website.page.locator("time").all_inner_texts()
        assert [time.replace("\u202f", " ") for time in times[2:]] == ["3:33 AM", "1:33 PM", "3:33 AM"]


def test_each_thumb_is_told_and_the_last_one_holds(website: Website) -> None:
    website.enter(feedback="on")
    website.page.evaluate(
        "window.heard = []; addEventListener('ocs:feedback', ({detail}) => heard.push(detail.rating))"
    )
    website.ask()
    website.button("Helpful").click()
    website.button("Not helpful").click()
    expect(website.button("Helpful")).to_have_attribute("aria-pressed", "false")
    expect(website.button("Not helpful")).to_have_attribute("aria-pressed", "true")
    assert website.page.evaluate("heard") == ["helpful", "not_helpful"]
    assert website.page.locator(".thumbs").count() == 1, "one's own message has none"


def test_a_reply_that_is_seen_makes_no_sound(website: Website) -> None:
    website.page.add_init_script(
        "window.tones = 0; const start = OscillatorNode.prototype.start;"
        "OscillatorNode.prototype.start = function () { tones++; start.call(this); };"
    )
    website.enter(sound="on")
    website.ask()
    assert website.page.evaluate("tones") == 0


# Writing


def test_the_field_grows_with_what_is_written_up_to_a_limit(chat: Website) -> None:
    def height() -> float:
        box = chat.box(chat.field)
        return box["bottom"] - box["top"]

    heights = [height()]
    for count in (2, 3, 30):
        chat.field.fill("line\n" * (count - 1) + "end")
        heights.append(height())
    one, two, three, many = heights
    assert two - one == three - two == 22
    assert many == 140
    assert chat.field.evaluate("one => one.scrollHeight > one.clientHeight")
    chat.field.press("Control+End")
    chat.ask("Short again")
    assert height() == one


def test_a_draft_is_kept_in_its_tab(chat: Website) -> None:
    chat.field.fill("Does it\nfit?")
    chat.page.reload()
    expect(chat.field).to_have_value("Does it\nfit?")
    assert chat.box(chat.field)["bottom"] - chat.box(chat.field)["top"] > 50, "as tall as it was"
    expect(chat.send_button).to_be_enabled()
    other = Website(chat.page.context.new_page(), chat.stage)
    other.page.goto(chat.page.url)
    other.open_chat()
    expect(other.field).to_have_value("")
    chat.field.press("Enter")
    expect(chat.field).to_have_value("")
    chat.page.reload()
    expect(chat.field).to_have_value("")


def test_the_next_message_need_not_wait_for_the_answer(chat: Website) -> None:
    expect(chat.send_button).to_be_disabled()
    chat.stage.upstream.order("answers", text="First answer", delay=0.6)
    chat.stage.upstream.order("answers", text="Second answer", delay=0.6)
    chat.field.fill("First")
    chat.send_button.click()
    expect(chat.page.locator(".typing")).to_be_visible()
    expect(chat.field).to_be_focused()
    chat.field.fill("Second")
    expect(chat.send_button).to_be_enabled()
    chat.send_button.click()
    chat.answer("First answer")
    chat.answer("Second answer")
    assert [line for line in chat.lines() if line.startswith("mine")] == [
        "mine: Hello",
        "mine: First",
        "mine: Second",
    ]


def test_enter_that_ends_a_composition_sends_nothing(chat: Website) -> None:
    chat.devtools().send("Input.imeSetComposition", {"text": "らん", "selectionStart": 2, "selectionEnd": 2})
    expect(chat.field).to_have_value("らん")
    chat.field.evaluate("""field => field.dispatchEvent(
        new KeyboardEvent("keydown", {key: "Enter", isComposing: true, bubbles: true, composed: true, cancelable: true}))""")
    expect(chat.field).to_have_value("らん")
    assert len(chat.lines()) == 2
    chat.devtools().send("Input.insertText", {"text": "ランプ"})
    chat.field.press("Enter")
    expect(chat.page.locator(".mine").last).to_have_text("ランプ")


# When no answer comes


def test_after_ten_seconds_it_says_that_it_takes_longer(website: Website) -> None:
    website.page.clock.install()
    website.enter()
    website.page.evaluate("""() => {
        window.said = new Set();
        const typing = document.querySelector("chat-widget").shadowRoot.querySelector(".typing");
        new MutationObserver(() => said.add(typing.textContent)).observe(typing, {childList: true, subtree: true});
    }""")
    website.stage.upstream.order("answers", text="At last", delay=60)
    website.say("Hello")
    slow = "This takes longer than usual. The answer will appear here."
    expect(website.page.locator(".typing")).to_be_visible()
    expect(website.page.locator(".typing")).to_have_text("Preparing response")
    website.page.clock.fast_forward(5000)
    assert slow not in website.page.evaluate("[...said]")
    website.page.clock.fast_forward(5500)
    assert slow in website.page.evaluate("[...said]")


def test_without_a_network_it_says_so_and_goes_on_with_it(chat: Website) -> None:
    chat.button("Close chat").click()
    chat.page.context.set_offline(True)
    chat.open_chat()
    expect(chat.page.get_by_text("You are offline.")).to_be_visible()
    chat.page.context.set_offline(False)
    expect(chat.page.get_by_text("You are offline.")).to_be_hidden()
    chat.ask("Back again", "So you are")


def test_a_chat_switched_off_says_it_in_the_owners_words(website: Website) -> None:
    website.stage.upstream.order("channel", enabled=False, text="Closed for the season.")
    website.enter()
    website.say("Hello")
    expect(website.page.get_by_text("Closed for the season.").first).to_be_visible()
    assert website.lines() == ["mine: Hello"]
    website.stage.upstream.order("channel", enabled=True)
    website.stage.upstream.order("answers", text="Open again", delay=0.05)
    website.button("Try again").click()
    website.answer("Open again")
    expect(website.page.get_by_text("Closed for the season.")).to_have_count(0)


def test_a_chat_to_read_only_shows_what_was_said_and_takes_nothing(chat: Website) -> None:
    chat.widget("widget.disabled = true")
    expect(chat.field).to_be_disabled()
    assert chat.lines() == ["mine: Hello", "bot: Welcome"]
    chat.bot_says("We moved")
    chat.answer("We moved")
    chat.widget("void widget.send('Where to?')")
    chat.widget("widget.disabled = false")
    expect(chat.field).to_be_enabled()
    chat.ask("Where to?", "Next door")
    assert len(chat.stage.upstream.requests("message")) == 2


# By ear, by keyboard, and with the system's own colours


def test_each_reply_stands_once_in_the_live_region(chat: Website) -> None:
    chat.page.evaluate("""() => {
        window.added = [];
        const log = document.querySelector("chat-widget").shadowRoot.querySelector("[role=log]");
        new MutationObserver(records => records.forEach(({addedNodes}) => addedNodes.forEach(node => {
            if (node.matches?.(".item")) added.push(node.querySelector(".mine, .bot").textContent.trim());
        }))).observe(log, {childList: true, subtree: true});
    }""")
    chat.ask("What does it cost?", "Eighty-nine")
    chat.bot_says("By the way")
    chat.answer("By the way")
    chat.page.wait_for_function(
        f"!Object.keys(localStorage).some(key => key.startsWith('chat-widget:{chat.stage.proxy.url}:shop:'))"
    )
    assert chat.page.evaluate("added") == ["What does it cost?", "Eighty-nine", "By the way"]
    expect(chat.log).to_have_count(1)
    expect(chat.log.get_by_text("Preparing response")).to_have_count(0)
    spoken = chat.log.inner_text()
    assert [spoken.count(one) for one in ("What does it cost?", "Eighty-nine", "By the way")] == [1, 1, 1]
    assert [spoken.count(one) for one in ("You", "Assistant")] == [2, 3], "and who says it"


def test_in_full_screen_the_keyboard_stays_inside_and_reaches_everything(website: Website) -> None:
    website.enter('<button class="page">Buy</button><a class="page" href="#">Elsewhere</a>')
    website.ask()
    website.button("Enter full screen").focus()
    website.page.keyboard.press("Enter")
    website.button("Exit full screen").wait_for()
    reached: set[str] = set()
    for _ in range(14):
        website.page.keyboard.press("Tab")
        where = website.page.evaluate("""() => {
            const one = document.activeElement;
            return one.shadowRoot?.activeElement?.ariaLabel ?? one.className;
        }""")
        assert where != "page"
        reached.add(where)
    assert reached >= {"Start new chat", "Exit full screen", "Close chat", "Ask about this page …"}, reached
    website.page.keyboard.press("Escape")
    website.button("Enter full screen").wait_for()
    website.page.keyboard.press("Escape")
    expect(website.launcher).to_be_focused()


def test_a_chat_that_opens_by_itself_takes_no_focus(website: Website) -> None:
    website.visit("<input autofocus>", visible="true")
    website.panel.wait_for()
    expect(website.page.locator("input")).to_be_focused()


def test_who_wants_no_motion_sees_none(browser: Browser, stage: Stage) -> None:
    moving = """() => document.querySelector("chat-widget").shadowRoot.getAnimations().length"""
    for wish, some in (("no-preference", True), ("reduce", False)):
        with on_website(browser, stage, reduced_motion=wish) as website:
            website.enter()
            stage.upstream.order("answers", text="Here", delay=0.5)
            website.say("Hello")
            expect(website.page.locator(".typing")).to_be_visible()
            assert (website.page.evaluate(moving) > 0) is some


@pytest.fixture
def contrast(browser: Browser, stage: Stage) -> Iterator[Website]:
    """A visitor whose system sets the colours."""
    with on_website(browser, stage, forced_colors="active") as website:
        yield website


def test_with_the_systems_own_colours_everything_keeps_an_outline(contrast: Website) -> None:
    contrast.visit(site="other", feedback="on")
    outlined = """one => {
        const {borderTopStyle, borderTopWidth, borderTopColor, backgroundColor} = getComputedStyle(one);
        return borderTopStyle === "solid" && borderTopWidth === "1px" && borderTopColor !== backgroundColor;
    }"""
    readable = "one => getComputedStyle(one).color !== getComputedStyle(one).backgroundColor"
    assert contrast.launcher.evaluate(outlined)
    contrast.open_chat()
    contrast.ask()
    for selector in (".mine", ".bot", "textarea", ".panel"):
        assert contrast.page.locator(f"chat-widget {selector}").first.evaluate(outlined), selector
    for one in contrast.page.locator("chat-widget button:visible").all():
        assert one.evaluate(readable)
    contrast.button("Close chat").focus()
    assert contrast.button("Close chat").evaluate("one => getComputedStyle(one).outlineStyle") == "solid"


SIZES = {
    "200 %": {"width": 640, "height": 400},
    "400 %": {"width": 320, "height": 256},
    "phone at 200 %": {"width": 195, "height": 422},
}

CUT_OFF = """() => {
    const root = document.querySelector("chat-widget").shadowRoot, panel = root.querySelector(".panel").getBoundingClientRect();
    const shown = [...root.querySelectorAll("button, textarea, h2")].filter(one => one.checkVisibility() && !one.closest(".messages"));
    return shown.filter(one => {
        const {left, top, right, bottom} = one.getBoundingClientRect();
        const inside = left >= panel.left - 1 && right <= panel.right + 1 && top >= panel.top - 1 && bottom <= panel.bottom + 1;
        const text = one.localName === "button" && (one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1);
        const hit = root.elementFromPoint((left + right) / 2, (top + bottom) / 2);
        return one.matches(".launcher") ? false : !inside || text || !(one === hit || one.contains(hit));
    }).map(one => one.ariaLabel ?? one.textContent);
}"""


@pytest.fixture
def still(browser: Browser, stage: Stage) -> Iterator[Website]:
    """A visitor whose panel does not rise: places are measured as they stay."""
    with on_website(browser, stage, reduced_motion="reduce") as website:
        yield website


@pytest.mark.parametrize("size", SIZES)
def test_magnified_no_control_is_cut_off(still: Website, size: str) -> None:
    still.page.set_viewport_size(SIZES[size])  # type: ignore[arg-type]
    still.enter(site="other", banner_message="Back at nine on Monday.")
    still.button("Attach files").wait_for()
    still.ask()
    assert still.page.evaluate(CUT_OFF) == []
    box, (width, height) = still.box(still.panel), SIZES[size].values()
    assert 0 <= box["left"] < box["right"] <= width
    assert 0 <= box["top"] < box["bottom"] <= height
    still.page.get_by_role("button", name="Start new chat").first.click()
    still.button("Cancel").wait_for()
    assert not {"Cancel", "Start new chat"} & set(still.page.evaluate(CUT_OFF))


def test_text_twice_as_large_cuts_nothing_off(website: Website) -> None:
    sizes = "--chat-window-font-size: 30px; --chat-window-font-size-sm: 26px; --button-font-size: 30px"
    website.visit(head=f"<style>chat-widget {{ {sizes} }}</style>", site="other", button_text="Ask us about it")
    assert website.launcher.evaluate(
        "one => one.scrollWidth <= one.clientWidth && one.scrollHeight <= one.clientHeight"
    )
    website.open_chat()
    website.button("Attach files").wait_for()
    website.ask()
    website.page.get_by_role("button", name="Start new chat").first.click()
    website.button("Cancel").wait_for()
    assert website.page.evaluate(CUT_OFF) == []


def test_to_write_does_not_wipe_away_what_the_chat_says_of_itself(website: Website) -> None:
    website.page.goto(f"{website.stage.origin.replace('127.0.0.1', 'localhost')}/aurora-desk-lamp.html")
    website.open_chat()
    expect(website.page.get_by_text("The chat is unavailable just now.")).to_be_visible()
    website.field.press_sequentially("Are")
    expect(website.page.get_by_text("The chat is unavailable just now.")).to_be_visible()


def test_a_message_that_comes_does_not_wipe_away_that_ones_own_is_too_long(website: Website) -> None:
    website.enter()
    website.ask()
    website.field.fill("x" * 4007)
    expect(website.page.get_by_text("7 characters too many")).to_be_visible()
    website.bot_says("By the way")
    website.answer("By the way")
    expect(website.page.get_by_text("7 characters too many")).to_be_visible()


def test_that_it_takes_longer_is_said_until_the_answer_is_there(website: Website) -> None:
    website.page.clock.install()
    website.enter()
    website.stage.upstream.order("answers", text="At last", delay=6)
    website.say("Hello")
    expect(website.page.locator(".typing")).to_be_visible()
    expect(website.page.locator(".typing")).to_have_text("Preparing response")
    website.page.clock.fast_forward(10_500)
    slow = "This takes longer than usual. The answer will appear here."
    website.page.wait_for_function(
        f"!Object.keys(localStorage).some(key => key.startsWith('chat-widget:{website.stage.proxy.url}:shop:'))"
        " || document.querySelector('chat-widget').shadowRoot.querySelector('.items').children.length > 0"
    )
    website.bot_says("By the way")
    website.answer("By the way")
    expect(website.page.locator(".typing")).to_have_text(slow)


def test_without_a_network_it_says_so_at_once(website: Website) -> None:
    """A network that is gone breaks the stream after 40 s of silence only."""
    website.enter()
    website.ask()
    website.page.context.set_offline(True)
    expect(website.page.get_by_text("You are offline.")).to_be_visible()


def test_a_chat_to_read_only_tries_nothing_again(website: Website) -> None:
    website.enter()
    website.ask()
    website.stage.upstream.order("answers", text="", delay=0.05, outcome="fail")
    website.say("Does it fit?")
    website.button("Try again").wait_for()
    website.widget("widget.disabled = true")
    expect(website.field).to_be_disabled()
    expect(website.button("Try again")).to_have_count(0)


def test_what_was_said_is_not_said_again_with_each_event(website: Website) -> None:
    """A live region tells what changes in it: the times of all items are written anew with each render."""
    website.enter()
    website.ask()
    website.page.wait_for_function(
        f"!Object.keys(localStorage).some(key => key.startsWith('chat-widget:{website.stage.proxy.url}:shop:'))"
    )
    website.page.evaluate("""() => {
        window.touched = 0;
        const root = document.querySelector("chat-widget").shadowRoot, old = [...root.querySelectorAll(".item")];
        new MutationObserver(records => { touched += records.filter(({target}) => old.some(one => one.contains(target))).length; })
            .observe(root.querySelector("[role=log]"), {childList: true, subtree: true, characterData: true});
    }""")
    website.bot_says("By the way")
    website.answer("By the way")
    assert website.page.evaluate("touched") == 0


def test_who_is_about_to_try_again_keeps_the_focus_there(website: Website) -> None:
    website.enter()
    website.ask()
    website.stage.upstream.order("answers", text="", delay=0.05, outcome="fail")
    website.say("Does it fit?")
    website.answer("Sorry, something went wrong")
    website.button("Try again").focus()
    website.bot_says("By the way")
    website.answer("By the way")
    expect(website.button("Try again")).to_be_focused()


def test_enter_that_ends_a_composition_in_safari_sends_nothing(website: Website) -> None:
    """There `compositionend` comes before this keydown, which has keyCode 229 and is not `isComposing`."""
    website.enter()
    website.field.fill("ランプ")
    website.field.evaluate("""field => field.dispatchEvent(
        new KeyboardEvent("keydown", {key: "Enter", keyCode: 229, bubbles: true, composed: true, cancelable: true}))""")
    expect(website.field).to_have_value("ランプ")


def test_a_chat_on_its_way_says_so(website: Website) -> None:
    held: list[Route] = []
    website.page.route("**/widget/panel.js", lambda route: held.append(route))
    website.visit()
    website.launcher.click()
    expect(website.launcher).to_have_attribute("aria-busy", "true")
    expect(website.launcher).to_have_css("opacity", "0.6")
    held[0].continue_()
    website.panel.wait_for()
    website.button("Close chat").click()
    expect(website.launcher).not_to_have_attribute("aria-busy", "true")
    expect(website.launcher).to_have_css("opacity", "1")


def test_the_launcher_has_the_same_name_after_the_chat_was_open(website: Website) -> None:
    website.enter(language="es")
    name = "Abrir chat"
    website.page.get_by_role("button", name="Cerrar chat").click()
    expect(website.launcher).to_have_accessible_name(name)


def test_the_launcher_has_the_name_of_the_configuration(website: Website) -> None:
    website.enter()
    website.button("Close chat").click()
    expect(website.launcher).to_have_accessible_name("Ask about this page")


TABLE = """| part | care | how often | with what | why |
|---|---|---|---|---|
| tabletop | impregnation | semiannually | conditioner | weatherproofing |"""


def test_a_wide_table_scrolls_inside_the_answer_with_its_words_whole(website: Website) -> None:
    """`overflow-wrap: anywhere` makes columns as narrow as a letter, so that a table never has to scroll."""
    website.enter()
    website.ask("How do I care for it?", TABLE, "weatherproofing")
    table = website.page.locator(".bot table")
    cells = table.locator("td").evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().height)")
    assert max(cells) < 45, "a line each"
    assert table.evaluate("one => one.scrollWidth > one.clientWidth")


def test_with_the_question_asked_nothing_is_cut_off_at_400_percent(website: Website) -> None:
    website.page.set_viewport_size({"width": 320, "height": 256})
    website.enter()
    website.ask()
    website.page.get_by_role("button", name="Start new chat").first.click()
    website.button("Cancel").wait_for()
    assert website.page.evaluate(CUT_OFF) == []


def test_nothing_but_the_conversation_scrolls(website: Website) -> None:
    """What is there for screen readers alone, in a long conversation, would let a browser scroll the header away."""
    website.enter()
    website.ask("Tell me everything", LONG, "Paragraph 59")
    website.ask("Again", LONG, "Paragraph 59")
    assert website.panel.evaluate("panel => panel.scrollHeight - panel.clientHeight") == 0


RING = """button => {
    const box = button.getBoundingClientRect(), {outlineWidth, outlineOffset, outlineColor, color} = getComputedStyle(button);
    return [outlineColor === color, parseFloat(outlineWidth) + parseFloat(outlineOffset) <= 0];
}"""


def test_the_focus_can_be_seen_on_every_button(website: Website) -> None:
    """The ring has the colour of the button's text, so it has to be on the button: white on white is none."""
    website.enter(site="other", feedback="on")
    website.button("Attach files").wait_for()
    website.ask("Hello", RICH, "dust")
    website.field.fill("Half a")
    website.button("Close chat").focus()
    seen: set[str] = set()
    for _ in range(12):
        website.page.keyboard.press("Tab")
        focused = website.page.locator("chat-widget .panel :focus-visible")
        if focused.count() and focused.evaluate("one => one.matches('button')"):
            assert focused.evaluate(RING) == [True, True], focused.get_attribute("class")
            seen.add((focused.get_attribute("class") or "").split()[0])
    assert seen >= {"icon", "copy", "thumb", "send"}


def test_a_tone_that_is_over_holds_no_audio(website: Website) -> None:
    website.page.add_init_script("""window.released = 0;
        const close = AudioContext.prototype.close;
        AudioContext.prototype.close = function () { released++; return close.call(this); };""")
    website.enter(sound="on")
    website.stage.upstream.order("answers", text="Here", delay=0.5)
    website.say("Hello")
    website.button("Close chat").click()
    website.page.wait_for_function("released === 1")


@pytest.mark.parametrize("told", ["new Promise(() => {})", "Promise.reject()"])
def test_a_page_that_tells_nothing_of_its_visitor_holds_no_message_for_ever(website: Website, told: str) -> None:
    website.page.clock.install()
    website.enter()
    website.widget(f"void (widget.visitorToken = () => {told})")
    website.say("Hello")
    expect(website.page.locator(".mine")).to_have_text("Hello")
    website.page.clock.fast_forward(10_500)
    expect(website.page.locator(".fate")).to_contain_text("Not sent.")
    website.widget("void (widget.visitorToken = null)")
    website.stage.upstream.order("answers", text="Welcome", delay=0.05)
    website.button("Try again").click()
    website.answer("Welcome")
    assert website.lines() == ["mine: Hello", "bot: Welcome"]


def test_what_was_about_to_be_sent_is_not_said_in_a_new_chat(website: Website) -> None:
    website.enter()
    website.widget("void (widget.visitorToken = () => new Promise(resolve => { window.tell = resolve; }))")
    website.say("Of the old one")
    website.page.wait_for_function("!!window.tell")
    website.widget("void widget.newChat()")
    expect(website.page.locator(".item")).to_have_count(0)
    website.widget("(tell(), widget.visitorToken = null)")
    website.ask("Of the new one", "Welcome")
    assert website.lines() == ["mine: Of the new one", "bot: Welcome"]
    assert len(website.stage.upstream.requests("message")) == 1
