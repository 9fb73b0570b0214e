"""The widget's states that the documentation shows and no other test takes a picture of."""

from pathlib import Path

from playwright.sync_api import Browser, FilePayload, expect

from tests.browser import Stage, Visitor, visiting
from tests.website import PHONE, Website

QUESTION = "Which lamp for a small desk?"
ANSWER = """**Aurora** is the one for small desks:

| | Aurora | Fjell |
|---|---|---|
| Foot | 16 cm | 28 cm |
| Height | 46 cm | 62 cm |
| Price | €89.00 | €129.00 |

It stands on a foot no larger than a saucer, and its arm turns all the way round."""


def test_the_launcher_alone_is_quiet_and_whole(visitor: Visitor, images: Path) -> None:
    visitor.go()
    launcher = visitor.page.locator("chat-widget .launcher")
    box = launcher.bounding_box()
    assert box is not None
    assert (box["x"] + box["width"], box["y"] + box["height"]) == (1260, 780)
    expect(visitor.page.locator(".panel")).to_have_count(0)
    visitor.page.screenshot(path=images / "launcher.png", animations="disabled")


def test_in_full_screen_lines_stay_short_enough_to_read(visitor: Visitor, stage: Stage, images: Path) -> None:
    stage.upstream.order("answers", text=ANSWER)
    visitor.go()
    visitor.open_chat()
    visitor.say(QUESTION)
    visitor.answer("no larger than a saucer")
    visitor.page.get_by_role("button", name="Full screen").click()
    assert visitor.page.locator(".panel").bounding_box() == {"x": 128, "y": 0, "width": 1024, "height": 800}
    wide = visitor.page.locator(".item .bot").bounding_box()
    assert wide is not None
    assert wide["width"] <= 760
    visitor.page.screenshot(path=images / "full-screen.png", animations="disabled")


def test_from_right_to_left_everything_is_mirrored(browser: Browser, stage: Stage, images: Path) -> None:
    stage.upstream.order("answers", text="نعم، **مصباح أورورا** متوفر، وسعره 89 يورو.")
    with visiting(browser, stage, **PHONE) as visitor:
        visitor.go()
        visitor.page.evaluate("document.querySelector('chat-widget').language = 'ar'")
        visitor.open_chat()
        visitor.say("هل المصباح متوفر؟")
        visitor.answer("متوفر")
        left = "element => element.getBoundingClientRect().left"
        field, send, mine, bot = (
            visitor.page.locator(one).evaluate(left) for one in ("textarea", "button.send", ".mine", ".item .bot")
        )
        assert send < field
        assert mine < bot, "one's own words on the other side"
        visitor.page.screenshot(path=images / "right-to-left.png", animations="disabled")


def test_a_file_on_its_way_is_shown_beside_one_that_is_there(website: Website, images: Path) -> None:
    website.enter("<h1 style='font: 40px Georgia'>The workshop</h1>", site="other", accent="#7a3b69")
    website.button("Attach files").wait_for()
    website.ask("Hello", "Hello! Send me a plan of the room, and I tell you which lamp fits.")
    files = website.page.locator(".files .file")
    plan: FilePayload = {"name": "plan.txt", "mimeType": "text/plain", "buffer": b"two rooms"}
    large: FilePayload = {"name": "living-room.pdf", "mimeType": "application/pdf", "buffer": b"x" * 150_000}
    with website.page.expect_file_chooser() as chooser:
        website.button("Attach files").click()
    chooser.value.set_files([plan])
    expect(files.first).to_contain_text("File attached")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 20_000}
    website.devtools().send("Network.emulateNetworkConditions", slow)
    with website.page.expect_file_chooser() as chooser:
        website.button("Attach files").click()
    chooser.value.set_files([large])
    bar = website.page.get_by_role("progressbar")
    expect(bar).to_be_visible()
    website.until(lambda: bar.evaluate("bar => bar.value > 0"))
    website.page.locator(".panel").screenshot(path=images / "upload.png", animations="disabled")
