"""The status page in a real browser: figures for who has the token, and nothing for anybody else."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from starlette.testclient import TestClient

from tests.axe import violations
from tests.browser import Stage
from tests.servers import METRICS_TOKEN, SECRET_KEY, SHOP_ORIGIN, client_of
from tests.sse import stream
from tests.test_metrics import SITE
from tests.test_monitoring_docs import PREFIX, series
from tests.test_pages_browser import PHONE, VIOLATIONS
from widget_proxy.app import create_app
from widget_proxy.config import Settings

ROOT = Path(__file__).parent.parent
SCRIPT = (ROOT / "static/pages/status.js").read_text()


@contextmanager
def at_the_page(browser: Browser, stage: Stage, **options: Any) -> Iterator[Page]:
    """The status page. No policy may be violated, and nothing may go wrong unseen."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    try:
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.add_init_script(VIOLATIONS)
        page.goto(f"{stage.proxy.url}/status")
        yield page
        assert errors == []
        assert page.evaluate("window.violations") == []
    finally:
        context.close()


@pytest.fixture
def operator(browser: Browser, stage: Stage) -> Iterator[Page]:
    with at_the_page(browser, stage) as page:
        yield page


def enter(page: Page, token: str = METRICS_TOKEN) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Show the figures").click()


def tile(page: Page, title: str) -> Locator:
    return page.locator(".tile", has=page.get_by_role("heading", name=title, exact=True))


def one_question(stage: Stage) -> None:
    """A visitor of the workshop's site, who is answered."""
    site = stage.proxy
    with client_of(site.url, {"Origin": stage.workshop.url}) as client:
        handle = client.post("/v1/sites/other/sessions", json={}).json()["handle"]
        client.headers["Authorization"] = f"Bearer {handle}"
        with stream(client) as events:
            task = client.post("/v1/session/messages", json={"message": "hello"}).json()["task"]
            events.until(lambda event: event.name == "done" and event.data["task"] == task)


@contextmanager
def one_reader(stage: Stage) -> Iterator[None]:
    """A visitor who stays."""
    with client_of(stage.proxy.url, {"Origin": stage.workshop.url}) as client:
        handle = client.post("/v1/sites/other/sessions", json={}).json()["handle"]
        client.headers["Authorization"] = f"Bearer {handle}"
        with stream(client) as events:
            events.until("ready")
            yield


def test_without_a_token_configured_there_is_no_page() -> None:
    settings = Settings.model_validate({"secret_key": SECRET_KEY, "sites": {"shop": SITE}})
    assert TestClient(create_app(settings)).get("/status").status_code == 404


def test_the_page_itself_tells_nothing(stage: Stage) -> None:
    with client_of(stage.proxy.url) as client:
        page = client.get("/status")
    assert page.status_code == 200
    assert METRICS_TOKEN not in page.text
    assert "shop" not in page.text
    assert SHOP_ORIGIN not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "connect-src 'self'" in policy


def test_who_has_not_the_token_is_told_so_and_sees_no_figures(operator: Page) -> None:
    expect(operator.locator("#figures")).to_be_hidden()
    enter(operator, "something else")
    expect(operator.get_by_role("alert")).to_have_text("That is not the token.")
    expect(operator.locator("#figures")).to_be_hidden()
    enter(operator)
    expect(operator.get_by_text("Ready for visitors")).to_be_visible()
    expect(operator.get_by_role("alert")).to_be_hidden()


def test_the_token_is_kept_for_the_tab_alone_and_can_be_forgotten(operator: Page, stage: Stage) -> None:
    enter(operator)
    expect(operator.get_by_text("Ready for visitors")).to_be_visible()
    assert METRICS_TOKEN not in operator.url
    assert METRICS_TOKEN not in operator.content()
    assert operator.evaluate("JSON.stringify(localStorage)") == "{}"
    operator.reload()
    expect(operator.get_by_text("Ready for visitors")).to_be_visible()
    another = operator.context.new_page()
    another.goto(f"{stage.proxy.url}/status")
    expect(another.get_by_label("Token")).to_be_visible()
    operator.get_by_role("button", name="Forget the token").click()
    expect(operator.get_by_label("Token")).to_be_focused()
    assert operator.evaluate("JSON.stringify(sessionStorage)") == "{}"


