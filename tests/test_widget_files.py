"""Files of a visitor, from the picker, the clipboard or the desktop, on their way to the bot."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.website import Website

PLAN = {"name": "plan.txt", "mimeType": "text/plain", "buffer": b"two rooms"}


def file_of(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": b"x" * size}


def choose(website: Website, *files: dict[str, Any]) -> None:
    """By the button, as a visitor does."""
    with website.page.expect_file_chooser() as chooser:
        website.button("Attach files").click()
    chooser.value.set_files(list(files))  # type: ignore[arg-type]


def entry(website: Website, name: str) -> Locator:
    """What the panel shows of a file."""
    return website.page.locator(".files .file", has_text=name)


@pytest.fixture
def chat(website: Website) -> Website:
    """An open chat of a site that takes files."""
    website.enter(site="other")
    website.button("Attach files").wait_for()
    return website


def test_a_file_goes_with_the_message_and_stays_beside_it(chat: Website) -> None:
    expect(chat.send_button).to_be_disabled()
    choose(chat, PLAN)
    expect(entry(chat, "plan.txt")).to_contain_text("File attached")
    chat.ask("Does it fit?", "It does")
    expect(chat.page.locator(".files .file")).to_have_count(0)
    expect(chat.page.locator(".item", has_text="Does it fit?").locator(".file")).to_have_text("plan.txt")
    (upload,) = chat.stage.upstream.requests("upload")
    (message,) = chat.stage.upstream.requests("message")
    assert message["body"]["attachment_ids"] == [upload["body"]["files"][0]["id"]]
    chat.ask("And the door?", "Too")
    assert not chat.stage.upstream.requests("message")[1]["body"].get("attachment_ids"), "a file goes once"


def test_files_of_a_message_are_there_after_a_reload(chat: Website) -> None:
    choose(chat, PLAN)
    expect(entry(chat, "plan.txt")).to_contain_text("File attached")
    chat.ask("Does it fit?", "It does")
    kept = json.dumps(f"chat-widget:{chat.stage.proxy.url}:other:")
    chat.page.wait_for_function(f"!Object.keys(localStorage).some(key => key.startsWith({kept}))")
    chat.page.reload()
    chat.answer("It does")
    expect(chat.page.locator(".item", has_text="Does it fit?").locator(".file")).to_have_text("plan.txt")


def test_a_file_of_the_bots_is_saved_by_its_link_beside_the_page(chat: Website) -> None:
    chat.ask("Do you have a plan?", "Here")
    session = chat.stage.upstream.ask("sessions")[-1]["id"]
    file = {"name": "Übersicht.html", "size": 5000, "content_type": "text/html"}
    chat.stage.upstream.order("attach", session=session, text="The plan.", **file)
    link = chat.page.get_by_role("link", name="Übersicht.html")
    link.wait_for()
    assert link.get_attribute("target") == "_blank"
    assert link.get_attribute("rel") == "noopener noreferrer"
    address = link.get_attribute("href") or ""
    assert address.startswith(f"{chat.stage.proxy.url}/v1/files/")
    saved = chat.page.context.request.get(address)
    assert saved.headers["content-disposition"].endswith("filename*=UTF-8''%C3%9Cbersicht.html")
    assert len(saved.body()) == 5000


def test_how_far_an_upload_is_can_be_seen(chat: Website) -> None:
    chat.ask()
    chat.page.evaluate("""() => {
        window.values = new Set();
        const root = document.querySelector("chat-widget").shadowRoot;
        new MutationObserver(() => {
            const bar = root.querySelector("progress");
            if (bar) values.add(bar.value);
        }).observe(root, {childList: true, subtree: true, attributes: true});
    }""")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    chat.devtools().send("Network.emulateNetworkConditions", slow)
    choose(chat, file_of("large.pdf", 90_000))
    expect(chat.page.get_by_role("progressbar", name="Uploading")).to_be_visible()
    chat.field.fill("What is this?")
    expect(chat.send_button).to_be_disabled()
    expect(entry(chat, "large.pdf")).to_contain_text("File attached")
    expect(chat.page.get_by_role("progressbar")).to_have_count(0)
    expect(chat.send_button).to_be_enabled()
    values: list[float] = chat.page.evaluate("[...values]")
    assert [one for one in values if 0 < one < 1], "it moved"
    assert values == sorted(values)


def test_an_upload_can_be_cancelled(chat: Website) -> None:
    chat.ask()
    chat.stage.upstream.order("faults", kind="upload", fault="delay", seconds=20)
    choose(chat, PLAN)
    expect(chat.page.get_by_role("progressbar")).to_be_visible()
    with chat.page.expect_event("requestfailed") as failed:
        chat.button("Remove file: plan.txt").click()
    assert failed.value.url.endswith("/v1/session/files")
    expect(chat.page.locator(".files .file")).to_have_count(0)
    chat.ask("Never mind", "All right")
    assert not chat.stage.upstream.requests("message")[-1]["body"].get("attachment_ids")


def test_a_file_that_is_there_can_be_taken_away_again(chat: Website) -> None:
    choose(chat, PLAN)
    expect(entry(chat, "plan.txt")).to_contain_text("File attached")
    chat.button("Remove file: plan.txt").click()
    expect(chat.page.locator(".files .file")).to_have_count(0)
    chat.ask("Never mind", "All right")
    assert not chat.stage.upstream.requests("message")[-1]["body"].get("attachment_ids")


def test_a_failed_upload_says_so_and_can_be_tried_again(chat: Website) -> None:
    chat.stage.upstream.order("faults", kind="upload", fault="status", status=503)
    choose(chat, PLAN)
    again = chat.button("Upload again: plan.txt")
    again.wait_for()
    chat.field.fill("Does it fit?")
    expect(chat.send_button).to_be_enabled()
    again.click()
    expect(entry(chat, "plan.txt")).to_contain_text("File attached")
    expect(again).to_have_count(0)
    chat.ask("Does it fit?", "It does")
    assert len(chat.stage.upstream.requests("message")[0]["body"]["attachment_ids"]) == 1


def test_without_a_connection_an_upload_says_so_and_can_be_tried_again(chat: Website) -> None:
    chat.ask()
    chat.page.context.set_offline(True)
    choose(chat, PLAN)
    expect(entry(chat, "plan.txt")).to_contain_text("Not uploaded")
    chat.page.context.set_offline(False)
    chat.button("Upload again: plan.txt").click()
    expect(entry(chat, "plan.txt")).to_contain_text("File attached")


def test_an_image_is_pasted(chat: Website) -> None:
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.page.evaluate("""async () => {
        const blob = await new OffscreenCanvas(8, 8).getContext("2d").canvas.convertToBlob();
        await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
    }""")
    chat.field.press("Control+v")
    expect(entry(chat, "image.png")).to_contain_text("File attached")
    (upload,) = chat.stage.upstream.requests("upload")
    assert upload["body"]["files"][0]["content_type"] == "image/png"


def test_pasted_text_is_text(chat: Website) -> None:
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.page.evaluate("navigator.clipboard.writeText('NL-1042')")
    chat.field.press("Control+v")
    expect(chat.field).to_have_value("NL-1042")
    expect(chat.page.locator(".files .file")).to_have_count(0)


def test_files_are_dropped(chat: Website, tmp_path: Path) -> None:
    paths = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for path in paths:
        path.write_text(path.name)
    debugger, box = chat.devtools(), chat.box(chat.panel)
    place = {"x": (box["left"] + box["right"]) / 2, "y": (box["top"] + box["bottom"]) / 2}
    dragged = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for step in ("dragEnter", "dragOver", "drop"):
        debugger.send("Input.dispatchDragEvent", {"type": step, **place, "data": dragged})
    for path in paths:
        expect(entry(chat, path.name)).to_contain_text("File attached")
    assert chat.page.url.endswith("/website"), "the browser does not open it"


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (file_of("film.txt", 200_001), "File too large"),
        (file_of("setup.exe", 10), "Unsupported file type"),
        (file_of("no-ending", 10), "Unsupported file type"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_what_is_not_taken_is_refused_before_it_is_sent(chat: Website, file: dict[str, Any], told: str) -> None:
    choose(chat, file)
    expect(entry(chat, file["name"])).to_contain_text(told)
    assert not [one for one in chat.requests if one.method == "POST"]
    expect(chat.button(f"Upload again: {file['name']}")).to_have_count(0)
    chat.ask("Then without", "All right")
    assert not chat.stage.upstream.requests("message")[0]["body"].get("attachment_ids")
    assert chat.stage.upstream.requests("upload") == []


def test_an_ending_is_known_however_it_is_written(chat: Website) -> None:
    choose(chat, file_of("PLAN.TXT", 10))
    expect(entry(chat, "PLAN.TXT")).to_contain_text("File attached")


def test_no_more_files_than_a_message_may_have(chat: Website) -> None:
    choose(chat, *(file_of(f"{number}.txt", 10) for number in range(4)))
    for number in range(3):
        expect(entry(chat, f"{number}.txt")).to_contain_text("File attached")
    expect(entry(chat, "3.txt")).to_contain_text("Too many files")
    assert len(chat.stage.upstream.requests("upload")) == 3


def test_the_picker_offers_what_is_taken(chat: Website) -> None:
    assert chat.page.locator("input[type=file]").get_attribute("accept") == ".txt,.pdf,.png"


def test_a_new_chat_begins_without_the_files_of_the_old_one(chat: Website) -> None:
    chat.ask()
    choose(chat, PLAN)
    expect(entry(chat, "plan.txt")).to_contain_text("File attached")
    chat.widget("void widget.newChat()")
    expect(chat.page.locator(".files .file")).to_have_count(0)
    chat.ask("Hello again", "Welcome back")
    assert not chat.stage.upstream.requests("message")[-1]["body"].get("attachment_ids")


def test_where_attachments_are_switched_off_there_is_no_button(website: Website) -> None:
    website.enter(site="other", allow_attachments="false")
    website.ask()
    expect(website.button("Attach files")).to_have_count(0)


def test_a_file_without_words_is_no_dead_end(website: Website) -> None:
    """The proxy refuses an empty message."""
    website.enter(site="other")
    choose(website, PLAN)
    expect(entry(website, "plan.txt")).to_contain_text("File attached")
    expect(website.send_button).to_be_disabled()


def test_a_message_tried_again_takes_its_files_along(website: Website) -> None:
    website.enter(site="other")
    choose(website, PLAN)
    expect(entry(website, "plan.txt")).to_contain_text("File attached")
    website.stage.upstream.order("answers", text="", delay=0.05, outcome="fail")
    website.say("Does it fit?")
    website.button("Try again").click()
    website.until(lambda: len(website.stage.upstream.requests("message")) == 2)
    first, second = website.stage.upstream.requests("message")
    assert second["body"].get("attachment_ids") == first["body"]["attachment_ids"]


DROP = """panel => {
    const data = new DataTransfer();
    data.items.add(new File(["two rooms"], "plan.txt"));
    for (const type of ["dragover", "drop"])
        panel.dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


def test_before_consent_no_file_leaves_the_browser(website: Website) -> None:
    website.enter(site="other", consent_text="We keep what you write.")
    website.page.locator(".attach").wait_for(state="attached")
    website.panel.evaluate(DROP)
    website.page.wait_for_timeout(300)
    assert not [one for one in website.requests if one.method == "POST"]


def test_a_chat_to_read_only_takes_no_file(website: Website) -> None:
    website.enter(site="other", disabled="true")
    website.page.locator(".attach").wait_for(state="attached")
    expect(website.button("Attach files")).to_be_disabled()
    website.panel.evaluate(DROP)
    website.page.wait_for_timeout(300)
    assert not [one for one in website.requests if one.method == "POST"]


def test_an_image_chosen_is_shown(website: Website) -> None:
    website.enter(site="other")
    website.button("Attach files").wait_for()
    website.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    website.page.evaluate("""async () => {
        const blob = await new OffscreenCanvas(8, 8).getContext("2d").canvas.convertToBlob();
        await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
    }""")
    website.field.press("Control+v")
    expect(website.page.locator(".files .file :is(img, canvas)")).to_be_visible()


def test_the_code_for_files_is_loaded_where_they_are_taken(website: Website) -> None:
    code = "/widget/files.js"
    website.enter(site="shop")
    assert not [one for one in website.requests if one.url.endswith(code)]
    website.enter(site="other", path="/another")
    assert [one for one in website.requests if one.url.endswith(code)]


def test_files_chosen_before_the_first_message_begin_one_conversation(chat: Website) -> None:
    choose(chat, PLAN, PLAN | {"name": "room.txt"})
    expect(chat.page.locator(".files .done")).to_have_count(2)
    chat.ask("Do they fit?", "They do")
    assert len(chat.stage.upstream.requests("start")) == 1
    assert len(chat.stage.upstream.requests("message")[0]["body"]["attachment_ids"]) == 2


def test_enter_sends_nothing_while_a_file_is_on_its_way(chat: Website) -> None:
    chat.ask()
    chat.stage.upstream.order("faults", kind="upload", fault="delay", seconds=0.5)
    choose(chat, PLAN)
    expect(chat.page.get_by_role("progressbar")).to_be_visible()
    chat.say("Does it fit?")
    expect(entry(chat, "plan.txt")).to_contain_text("File attached")
    expect(chat.field).to_have_value("Does it fit?")
    chat.field.press("Enter")
    expect(chat.page.locator(".item", has_text="Does it fit?").locator(".file")).to_have_text("plan.txt")


def test_a_question_of_the_pages_leaves_a_file_on_its_way_to_the_next_message(chat: Website) -> None:
    chat.ask()
    chat.stage.upstream.order("faults", kind="upload", fault="delay", seconds=0.5)
    choose(chat, PLAN)
    expect(chat.page.get_by_role("progressbar")).to_be_visible()
    chat.widget("void widget.send('What does it cost?')")
    expect(entry(chat, "plan.txt")).to_contain_text("File attached")
    chat.ask("Does it fit?", "It does")
    assert len(chat.stage.upstream.requests("message")[-1]["body"]["attachment_ids"]) == 1


def test_who_chooses_no_file_after_all_is_still_in_the_chat(chat: Website) -> None:
    chat.page.locator("input[type=file]").evaluate("one => one.dispatchEvent(new Event('cancel', {bubbles: true}))")
    expect(chat.panel).to_be_visible()


def test_a_chat_that_is_taken_away_uploads_nothing_more(chat: Website) -> None:
    chat.ask()
    chat.stage.upstream.order("faults", kind="upload", fault="delay", seconds=20)
    choose(chat, PLAN)
    expect(chat.page.get_by_role("progressbar")).to_be_visible()
    with chat.page.expect_event("requestfailed") as failed:
        chat.widget("widget.remove()")
    assert failed.value.url.endswith("/v1/session/files")


def test_a_page_that_tells_nothing_of_its_visitor_holds_no_file_for_ever(chat: Website) -> None:
    chat.page.clock.install()
    chat.widget("void (widget.visitorToken = () => new Promise(() => {}))")
    choose(chat, PLAN)
    expect(chat.page.get_by_role("progressbar")).to_be_visible()
    chat.page.clock.fast_forward(10_500)
    expect(entry(chat, "plan.txt")).to_contain_text("Not uploaded")
    chat.widget("void (widget.visitorToken = null)")
    chat.button("Upload again: plan.txt").click()
    expect(entry(chat, "plan.txt")).to_contain_text("File attached")
