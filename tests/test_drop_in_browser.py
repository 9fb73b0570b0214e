"""The official widget from npm, unmodified, in a real browser: straight at upstream with its key, and through the proxy
without. The visitor sees the same."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, Request, Response, expect

from benchmarks.official_widget import NEWEST, OfficialWidget, version
from tests.browser import Stage, Visitor, secrets_of, visiting
from tests.servers import EMBED_KEY, FakeUpstream, running
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID

PACKAGES = ["open-chat-studio-widget-0.5", NEWEST]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Upstream, which demands session tokens, and a proxy whose other site lets the official widget in."""
    stage = Stage(tmp_path_factory.mktemp("stage"), WIDGET_PROXY_SITES__OTHER__DROP_IN="true")
    with running(stage.upstream, stage.proxy), stage.workshop:
        yield stage


@pytest.fixture(scope="module")
def old_upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    """One that demands none: the widgets on npm know no tokens, and do not work without the proxy elsewhere."""
    with FakeUpstream(tmp_path_factory.mktemp("old") / "log", "--think", "0.4", "--mode", "open") as server:
        yield server


class Official(Visitor):
    """A visitor of a page with the official widget, and what they see of it."""

    def __init__(self, page: Page, stage: Stage, upstream: FakeUpstream) -> None:
        super().__init__(page, stage)
        self.upstream = upstream
        self.seen: list[bytes] = []
        self._noted = 0
        self._finished: list[Request] = []
        page.on("requestfinished", lambda request: self._finished.append(request))
        self.steps: list[tuple[str, list[str]]] = []

    def ends(self, response: Response) -> bool:
        # The widget reads no error's body, and the browser then takes none of it.
        return response.ok or response.request in self._finished

    def part(self, selector: str) -> Locator:
        return self.page.locator(f"open-chat-studio-widget {selector}")

    def write(self, text: str) -> None:
        self.part("textarea").fill(text)
        self.part("textarea").press("Enter")

    def expect_reply(self, text: str) -> None:
        expect(
            self.part(
                ".message-bubble-assistant",
            ).last
        ).to_contain_text(text, timeout=15_000)
        expect(self.part(".typing-indicator")).to_be_hidden()

    def expect_error(self, text: str) -> None:
        expect(self.part(".message-bubble-system").last).to_contain_text(text)

    def upstream_session(self) -> str:
        found: str = self.upstream.ask("sessions")[-1]["id"]
        return found

    def step(self, name: str) -> None:
        """Note what the visitor sees now, and what their browser was sent so far: a later page forgets it."""
        script = """rows => rows.map(row => {
            const kind = [...row.firstElementChild.classList].find(one => one.startsWith("message-bubble-"));
            const files = [...row.querySelectorAll(".message-attachment-name")].map(one => one.textContent);
            const text = row.querySelector(".chat-markdown").innerText.trim();
            return `${kind}: ${text} ${files.join()}`.trim();
        })"""
        self.steps.append((name, self.part(".message-row").evaluate_all(script)))
        self.seen.append(self.received(self._noted))
        self._noted = len(self.responses)


def page_of(files: OfficialWidget, base: str, key: str | None) -> str:
    attributes = {"chatbot-id": DEMO_CHATBOT_ID, "api-base-url": base, "button-text": "Chat"}
    attributes |= {"allow-attachments": "true"} | ({"embed-key": key} if key else {})
    told = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    script = f'<script type="module" src="{files.url}/open-chat-studio-widget.esm.js"></script>'
    return f"<!doctype html><title>Lamps</title>{script}<open-chat-studio-widget {told}></open-chat-studio-widget>"


def once(lines: list[str]) -> list[str]:
    """Without what a visitor said when it stands right below the same."""
    return [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if not (line == before and line.startswith("message-bubble-user"))
    ]


