"""A real browser on a real shop: everything its pages receive is kept, so that a test can search it."""

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from playwright.sync_api import Browser, Error, Locator, Page, Request, Response

from tests.local_server import LocalServer
from tests.servers import (
    EMBED_KEY,
    HOST,
    METRICS_TOKEN,
    SECRET_KEY,
    VISITOR_SECRET,
    FakeUpstream,
    Proxy,
    Server,
    free_port,
)

ARGUMENTS = [
    "--no-sandbox",  # the tests run as root in containers
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]


class Shop(Server):
    """The example shop on a port of its own, with the proxy's address in its pages."""

    def __init__(self, port: int, proxy_url: str, log: Path) -> None:
        super().__init__(["widget_proxy.demo", str(port), proxy_url], port, log)


class Workshop(LocalServer):
    """A website whose pages a test writes, with the headers it wants: `pages["/x"] = (headers, body)`."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[dict[str, str], str]] = {}
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers, body = pages.get(self.path, ({}, ""))
                self.send_response(200 if body else 404)
                for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # its name there
                """Silent."""

        super().__init__(Handler)


class Stage:
    """Upstream, proxy and shop, as the demo starts them, each for the test to order about."""

    def __init__(self, directory: Path, **overrides: str) -> None:
        shop_port = free_port()
        self.workshop = Workshop()
        self.upstream = FakeUpstream(directory / "upstream.log", "--think", "0.4")
        self.proxy = Proxy(
            self.upstream.url,
            directory / "proxy.log",
            **overrides,
            WIDGET_PROXY_CONFIG=str(Path(__file__).parent.parent / "examples/shop/widget-proxy.toml"),
            WIDGET_PROXY_SITES__SHOP__TITLE="Ask Nordlicht",
            WIDGET_PROXY_SITES__SHOP__IMAGE_HOSTS="images.example.com",
            WIDGET_PROXY_SITES__SHOP__ALLOWED_ORIGINS=f"http://{HOST}:{shop_port},{self.workshop.url}",
            # A second site for the workshop's pages, which takes files.
            WIDGET_PROXY_SITES__OTHER__TITLE="Ask the other",
            WIDGET_PROXY_SITES__OTHER__ALLOWED_ORIGINS=self.workshop.url,
            WIDGET_PROXY_SITES__OTHER__VISITOR_SECRET=VISITOR_SECRET,
            WIDGET_PROXY_SITES__OTHER__ATTACHMENTS="true",
            WIDGET_PROXY_SITES__OTHER__API_KEY="demo-api-key-not-a-secret",
            WIDGET_PROXY_SITES__OTHER__STARTS_WITH="embed_key",
            WIDGET_PROXY_SITES__OTHER__LIMITS__FILE_BYTES="200000",
            WIDGET_PROXY_SITES__OTHER__LIMITS__FILES="3",
            WIDGET_PROXY_SITES__OTHER__LIMITS__FILE_EXTENSIONS="txt, pdf, png",
        )
        self.shop = Shop(shop_port, self.proxy.url, directory / "shop.log")

    @property
    def origin(self) -> str:
        """The shop's origin."""
        return self.shop.url


