"""Debian's Firefox, by the protocol it speaks itself (WebDriver BiDi): Playwright asks for newer commands than it has."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PREFERENCES = {
    "app.normandy.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "",
}
START_SECONDS = 40
ANSWER_SECONDS = 20
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004"}


@contextmanager
def running_firefox(path: str, directory: Path) -> Iterator["Firefox"]:
    """A headless Firefox with an empty profile."""
    profile, log = directory / "profile", directory / "firefox.log"
    profile.mkdir()
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines))
    command = [path, "--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", str(profile)]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "about:blank"], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (address := re.search(r"BiDi listening on (ws://\S+)", log.read_text("utf-8", "replace"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{path} did not start:\n{log.read_text('utf-8', 'replace')}")
            time.sleep(0.05)
        with connect(f"{address[1]}/session", max_size=None) as connection:
            yield Firefox(connection)
    finally:
        process.terminate()
        process.wait(15)


class Firefox:
    """The page of a Firefox, and what went uncaught in it."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.uncaught: list[str] = []
        self._call("session.new", capabilities={})
        self._call("session.subscribe", events=["log.entryAdded"])
        self._page = self._call("browsingContext.getTree")["contexts"][0]["context"]
        self._call("browsingContext.setViewport", context=self._page, viewport={"width": 1280, "height": 800})

    def go(self, url: str) -> None:
        """Open an address, and wait for it to have loaded."""
        self._call("browsingContext.navigate", context=self._page, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """What an expression comes to in the page, by way of JSON."""
        script = f"Promise.resolve({expression}).then(value => JSON.stringify(value ?? null))"
        target = {"context": self._page}
        outcome = self._call("script.evaluate", expression=script, target=target, awaitPromise=True)
        if outcome["type"] == "exception":
            raise AssertionError(outcome["exceptionDetails"]["text"])
        return json.loads(outcome["result"]["value"])

    def wait_for(self, expression: str) -> Any:
        """Until this is true in the page; what it is then."""
        script = f"""new Promise((resolve, reject) => {{
            const end = Date.now() + {ANSWER_SECONDS * 1000};
            (function look() {{
                const found = {expression};
                if (found) resolve(found);
                else if (Date.now() > end) reject(new Error({json.dumps("never: " + expression)}));
                else setTimeout(look, 50);
            }})();
        }})"""
        return self.evaluate(script)

    def click(self, element: str) -> None:
        """Press the mouse over the middle of the element that this expression gives."""
        x, y = self.wait_for(f"(box => box?.width && [box.x + box.width / 2, box.y + box.height / 2])"
                             f"(({element})?.getBoundingClientRect())")  # fmt: skip
        press: list[dict[str, Any]] = [
            {"type": "pointerMove", "x": round(x), "y": round(y)},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._act("pointer", press)

    def type(self, text: str) -> None:
        """Press the keys of a text."""
        self._act("key", [{"type": kind, "value": letter} for letter in text for kind in ("keyDown", "keyUp")])

    def press(self, key: str) -> None:
        """Press a key that has a name."""
        self.type(KEYS[key])

    def _act(self, kind: str, actions: list[dict[str, Any]]) -> None:
        self._call(
            "input.performActions", context=self._page, actions=[{"type": kind, "id": kind, "actions": actions}]
        )

    def _call(self, method: str, **params: Any) -> Any:
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            told = json.loads(self._connection.recv(timeout=ANSWER_SECONDS + 10))
            if told.get("method") == "log.entryAdded" and told["params"]["type"] == "javascript":
                self.uncaught.append(told["params"]["text"])
            if told.get("id") == self._number:
                if told["type"] == "error":
                    raise AssertionError(f"{method}: {told['message']}")
                return told["result"]
