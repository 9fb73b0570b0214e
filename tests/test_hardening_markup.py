"""What a bot writes runs nothing and asks nobody, in a real browser: shown by the widget, and as a client that trusts
`html` would show it."""

import json
import random
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import Stage
from tests.test_render import TAGS as WITHOUT_IMAGES
from tests.xss_payloads import generated, known
from widget_proxy.render import render

GENERATED = 1500

TAGS = WITHOUT_IMAGES | {"img"}


# Each way of showing puts all of it into one page, and then pokes at what is there as a visitor might.
SHOW = """async ([texts, way, module]) => {
    const { build } = way === "widget" ? await import(module) : {};
    if (way === "widget" && !build) throw new Error(`${module} builds nothing`);
    const place = document.body.appendChild(document.createElement("div")).attachShadow({ mode: "open" });
    for (const html of texts) {
        const one = place.appendChild(document.createElement("div"));
        if (build) one.append(build(html)); else one.innerHTML = html;
    }
    const all = [...place.querySelectorAll("div *")];
    for (const element of all) {
        for (const type of ["mouseover", "pointerenter", "focus", "toggle", "animationend", "load", "error"])
            element.dispatchEvent(new Event(type));
        if (element.localName !== "a") element.dispatchEvent(new Event("click", { cancelable: true }));
    }
    await new Promise(resolve => setTimeout(resolve, 200));
    return [
        window.ran,
        [...new Set(all.map(element => element.localName))],
        [...new Set(all.flatMap(element => element.getAttributeNames()))],
        [...new Set(all.filter(element => element.href !== undefined).map(element => URL.parse(element.href)?.protocol ?? "none:"))],
        all.filter(element => element.localName === "img").map(element => URL.parse(element.src)?.host),
    ];
}"""

HOOKS = """window.ran = [];
for (const name of ["alert", "confirm", "prompt", "print", "open"]) window[name] = () => ran.push(name);
addEventListener("error", event => ran.push(`error: ${event.message}`));
addEventListener("securitypolicyviolation", event => ran.push(`${event.violatedDirective} ${event.blockedURI}`));"""


def shown(host: str) -> bool:
    return host == "images.example.com"


@pytest.fixture
def page(browser: Browser, stage: Stage) -> Iterator[Page]:
    """An empty page of the website, where whatever can run would run, and be noticed."""
    context = browser.new_context()
    context.add_init_script(HOOKS)
    page = context.new_page()
    # It reports, and stops nothing: whatever got past would run all the same, and be noticed twice.
    policy = f"default-src 'none'; script-src {stage.proxy.url}; img-src data: https://images.example.com"
    reports = {"Content-Security-Policy-Report-Only": policy}
    stage.workshop.pages["/empty"] = (reports, "<!doctype html><link rel=icon href=data:,><title>Lamps</title><body>")
    page.goto(f"{stage.workshop.url}/empty")
    yield page
    context.close()


def texts() -> list[str]:
    return [*known(), *generated(GENERATED, random.Random(7))]


@pytest.mark.parametrize("way", ["widget", "innerHTML"])
def test_nothing_that_a_bot_writes_runs_or_asks_anybody(way: str, page: Page, stage: Stage) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    html = [render(text, "assistant", shown) for text in texts()]
    ran, tags, attributes, schemes, hosts = page.evaluate(
        SHOW, [html, way, f"{stage.proxy.url}/widget/transcript.js"]
    )
    assert ran == []
    assert set(tags) <= TAGS
    assert set(attributes) <= {
        *("href", "target", "rel", "title", "start", "src", "alt", "loading", "referrerpolicy"),
    }
    assert set(schemes) <= {"http:", "https:", "mailto:", "none:"}
    assert set(hosts) <= {"images.example.com"}
    assert [url for url in asked if not url.startswith((stage.proxy.url, "https://images.example.com/"))] == []
    assert page.url == f"{stage.workshop.url}/empty"


def test_the_widget_runs_nothing_even_where_nobody_cleaned_it(page: Page, stage: Stage) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    ran, tags, _, schemes, _ = page.evaluate(SHOW, [known(), "widget", f"{stage.proxy.url}/widget/transcript.js"])
    assert ran == []
    assert set(tags) <= TAGS
    assert set(schemes) <= {"http:", "https:", "mailto:", "none:"}
    assert not any("evil.example/x" in url for url in asked)


def test_what_does_run_is_noticed(page: Page, stage: Stage) -> None:
    ran, *_ = page.evaluate(SHOW, [["<img src=x onerror=alert(1)>", "<svg onload=alert(1)>"], "innerHTML", ""])
    assert "alert" in ran
    assert "script-src-attr inline" in ran
    assert f"img-src {stage.workshop.url}/x" in ran


def test_there_are_enough_of_them() -> None:
    assert len(known()) > 1500
    assert len(set(known())) == len(known())
    assert json.dumps(generated(3, random.Random(1))) == json.dumps(generated(3, random.Random(1)))