class Visitor:
    """One visitor's browser page, and all that it was sent."""

    def __init__(self, page: Page, stage: Stage) -> None:
        self.page = page
        self.stage = stage
        self.console: list[str] = []
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))
        page.on("request", lambda request: self.requests.append(request))
        page.on("response", lambda response: self.responses.append(response))

    def go(self, path: str = "aurora-desk-lamp.html") -> None:
        """Open a page of the shop."""
        self.page.goto(f"{self.stage.origin}/{path}")

    def open_chat(self) -> None:
        """Press the launcher."""
        self.page.locator("chat-widget .launcher").click()
        self.page.locator(".panel").wait_for()

    def say(self, text: str) -> None:
        """Type and send."""
        self.page.locator("textarea").fill(text)
        self.page.locator("textarea").press("Enter")

    def answer(self, text: str) -> Locator:
        """The bot's message with this text, once it is there."""
        # Told by the page: Playwright's own waiting looks twice a second, and answers are what most tests wait for.
        script = """(log, text) => new Promise((resolve, reject) => {
            const plain = element => element.textContent.replace(/\\s+/g, " ");
            const look = () => {
                if (![...log.querySelectorAll(".bot")].some(one => plain(one).includes(text))) return;
                observer.disconnect();
                clearTimeout(timer);
                resolve();
            };
            const observer = new MutationObserver(look);
            const late = () => { observer.disconnect(); reject(new Error(`no answer "${text}": ${plain(log)}`)); };
            const timer = setTimeout(late, 15000);
            observer.observe(log, {childList: true, subtree: true, characterData: true});
            look();
        })"""
        self.page.locator("[role=log]").evaluate(script, text)
        return self.page.locator("[role=log] .bot", has_text=text).last

    def lines(self) -> list[str]:
        """What the conversation shows, one a message: `mine: …` or `bot: …`."""
        script = """items => items.map(item => {
            const bubble = item.querySelector(".mine, .bot");
            return `${bubble.classList[0]}: ${bubble.innerText.trim()}`;
        })"""
        found: list[str] = self.page.locator(".item").evaluate_all(script)
        return found

    def until(self, holds: Callable[[], bool], seconds: float = 5) -> None:
        """Wait for something that the test sees, and the page does not."""
        for _ in range(int(seconds / 0.02)):
            if holds():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("it did not come to that")

    def received(self, since: int = 0) -> bytes:
        """Every byte of every answer so far, from the one with this number on: status, headers and bodies."""
        parts: list[bytes] = []
        for response in self.responses[since:]:
            parts.append(f"{response.status} {response.url} {response.all_headers()}".encode())
            if self.ends(response):
                try:
                    parts.append(response.body())
                except Error:
                    parts.append(b"")  # a preflight or a redirect has none
        stored = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.documentElement.outerHTML])"
        parts.append(str(self.page.evaluate(stored)).encode())
        return b"\n".join(parts)

    def ends(self, response: Response) -> bool:
        """Whether its body ends while the page is there, so that it can be waited for."""
        return "event-stream" not in (response.headers.get("content-type") or "")

    def sent(self) -> bytes:
        """Everything the page asked for."""
        return b"\n".join(
            f"{one.method} {one.url} {one.all_headers()} {one.post_data}".encode() for one in self.requests
        )

    def hosts(self) -> set[str]:
        """Who the page spoke to."""
        return {urlsplit(one.url).netloc for one in self.requests if urlsplit(one.url).scheme.startswith("http")}


def spellings(secret: str) -> set[bytes]:
    """A secret as it may stand in bytes: plain, encoded, reversed."""
    raw = secret.encode()
    return {
        raw,
        base64.b64encode(raw).rstrip(b"="),
        base64.urlsafe_b64encode(raw).rstrip(b"="),
        raw.hex().encode(),
        quote(secret, safe="").encode(),
        raw[::-1],
    }


def secrets_of(stage: Stage) -> dict[str, set[bytes]]:
    """What no browser may ever get, in every spelling."""
    sessions: list[dict[str, Any]] = stage.upstream.ask("sessions")
    secrets = {
        "metrics token": spellings(METRICS_TOKEN),
        "embed key": spellings(EMBED_KEY),
        "signing secret": spellings(SECRET_KEY),
    }
    for number, session in enumerate(sessions):
        secrets[f"session token {number}"] = spellings(session["token"])
        secrets[f"session id {number}"] = spellings(session["id"])
    return secrets


@contextmanager
def visiting(browser: Browser, stage: Stage, **options: Any) -> Iterator[Visitor]:
    """A new visitor, with storage of their own."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
    try:
        yield Visitor(context.new_page(), stage)
    finally:
        context.close()
