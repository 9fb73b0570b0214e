"""What a chat costs the page it is on: ours, the official widget from npm, and the page without any, side by side.

    .venv/bin/python -m benchmarks.page_cost [--rounds 7]

A product page of the example shop in a real browser, with nothing in its cache. Measured is how it stands before the
visitor wants to chat, after opening the chat, and after one answered message; each time when the page is idle again.
Once as it is, and once on a phone's screen with the processor slowed down four times. Rounds are in turn, so that all
meet the same machine. Needs the packages of package-lock.json (`scripts/test` installs them).
"""

import argparse
import html
import json
import os
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, CDPSession, sync_playwright

from benchmarks import results
from benchmarks.official_widget import OfficialWidget, version
from benchmarks.processes import end_cleanly
from tests.browser import ARGUMENTS, Stage
from tests.servers import EMBED_KEY, FakeUpstream, running
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID

SHOP = Path(__file__).parent.parent / "examples/shop"
PAGE = "aurora-desk-lamp.html"
OUR_TAG = '<script src="https://chat.example.com/widget.js" data-site="shop" async></script>'
SITE = tomllib.loads((SHOP / "widget-proxy.toml").read_text())["sites"]["shop"]

THINK_SECONDS = 1.0
IDLE_SECONDS = 1.5
PATIENCE_SECONDS = 20.0
QUESTION, ANSWER = "What does it cost?", "It **costs** 89 euros."

MACHINES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}, "slower": 1},
    "phone, processor 4 times slower": {"viewport": {"width": 390, "height": 844}, "slower": 4},
}
ROOTS = {
    "ours": "document.querySelector('chat-widget')?.shadowRoot",
    "official": "document.querySelector('open-chat-studio-widget')?.shadowRoot",
}

OBSERVE = """window.observed = {shift: 0, long: []};
new PerformanceObserver(list => list.getEntries().forEach(one => {
    if (!one.hadRecentInput) observed.shift += one.value;
})).observe({type: "layout-shift", buffered: true});
new PerformanceObserver(list => list.getEntries().forEach(one => observed.long.push(one.duration)))
    .observe({type: "longtask", buffered: true});"""


