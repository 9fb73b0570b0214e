"""What a site's look says, the widget does on every page, unless the page says otherwise."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser import Stage, visiting
from tests.servers import Proxy, running

LOOK = {
    "THEME": "dark", "LANGUAGE": "de", "HEADER_TEXT": "Laden", "TYPING_INDICATOR_TEXT": "Moment", "BANNER_MESSAGE": "Ab neun",
    "BANNER_STYLE": "warning", "BANNER_POSITION": "bottom", "NEW_CHAT_CONFIRMATION_MESSAGE": "Wirklich?", "FEEDBACK": "true",
    "ALLOW_FULL_SCREEN": "false", "WELCOME_MESSAGES": "Moin", "STARTER_QUESTIONS": "Wie?",
}  # fmt: skip


def test_a_sites_look_is_every_pages_unless_it_says_otherwise(browser: Browser, stage: Stage, tmp_path: Path) -> None:
    settings = {f"WIDGET_PROXY_SITES__SHOP__LOOK__{name}": value for name, value in LOOK.items()}
    allowed = {
        "WIDGET_PROXY_SITES__SHOP__ALLOWED_ORIGINS": stage.workshop.url,
        "WIDGET_PROXY_SITES__SHOP__TEXTS__LAUNCHER": "Fragen",
    }
    proxy = Proxy(stage.upstream.url, tmp_path / "proxy.log", **settings, **allowed)
    tag = f'<script src="{proxy.url}/widget.js" data-site="shop" %s async></script>'
    stage.workshop.pages["/plain"] = ({}, "<!doctype html><title>T</title><body>" + tag % "")
    own = 'data-theme="light" data-language="en" data-feedback="off" data-allow-full-screen="true" data-banner-message=""'
    stage.workshop.pages["/own"] = ({}, "<!doctype html><title>T</title><body>" + tag % own)
    stage.upstream.order("answers", text="Ja", delay=1)
    with running(proxy), visiting(browser, stage) as visitor:
        page = visitor.page
        page.goto(f"{stage.workshop.url}/plain")
        visitor.open_chat()
        expect(page.locator(".panel")).to_have_css("background-color", "rgb(23, 27, 36)")
        expect(page.locator(".panel")).to_have_attribute("lang", "de")
        expect(page.get_by_role("heading", name="Laden")).to_be_visible()
        expect(page.locator(".banner")).to_have_text("Ab neun")
        expect(page.locator(".banner")).to_have_attribute("data-style", "warning")
        expect(page.locator(".messages > .bot")).to_have_text("Moin")
        expect(page.locator(".starter")).to_have_text("Wie?")
        expect(page.locator(".large")).to_be_hidden()
        visitor.say("Hallo")
        expect(page.locator(".typing")).to_have_text("Moment")
        visitor.answer("Ja")
        expect(page.locator(".thumb")).to_have_count(2)
        expect(page.locator(".ask")).to_contain_text("Wirklich?")
        page.goto(f"{stage.workshop.url}/own")
        expect(page.locator(".panel")).to_have_css("background-color", "rgb(255, 255, 255)")
        expect(page.locator(".panel")).to_have_attribute("lang", "en")
        expect(page.locator(".banner")).to_be_hidden()
        expect(page.locator(".large")).to_be_visible()
        expect(page.locator(".thumb")).to_have_count(0)