def test_figures_live_without_a_reload(operator: Page, stage: Stage) -> None:
    one_question(stage)
    enter(operator)
    row = operator.locator("#sites tr", has_text="other")
    before = int(row.locator("td").nth(2).inner_text())
    expect(tile(operator, "Time to answer").locator("strong")).to_have_text(re.compile(r"^[\d.]+ (ms|s)$"))
    expect(tile(operator, "Budget left").locator("strong")).to_have_text(re.compile(r"^\d+ %$"))
    expect(operator.locator("#upstreams")).to_contain_text(stage.upstream.url.removeprefix("http://"))
    with client_of(stage.proxy.url, {"Origin": "https://evil.example"}) as stranger:
        assert stranger.get("/v1/sites/other").status_code == 403
    one_question(stage)
    expect(row.locator("td").nth(2)).to_have_text(str(before + 1), timeout=15_000)
    expect(operator.locator("#refusals")).to_contain_text("origin_not_allowed")
    expect(tile(operator, "Messages a minute").locator("path.line")).to_have_attribute(
        "d", re.compile("M.*L"), timeout=15_000
    )


def test_a_proxy_that_does_not_answer_is_said_and_looked_for_again(operator: Page) -> None:
    enter(operator)
    expect(operator.get_by_text("Ready for visitors")).to_be_visible()

    def refuse(route: Route) -> None:
        route.abort()

    operator.route("**/status.json", refuse)
    expect(operator.locator("#state")).to_have_text("The proxy does not answer. Trying again.", timeout=15_000)
    operator.unroute("**/status.json", refuse)
    expect(operator.locator("#state")).to_have_text("Ready for visitors", timeout=15_000)


def test_why_it_is_not_ready_is_said(operator: Page) -> None:
    def unready(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(json=answer.json() | {"reasons": ["broker: it cannot be reached"]})

    operator.route("**/status.json", unready)
    enter(operator)
    expect(operator.locator("#state")).to_have_text("Visitors should go elsewhere")
    expect(operator.locator("#reasons li")).to_have_text("broker: it cannot be reached")


def test_charts_grow_with_what_is_seen(browser: Browser, stage: Stage, images: Path) -> None:
    with ExitStack() as readers, at_the_page(browser, stage) as page:
        page.clock.install()
        page.reload()
        enter(page)
        expect(page.locator(".tile")).to_have_count(12)
        for number in range(8):
            for _ in range(1 + number % 3):
                readers.enter_context(one_reader(stage))
            one_question(stage)
            with page.expect_response("**/status.json"):
                page.clock.run_for(3000)
        line = tile(page, "Streams open").locator("path.line")
        expect(line).to_have_attribute("d", re.compile(r"^M0\.0,.*L300\.0,2\.0$"))
        expect(tile(page, "Streams open").locator("strong")).to_have_text("15")
        page.screenshot(path=images / "status.png", full_page=True, animations="disabled")


def test_the_page_asks_for_what_there_is() -> None:
    there = {name.removeprefix(PREFIX) for name in series()}
    asked = set(re.findall(r'(?:sum|rows|grown|perMinute|quantile|recent)\([^"()]*"(\w+)"', SCRIPT))
    histograms = {name.removesuffix("_bucket") for name in there if name.endswith("_bucket")}
    assert len(asked) > 12
    assert asked - there - histograms == set()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
def test_it_fits_the_screen_and_can_be_read_by_everybody(
    browser: Browser, stage: Stage, scheme: str, options: dict[str, Any]
) -> None:
    one_question(stage)
    with at_the_page(browser, stage, color_scheme=scheme, **options) as page:
        assert violations(page, "main") == []
        enter(page)
        expect(page.locator(".tile")).to_have_count(12)
        expect(tile(page, "CPU").locator("strong")).to_have_text(re.compile("%"), timeout=15_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")
        assert violations(page, "main") == []