def journey(visitor: Official) -> None:
    """Everything a visitor does with it, and at each step what they see."""
    upstream, page = visitor.upstream, visitor.page
    visitor.part("button").first.click()
    expect(visitor.part("textarea")).to_be_visible()
    visitor.step("open")

    upstream.order("answers", text="It **costs** 89 euros.", delay=1.2, progress=[[0, "Looking at the page"]])
    visitor.write("What does it cost?")
    expect(visitor.part(".typing-indicator")).to_be_visible()
    visitor.step("in the making")
    visitor.expect_reply("It costs 89 euros.")
    visitor.step("answered")

    files: list[FilePayload] = [
        {"name": "list.txt", "mimeType": "text/plain", "buffer": b"a lamp"},
        {"name": "plan.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-" + b"x" * 100_000},
    ]
    visitor.part("#ocs-file-input").set_input_files(files)
    expect(visitor.part(".selected-file-item")).to_have_count(2)  # only then does a message take them along
    upstream.order("answers", text="I have read both.", delay=0.2)
    visitor.write("Here is my list")
    visitor.expect_reply("I have read both.")
    visitor.step("with files")
    (*_, sent) = upstream.requests("message")
    assert len(sent["body"]["attachment_ids"]) == 2
    assert [one["name"] for call in upstream.requests("upload") for one in call["body"]["files"]] == [
        "list.txt",
        "plan.pdf",
    ]

    upstream.order("answers", outcome="fail", delay=0.2)
    with page.expect_response(lambda response: "/poll/?since=" in response.url) as last:
        visitor.write("Break")
        visitor.expect_error("Internal Server Error")
    last.value.finished()
    visitor.step("failed")

    page.reload()
    visitor.part("button").first.click()
    visitor.part(".message-row").first.wait_for()
    visitor.step("reloaded")

    visitor.part("[aria-label='Start new chat']").click()
    visitor.part(".confirmation-button-confirm").click()
    expect(visitor.part(".message-row")).to_have_count(0)
    visitor.step("new chat")
    upstream.order("answers", text="Hello again.", delay=0.2)
    visitor.write("Hello")
    visitor.expect_reply("Hello again.")
    visitor.step("answered anew")
    assert len(upstream.ask("sessions")) == 2

    upstream.order("say", session=visitor.upstream_session(), text="Still there?")
    said = visitor.part(
        ".message-bubble-assistant",
    ).get_by_text("Still there?")
    for _ in range(40):  # half a minute each, for the page: the widget asks for messages twice a minute
        page.clock.fast_forward(30_000)
        page.wait_for_timeout(200)
        if said.count():
            break
    expect(said).to_have_count(1)
    visitor.step("the bot's own")

    upstream.order("end", session=visitor.upstream_session())
    visitor.write("Goodbye")
    visitor.expect_error("Failed to send message: Bad Request")
    visitor.step("ended")

    visitor.part("[aria-label='Start new chat']").click()
    visitor.part(".confirmation-button-confirm").click()
    expect(visitor.part(".message-row")).to_have_count(0)
    visitor.write("Once more")
    visitor.part(".message-bubble-assistant").first.wait_for()
    if upstream.ask("sessions")[-1]["token"] is None:
        # Only tokens expire. What upstream says of one whose time is over, it is made to say here.
        body = json.dumps({"error": "The session has expired.", "code": "session_expired"})
        upstream.order(
            "faults", kind="message", fault="status", status=403, body=body, content_type="application/json"
        )
    else:
        upstream.order("expire", session=visitor.upstream_session())
    visitor.write("Hello?")
    visitor.expect_error("Failed to send message: Forbidden")
    visitor.step("expired")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_official_widget_shows_the_same_through_the_proxy_and_its_key_stays_here(
    browser: Browser, stage: Stage, old_upstream: FakeUpstream, package: str
) -> None:
    visitors = []
    with OfficialWidget(old_upstream.url, package) as files:
        for upstream, base, key in (
            (old_upstream, files.url, EMBED_KEY),
            (stage.upstream, stage.proxy.url, None),
        ):
            upstream.order("reset")
            path = f"/official-{upstream.port}"
            stage.workshop.pages[path] = ({}, page_of(files, base, key))
            with visiting(browser, stage) as visitor:
                official = Official(visitor.page, stage, upstream)
                visitor.page.clock.install()
                visitor.page.goto(stage.workshop.url + path)
                journey(official)
                visitors.append(official)
                assert [line for line in visitor.console if line.startswith("uncaught")] == []
                started = upstream.requests("start")[0]["headers"]
                assert started["x-ocs-widget-version"] == version(package)
    straight, through = visitors
    # Asked for messages while it sends one, the widget may show that one twice: a matter of milliseconds.
    assert [(name, once(lines)) for name, lines in through.steps] == [
        (name, once(lines)) for name, lines in straight.steps
    ]
    received = b"".join(through.seen)
    found = {name: [form for form in forms if form in received] for name, forms in secrets_of(stage).items()}
    assert len(found) == 3 + 2 * 3, "the keys, and id and token of each session"
    assert {name: forms for name, forms in found.items() if forms} == {}
    assert received.count(b'"status":"complete"') >= 4, "bodies were searched"
    # The same search finds what the browser of the other visitor had to be told.
    told = b"".join(straight.seen)
    assert EMBED_KEY.encode() in told
    assert all(session["id"].encode() in told for session in old_upstream.ask("sessions"))
    logged = stage.proxy.output()
    for handle in {
        part for url in (one.url for one in through.requests) for part in url.split("/") if len(part) > 99
    }:
        assert handle not in logged
