"""Each small example loads, and its chat opens; the shop has tests of its own."""

from pathlib import Path

from playwright.sync_api import expect

from tests.browser import Stage, Visitor

EXAMPLES = Path(__file__).parent.parent / "examples"
PAGES = ("pages/plain.html", "pages/kiosk.html", "spa/spa.html", "csp/strict.html")
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


def publish(stage: Stage, *names: str) -> None:
    """Put these files on a website, with the proxy's address in them."""
    for name in names:
        text = (EXAMPLES / name).read_text().replace("https://chat.example.com", stage.proxy.url)
        stage.workshop.pages[f"/{name}"] = ({"Content-Type": TYPES[Path(name).suffix]}, text)


def test_every_example_loads_and_its_chat_opens(visitor: Visitor, stage: Stage) -> None:
    page = visitor.page
    publish(stage, *PAGES, "spa/spa.js")
    stage.workshop.pages["/favicon.ico"] = (
        {"Content-Type": "image/svg+xml"},
        "<svg xmlns='http://www.w3.org/2000/svg'/>",
    )
    for name in PAGES:
        page.goto(f"{stage.workshop.url}/{name}")
        page.evaluate("sessionStorage.clear()")
        if "kiosk" not in name:
            visitor.open_chat()
        expect(page.locator(".messages > .bot")).to_be_visible()
        expect(page.locator("textarea")).to_be_visible()
        page.evaluate("document.querySelector('chat-widget').close()")
    assert [line for line in visitor.console if line.startswith(("error", "uncaught"))] == []


def test_the_bot_follows_the_application_of_one_page(visitor: Visitor, stage: Stage) -> None:
    publish(stage, "spa/spa.html", "spa/spa.js")
    visitor.page.goto(f"{stage.workshop.url}/spa/spa.html")
    for number, (link, product) in enumerate((("Lamp", "Aurora Desk Lamp"), ("Vase", "Strand Vase")), 1):
        visitor.page.get_by_role("link", name=link).click()
        expect(visitor.page.get_by_role("heading", name=product)).to_be_visible()
        visitor.page.evaluate("void document.querySelector('chat-widget').send('What does it cost?')")
        expect(visitor.page.locator("[role=log] .bot")).to_have_count(number, timeout=15_000)
        assert stage.upstream.requests("message")[-1]["body"]["context"]["product_name"] == product
