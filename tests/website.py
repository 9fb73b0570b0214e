"""A website of somebody else's with the chat on it, and one visitor of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from playwright.sync_api import Browser, CDPSession, Locator, expect

from tests.browser import Stage, Visitor, visiting

PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}

HEARD = """window.events = [];
for (const type of ["open", "close", "message:before-send", "message:sent", "message:received", "error"])
    addEventListener(`ocs:${type}`, ({detail}) => events.push([type, detail]));"""


class Website(Visitor):
    """A page that the test writes; what the visitor sees and does there."""

    @property
    def launcher(self) -> Locator:
        """The button that opens the chat."""
        return self.page.locator("chat-widget .launcher")

    @property
    def panel(self) -> Locator:
        """The chat's window."""
        return self.page.locator("chat-widget .panel")

    @property
    def field(self) -> Locator:
        """Where the visitor writes."""
        return self.page.locator("chat-widget textarea")

    @property
    def log(self) -> Locator:
        """The conversation."""
        return self.page.get_by_role("log")

    @property
    def send_button(self) -> Locator:
        """What sends, beside Enter."""
        return self.page.get_by_role("button", name="Send message")

    def button(self, name: str) -> Locator:
        """A button by its whole accessible name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def tag(self, how: str = "async", **attributes: str) -> str:
        """The script's tag; attributes without `data-`, with `_` for `-`."""
        named = {"site": "shop"} | {name.replace("_", "-"): value for name, value in attributes.items()}
        told = " ".join(f'data-{name}="{escape(value)}"' for name, value in named.items())
        return f'<script src="{self.stage.proxy.url}/widget.js" {told} {how}></script>'

    def visit(
        self, body: str = "", *, head: str = "", tag: str | None = None, path: str = "/website", **attributes: str
    ) -> None:
        """A page with this in it, and the tag at its end."""
        tag = self.tag(**attributes) if tag is None else tag
        html = f'<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Lamps</title>{head}<body>{body}{tag}'
        self.stage.workshop.pages[path] = ({}, html)
        self.page.goto(f"{self.stage.workshop.url}{path}")
        self.page.locator("chat-widget").first.wait_for(state="attached")

    def enter(self, body: str = "", **more: Any) -> None:
        """The same, and the chat opened."""
        self.visit(body, **more)
        self.open_chat()

    def open_chat(self) -> None:
        """Press the launcher."""
        self.launcher.click()
        self.panel.wait_for()

    def say(self, text: str) -> None:
        """Type and send."""
        self.field.fill(text)
        self.field.press("Enter")

    def widget(self, script: str) -> Any:
        """What a script says of the element `widget`. It waits for no promise of the element's."""
        return self.page.evaluate(
            f"() => {{ const widget = document.querySelector('chat-widget'); return {script}; }}"
        )

    def ask(self, question: str = "Hello", answer: str = "Welcome", shown: str | None = None) -> None:
        """A message, and its answer; `shown` is what of it can be read, where that is not as written."""
        self.stage.upstream.order("answers", text=answer, delay=0.05)
        self.say(question)
        self.answer(shown or answer)
        expect(self.page.locator(".typing")).to_be_hidden()

    def bot_says(self, text: str, **more: Any) -> None:
        """A message of the bot's own, in the latest conversation."""
        self.stage.upstream.order("say", session=self.stage.upstream.ask("sessions")[-1]["id"], text=text, **more)

    def contexts(self) -> list[dict[str, Any]]:
        """What upstream was told of the page, a message each."""
        return [one["body"].get("context") or {} for one in self.stage.upstream.requests("message")]

    def devtools(self) -> CDPSession:
        """The browser's own debugger, for what no visitor's hand can do here."""
        return self.page.context.new_cdp_session(self.page)

    def box(self, locator: Locator) -> dict[str, float]:
        """Where it is in the window."""
        found = locator.bounding_box()
        assert found is not None
        return {
            "left": round(found["x"], 2),
            "top": round(found["y"], 2),
            "right": round(found["x"] + found["width"], 2),
            "bottom": round(found["y"] + found["height"], 2),
        }


@contextmanager
def on_website(browser: Browser, stage: Stage, **options: Any) -> Iterator[Website]:
    """A new visitor, with storage of their own. Whatever goes uncaught in their page fails the test."""
    with visiting(browser, stage, **options) as visitor:
        website = Website(visitor.page, stage)
        yield website
        assert [line for line in website.console if line.startswith("uncaught")] == []
