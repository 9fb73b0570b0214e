"""On a phone: a sheet over all of the page, its keyboard and its back gesture. And the launcher, dragged by a finger or
a mouse."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import Stage
from tests.website import PHONE, Website, on_website

LONG = "<main style='height:4000px'><h1>Lamps</h1><a href='#x'>A link</a></main>"

KEYBOARD = """([height, offsetTop]) => {
    for (const [name, value] of Object.entries({height, offsetTop}))
        Object.defineProperty(visualViewport, name, {value, configurable: true});
    visualViewport.dispatchEvent(new Event("resize"));
}"""


@pytest.fixture
def phone(browser: Browser, stage: Stage) -> Iterator[Website]:
    """A visitor with a phone, on a long page."""
    with on_website(browser, stage, **PHONE, reduced_motion="reduce") as website:
        website.visit(LONG)
        yield website


def tap(website: Website) -> None:
    website.launcher.tap()
    website.panel.wait_for()


def long_answer(website: Website) -> None:
    website.ask("Tell me everything", "\n\n".join(f"Paragraph {number}" for number in range(60)), "Paragraph 59")


def test_the_keyboard_does_not_cover_the_field(phone: Website) -> None:
    tap(phone)
    long_answer(phone)
    assert phone.box(phone.field)["bottom"] > 700
    phone.page.evaluate(KEYBOARD, [430, 0])
    assert phone.box(phone.panel) == {"left": 0, "top": 0, "right": 390, "bottom": 430}
    assert 350 < phone.box(phone.field)["bottom"] <= 430
    phone.page.evaluate(KEYBOARD, [844, 0])
    assert phone.box(phone.panel)["bottom"] == 844


def test_a_phones_notch_and_its_bar_cover_nothing(phone: Website) -> None:
    phone.devtools().send("Emulation.setSafeAreaInsetsOverride", {"insets": {"top": 47, "bottom": 34}})
    tap(phone)
    assert phone.box(phone.panel) == {"left": 0, "top": 0, "right": 390, "bottom": 844}
    assert phone.box(phone.button("Close chat"))["top"] >= 47
    assert phone.box(phone.field)["bottom"] <= 844 - 34


def test_where_the_keyboard_pushes_the_page_up_the_sheet_follows(phone: Website) -> None:
    tap(phone)
    phone.page.evaluate(KEYBOARD, [430, 120])
    assert phone.box(phone.panel) == {"left": 0, "top": 120, "right": 390, "bottom": 550}


def swipe(website: Website, x: float, y: float, far: float) -> None:
    """A finger, from there so far up or down."""
    finger = website.devtools()
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 9):
        touch = {"x": x, "y": y + far * step / 8}
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [touch]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_the_page_behind_the_sheet_stays_where_it_is(phone: Website) -> None:
    tap(phone)
    long_answer(phone)
    swipe(phone, 150, 30, 500)  # from the header
    swipe(phone, 200, 600, -500)  # in the conversation, which is at its end
    swipe(phone, 150, 600, 200)
    scrolled = (
        "root => root.querySelector('.messages').scrollTop < root.querySelector('.messages').scrollHeight - 800"
    )
    phone.page.wait_for_function(f"({scrolled})(document.querySelector('chat-widget').shadowRoot)")
    assert phone.page.evaluate("scrollY") == 0, "the conversation has moved, and the page has not"
    phone.button("Close chat").click()  # a tap would only stop the scrolling
    expect(phone.panel).to_be_hidden()
    swipe(phone, 150, 600, -400)
    phone.page.wait_for_function("scrollY > 0")


def test_the_back_gesture_closes_the_sheet_and_not_the_page(phone: Website) -> None:
    tap(phone)
    long_before = phone.page.evaluate("history.length")
    # A close request, as the browser makes it of the gesture.
    phone.panel.evaluate("dialog => dialog.requestClose()")
    expect(phone.panel).to_be_hidden()
    expect(phone.launcher).to_be_visible()
    assert phone.widget("widget.opened") is False
    assert phone.page.evaluate("history.length") == long_before
    assert phone.page.evaluate("getComputedStyle(document.documentElement).overflow") == "visible"
    phone.page.reload()
    phone.launcher.wait_for()
    expect(phone.panel).to_be_hidden()


def test_everything_can_be_reached_with_a_thumb(phone: Website) -> None:
    tap(phone)
    phone.ask()
    phone.button("Enter full screen").wait_for(state="hidden")  # it fills the screen already
    for name in ("Start new chat", "Close chat", "Send message"):
        box = phone.box(phone.page.get_by_role("button", name=name).first)
        assert min(box["right"] - box["left"], box["bottom"] - box["top"]) >= 40
    phone.button("Close chat").tap()
    box = phone.box(phone.launcher)
    assert min(box["right"] - box["left"], box["bottom"] - box["top"]) >= 44


def test_turned_on_its_side_and_back_the_chat_stays_open(phone: Website) -> None:
    tap(phone)
    phone.ask()
    phone.field.fill("Half a")
    phone.page.set_viewport_size({"width": 844, "height": 390})
    box = phone.box(phone.panel)
    assert 0 <= box["top"] < box["bottom"] <= 390
    assert phone.box(phone.field)["bottom"] <= 390
    phone.page.set_viewport_size({"width": 390, "height": 844})
    expect(phone.field).to_have_value("Half a")
    expect(phone.panel).to_have_css("width", "390px")
    phone.ask("And so?", "So it is")


def test_a_chat_without_a_window_of_its_own_stays_in_its_place(browser: Browser, stage: Stage) -> None:
    with on_website(browser, stage, **PHONE) as website:
        body = '<div style="position:relative;width:300px;height:500px"><chat-widget site="shop" mode="kiosk"></chat-widget></div>'
        website.visit(body + LONG)
        website.panel.wait_for()
        box = website.box(website.panel)
        assert (box["right"] - box["left"], box["bottom"] - box["top"]) == pytest.approx((300, 500))
        website.ask()
        assert website.page.evaluate("getComputedStyle(document.documentElement).overflow") == "visible"
        website.widget("widget.close()")
        website.widget("void widget.open()")
        expect(website.panel).to_be_visible()


def drag(website: Website, x: float, y: float) -> None:
    """The launcher, from its middle to there, slowly at first."""
    box, mouse = website.box(website.launcher), website.page.mouse
    left, top = (box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2
    mouse.move(left, top)
    mouse.down()
    mouse.move(left - 6, top - 6)
    mouse.move(left - 12, top - 12)
    mouse.move(x, y, steps=4)
    mouse.up()


def test_the_launcher_is_dragged_and_a_drag_opens_nothing(website: Website) -> None:
    website.visit()
    drag(website, 300, 200)
    box = website.box(website.launcher)
    assert (box["left"] + box["right"]) / 2 == pytest.approx(300, abs=1)
    assert (box["top"] + box["bottom"]) / 2 == pytest.approx(200, abs=1)
    website.page.mouse.move(600, 500)
    assert website.box(website.launcher) == box, "let go, it stays"
    assert website.widget("widget.opened") is False
    expect(website.panel).to_be_hidden()
    website.open_chat()


@pytest.mark.parametrize(("x", "y"), [(-500, -500), (5000, 5000), (5000, -500), (-500, 5000)])
def test_the_launcher_stays_within_the_window(website: Website, x: float, y: float) -> None:
    website.visit()
    drag(website, x, y)
    box = website.box(website.launcher)
    assert (box["left"] if x < 0 else 1280 - box["right"]) == 0
    assert (box["top"] if y < 0 else 800 - box["bottom"]) == 0


def test_a_hand_that_trembles_still_presses(website: Website) -> None:
    website.visit()
    box, mouse = website.box(website.launcher), website.page.mouse
    mouse.move(box["left"] + 30, box["top"] + 30)
    mouse.down()
    mouse.move(box["left"] + 34, box["top"] + 34)
    mouse.up()
    website.panel.wait_for()
    website.button("Close chat").click()
    assert website.box(website.launcher) == box


def drag_by_finger(phone: Website, pause: float = 0) -> None:
    """The launcher, 200 pixels to the left and 400 up, with so many milliseconds between the moves."""
    box, finger = phone.box(phone.launcher), phone.devtools()
    x, y = (box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 6):
        touch = {"x": x - 40 * step, "y": y - 80 * step}
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [touch]})
        if pause:
            phone.page.wait_for_timeout(pause)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_finger_drags_the_launcher_and_not_the_page(phone: Website) -> None:
    box = phone.box(phone.launcher)
    drag_by_finger(phone)
    moved = phone.box(phone.launcher)
    assert (moved["left"] - box["left"], moved["top"] - box["top"]) == pytest.approx((-200, -400), abs=1)
    assert phone.page.evaluate("scrollY") == 0
    expect(phone.panel).to_be_hidden()


def test_a_dragged_launcher_still_opens_by_keyboard(website: Website) -> None:
    website.visit()
    drag(website, 300, 200)
    website.launcher.focus()
    website.page.keyboard.press("Enter")
    website.panel.wait_for()


def test_a_dragged_launcher_stays_within_a_window_made_smaller(website: Website) -> None:
    website.visit()
    drag(website, 1200, 700)
    website.page.set_viewport_size({"width": 600, "height": 400})
    expect(website.launcher).to_be_in_viewport(ratio=1)


def flick(website: Website) -> None:
    """The launcher, to (300, 200) in one move, held 30 pixels from its corner."""
    box, mouse = website.box(website.launcher), website.page.mouse
    mouse.move(box["left"] + 30, box["top"] + 30)
    mouse.down()
    mouse.move(300, 200)
    mouse.up()


def test_a_launcher_dragged_fast_follows(website: Website) -> None:
    website.visit()
    flick(website)
    moved = website.box(website.launcher)
    assert (moved["left"] + 30, moved["top"] + 30) == pytest.approx((300, 200), abs=1)


def test_a_launcher_left_by_a_fast_hand_does_not_cling_to_the_mouse(website: Website) -> None:
    website.visit()
    flick(website)
    before = website.box(website.launcher)
    website.page.mouse.move((before["left"] + before["right"]) / 2, (before["top"] + before["bottom"]) / 2)
    website.page.mouse.move(before["left"] + 12, before["top"] + 29)
    assert website.box(website.launcher) == before, "no button is pressed"


def test_the_pages_own_overflow_comes_back(phone: Website) -> None:
    phone.page.evaluate("document.documentElement.style.overflow = 'clip'")
    tap(phone)
    phone.button("Close chat").tap()
    assert phone.page.evaluate("document.documentElement.style.overflow") == "clip"


def test_a_page_that_takes_the_chat_away_scrolls_again(phone: Website) -> None:
    tap(phone)
    phone.widget("widget.remove()")
    assert phone.page.evaluate("getComputedStyle(document.documentElement).overflow") == "visible"


def test_with_the_keyboard_the_last_words_stay_in_view(phone: Website) -> None:
    tap(phone)
    long_answer(phone)
    expect(phone.page.get_by_text("Paragraph 59")).to_be_in_viewport()
    phone.page.evaluate(KEYBOARD, [430, 0])
    expect(phone.page.get_by_text("Paragraph 59")).to_be_in_viewport()
    assert phone.box(phone.page.get_by_text("Paragraph 59"))["bottom"] <= phone.box(phone.field)["top"]


def test_a_launcher_dragged_by_a_finger_opens_with_the_next_tap(phone: Website) -> None:
    drag_by_finger(phone, pause=150)  # after a flick, Chromium takes the next tap for the end of its momentum
    phone.page.wait_for_timeout(500)
    phone.launcher.tap()
    phone.panel.wait_for()
