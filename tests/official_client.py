"""What the official widget asks, asked by a test: straight of upstream with the embed key, or of the proxy without."""

import time
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.servers import EMBED_KEY, SHOP_ORIGIN, FakeUpstream, Proxy, client_of
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID

KNOWS_TOKENS = "0.9.1"
KNOWS_NONE = "0.6.0"


@dataclass
class OfficialClient:
    """One visitor's widget of this version. `url` is its `api-base-url`."""

    url: str
    upstream: FakeUpstream
    key: str | None
    version: str | None = KNOWS_TOKENS
    session: str = ""
    token: str | None = None
    through: Proxy | None = None

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """A call below `/api/chat/`. Headers that are None are not sent."""
        headers = {"Origin": SHOP_ORIGIN, "X-Embed-Key": self.key, "X-OCS-Widget-Version": self.version}
        headers |= {"X-Session-Token": self.token} | more.pop("headers", {})
        if path != "start/":
            headers["X-Embed-Key"] = None if self.token else headers["X-Embed-Key"]
        with client_of(self.url) as client:
            sent = {name: value for name, value in headers.items() if value is not None}
            return client.request(method, f"/api/chat/{path}", headers=sent, **more)

    def start(self, **body: Any) -> httpx2.Response:
        """Start a session, and keep what it is called."""
        answer = self.ask("POST", "start/", json={"chatbot_id": DEMO_CHATBOT_ID, **body})
        if answer.status_code == 201:
            self.session, self.token = answer.json()["session_id"], answer.json()["session_token"]
        return answer

    def say(self, text: object = "Hello", **more: Any) -> httpx2.Response:
        """Send a message."""
        headers = more.pop("headers", {})
        return self.ask("POST", f"{self.session}/message/", json={"message": text, **more}, headers=headers)

    def task(self, task: str, **more: Any) -> httpx2.Response:
        """Ask how an answer is getting on."""
        return self.ask("GET", f"{self.session}/{task}/poll/", **more)

    def poll(self, **more: Any) -> httpx2.Response:
        """Ask what was said."""
        return self.ask("GET", f"{self.session}/poll/", **more)

    def upload(self, *names: str, content: bytes = b"hello", field: str = "files", **more: Any) -> httpx2.Response:
        """Send files in one form, with the widget's own field behind them."""
        files = [(field, (name, content)) for name in names]
        data = {"participant_remote_id": "ocs:1_abc"}
        return self.ask("POST", f"{self.session}/upload/", files=files, data=data, **more)

    def until(self, task: str, *, status: str = "complete", progress: bool = False) -> httpx2.Response:
        """Poll for an answer, oftener than a widget, until it says this or is an error."""
        for _ in range(400):
            answer = self.task(task)
            told = answer.json()
            if answer.status_code != 200 or (told["status"] == status and bool(told["message"]) >= progress):
                return answer
            time.sleep(0.02)
        raise AssertionError(f"it stays {answer.text}")

    def answered(self, text: str = "Hello") -> dict[str, Any]:
        """Send a message, and wait for its answer."""
        found: dict[str, Any] = self.until(self.say(text).json()["task_id"]).json()["message"]
        return found

    def upstream_session(self) -> str:
        """What upstream calls the newest session."""
        found: str = self.upstream.ask("sessions")[-1]["id"]
        return found


def direct(upstream: FakeUpstream, **more: Any) -> OfficialClient:
    """A widget as it is without the proxy."""
    return OfficialClient(upstream.url, upstream, EMBED_KEY, **more)


def proxied(proxy: Proxy, upstream: FakeUpstream, **more: Any) -> OfficialClient:
    """The same with its two attributes changed."""
    return OfficialClient(proxy.url, upstream, None, through=proxy, **more)