class Costs:
    """What a page of a browser was sent and did so far."""

    def __init__(self, debugger: CDPSession, shop_hosts: set[str]) -> None:
        self._debugger = debugger
        self._shop_hosts = shop_hosts
        self._sizes: dict[str, int] = {}
        debugger.on("Network.requestWillBeSent", self._asked)
        debugger.on("Network.responseReceived", self._answered)
        debugger.on("Network.dataReceived", self._received)
        debugger.on("Network.loadingFinished", self._finished)
        debugger.send("Network.enable")
        debugger.send("Performance.enable", {"timeDomain": "threadTicks"})  # the processor's time, not the clock's

    def _asked(self, event: dict[str, Any]) -> None:
        address = urlsplit(event["request"]["url"])
        if address.scheme in {"http", "https"} and address.netloc not in self._shop_hosts:
            self._sizes[event["requestId"]] = 0

    def _answered(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self._sizes:
            self._sizes[event["requestId"]] = event["response"]["encodedDataLength"]

    def _received(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self._sizes:
            self._sizes[event["requestId"]] += event["encodedDataLength"]

    def _finished(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self._sizes:
            self._sizes[event["requestId"]] = event["encodedDataLength"]

    def so_far(self) -> dict[str, float]:
        """Bytes and requests of the chat; time and shifts of the whole page."""
        metrics = {one["name"]: one["value"] for one in self._debugger.send("Performance.getMetrics")["metrics"]}
        observed = evaluate(self._debugger, "observed")
        return {
            "requests": len(self._sizes),
            "kilobytes": sum(self._sizes.values()) / 1000,
            "script_ms": metrics["ScriptDuration"] * 1000,
            "main_thread_ms": metrics["TaskDuration"] * 1000,
            "long_tasks": len(observed["long"]),
            "longest_task_ms": max(observed["long"], default=0),
            "layout_shift": observed["shift"],
        }


def evaluate(debugger: CDPSession, expression: str) -> Any:
    """What an expression comes to; without Playwright's own scripts in the page, which would be counted."""
    options = {"expression": expression, "returnByValue": True, "awaitPromise": True}
    outcome = debugger.send("Runtime.evaluate", options)
    if "exceptionDetails" in outcome:
        raise RuntimeError(outcome["exceptionDetails"]["exception"]["description"])
    return outcome["result"].get("value")


def wait_for(debugger: CDPSession, expression: str) -> Any:
    """Until this is true in the page; what it is then."""
    script = f"""new Promise((resolve, reject) => {{
        const end = Date.now() + {PATIENCE_SECONDS * 1000};
        (function look() {{
            const found = {expression};
            if (found) resolve(found);
            else if (Date.now() > end) reject(new Error({json.dumps("never: " + expression)}));
            else setTimeout(look, 100);
        }})();
    }})"""
    return evaluate(debugger, script)


def click(debugger: CDPSession, element: str) -> None:
    """Press the mouse over the middle of this element."""
    middle = "box => box?.width && {x: box.x + box.width / 2, y: box.y + box.height / 2}"
    place = wait_for(debugger, f"({middle})({element}?.getBoundingClientRect())")
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        debugger.send("Input.dispatchMouseEvent", {"type": kind, **place, **button})


def visit(browser: Browser, url: str, contender: str, machine: dict[str, Any], hosts: set[str]) -> dict[str, Any]:
    """One visit with an empty cache: the costs at each point of it, so far."""
    context = browser.new_context(viewport=machine["viewport"])
    page = context.new_page()
    debugger = context.new_cdp_session(page)
    costs = Costs(debugger, hosts)
    page.add_init_script(OBSERVE)
    debugger.send("Emulation.setCPUThrottlingRate", {"rate": machine["slower"]})
    idle = IDLE_SECONDS * 1000
    try:
        page.goto(url)
        root = ROOTS.get(contender)
        if root is None:
            page.wait_for_timeout(idle)
            return {"before use": costs.so_far()}
        wait_for(debugger, f"{root}?.querySelector('button')?.getBoundingClientRect().width")
        page.wait_for_timeout(idle)
        measured = {"before use": costs.so_far()}
        click(debugger, f"{root}.querySelector('button')")
        click(debugger, f"{root}.querySelector('textarea')")
        page.wait_for_timeout(idle)
        measured["opened"] = costs.so_far()
        debugger.send("Input.insertText", {"text": QUESTION})
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        debugger.send("Input.dispatchKeyEvent", {"type": "keyDown", "text": "\r", **key})
        debugger.send("Input.dispatchKeyEvent", {"type": "keyUp", **key})
        wait_for(debugger, f"{root}.textContent.includes('89 euros')")
        page.wait_for_timeout(idle)
        return measured | {"answered": costs.so_far()}
    finally:
        context.close()


def pages(proxy_url: str, official_url: str, shop_url: str) -> dict[str, str]:
    """The same product page for each contender."""
    page = (SHOP / PAGE).read_text().replace("<head>", f'<head><base href="{shop_url}/">')
    assert OUR_TAG in page
    attributes = {
        "chatbot-id": DEMO_CHATBOT_ID,
        "embed-key": EMBED_KEY,
        "api-base-url": official_url,
        "button-text": SITE["texts"]["launcher"],
        "welcome-messages": json.dumps(SITE["look"]["welcome_messages"]),
        "starter-questions": json.dumps(SITE["look"]["starter_questions"]),
    }
    written = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
    script = f'<script type="module" src="{official_url}/open-chat-studio-widget.esm.js" async></script>'
    tags = {
        "no chat": "",
        "ours": OUR_TAG.replace("https://chat.example.com", proxy_url),
        "official": f"{script}<open-chat-studio-widget {written}></open-chat-studio-widget>",
    }
    return {name: page.replace(OUR_TAG, tag) for name, tag in tags.items()}


def main(rounds: int) -> None:
    end_cleanly()
    directory = Path(tempfile.mkdtemp())
    stage = Stage(directory, WIDGET_PROXY_PACING__MESSAGE_POLL_SECONDS="30", log_level="warning")
    # The newest official widget on npm is older than session tokens.
    old = FakeUpstream(directory / "old.log", "--mode", "no_tokens")
    official = OfficialWidget(old.url)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    measured: dict[str, dict[str, dict[str, list[dict[str, float]]]]] = {}
    with (
        running(stage.upstream, stage.proxy, stage.shop, old),
        stage.workshop,
        official,
        sync_playwright() as playwright,
    ):
        written = pages(stage.proxy.url, official.url, stage.shop.url)
        for number, page in enumerate(written.values()):
            stage.workshop.pages[f"/{number}"] = ({}, page)
        hosts = {urlsplit(url).netloc for url in (stage.shop.url, stage.workshop.url)}
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        browser_version = browser.version
        for one in range(rounds + 1):
            for device, machine in MACHINES.items():
                for number, contender in enumerate(written):
                    for upstream in (stage.upstream, old):
                        upstream.order("reset")
                        upstream.order("answers", text=ANSWER, delay=THINK_SECONDS)
                    cost = visit(browser, f"{stage.workshop.url}/{number}", contender, machine, hosts)
                    if one == 0:
                        continue  # the first round warms up browser and servers
                    for moment, figures in cost.items():
                        contenders = measured.setdefault(device, {}).setdefault(moment, {})
                        contenders.setdefault(contender, []).append(figures)
            results.say(f"  round {one} of {rounds}" if one else "  warmed up")
        browser.close()
    figures = {
        device: {
            moment: {contender: results.figures(values, 1) for contender, values in contenders.items()}
            for moment, contenders in moments.items()
        }
        for device, moments in measured.items()
    }
    for device, moments in figures.items():
        head = [device, "requests", "kB", "script ms", "main thread ms", "long tasks", "layout shift"]
        names = ["requests", "kilobytes", "script_ms", "main_thread_ms", "long_tasks", "layout_shift"]
        rows = [
            [f"{moment}, {contender}", *(results.with_spread(values[name], 1) for name in names)]
            for moment, contenders in moments.items()
            for contender, values in contenders.items()
        ]
        results.say(*results.table(head, rows), "")
    parameters = {
        "rounds": rounds,
        "page": PAGE,
        "answer_seconds": THINK_SECONDS,
        "idle_seconds": IDLE_SECONDS,
        "browser": f"Chromium {browser_version}",
        "official": f"open-chat-studio-widget {version()}",
        "counted": "requests and kilobytes of the chat's servers alone; times, tasks and shifts of the whole page",
    }
    results.write("page_cost", parameters, figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    main(parser.parse_args().rounds)
