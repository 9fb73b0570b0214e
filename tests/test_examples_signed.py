"""The functions that an owner pastes into their server sign what the proxy believes."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.servers import VISITOR_SECRET
from tests.test_visitor_tokens import site
from widget_proxy.visitor_tokens import VisitorTokenInvalid, read_token

SIGNED = Path(__file__).parent.parent / "examples/signed"

# Each reads its arguments from standard input, as JSON: nothing to quote.
PROGRAMS: dict[str, Callable[[], list[str]]] = {
    "Python": lambda: [
        sys.executable,
        "-c",
        "import json, sys; from visitor_token import visitor_token; print(visitor_token(*json.load(sys.stdin)))",
    ],
    "Node.js": lambda: [
        "node",
        "--input-type=module",
        "-e",
        f"import {{ visitorToken }} from {json.dumps((SIGNED / 'visitor-token.mjs').as_uri())};"
        'import { readFileSync } from "node:fs"; console.log(visitorToken(...JSON.parse(readFileSync(0))));',
    ],
    "PHP": lambda: [
        "php",
        "-r",
        "require 'visitor-token.php'; echo visitor_token(...json_decode(file_get_contents('php://stdin'), true));",
    ],
}


def sign(language: str, *arguments: Any) -> str:
    outcome = subprocess.run(
        PROGRAMS[language](),
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        cwd=SIGNED,
        timeout=30,
        check=True,
    )
    assert outcome.stderr == ""
    return outcome.stdout.strip()


@pytest.mark.parametrize("language", PROGRAMS)
def test_an_examples_token_names_the_visitor_and_the_page(language: str) -> None:
    page = {"price": 89.5, "product_name": "Späti “Aurora” 😀", "sizes": ["S", "M"], "in_stock": True}
    visitor = read_token(sign(language, VISITOR_SECRET, "shop", "u-7", "Zoë Müller", page), site(), datetime.now(UTC))
    assert (visitor.id, visitor.name, visitor.page_context) == ("u-7", "Zoë Müller", page)


@pytest.mark.parametrize("language", PROGRAMS)
def test_an_examples_token_needs_no_name_and_no_page(language: str) -> None:
    visitor = read_token(sign(language, VISITOR_SECRET, "shop", "u-7"), site(), datetime.now(UTC))
    assert (visitor.id, visitor.name, visitor.page_context) == ("u-7", None, {})


@pytest.mark.parametrize("language", PROGRAMS)
def test_an_examples_token_is_good_for_an_hour_on_its_site_alone(language: str) -> None:
    token, now = sign(language, VISITOR_SECRET, "shop", "u-7"), datetime.now(UTC)
    read_token(token, site(), now + timedelta(minutes=59))
    with pytest.raises(VisitorTokenInvalid, match="expired"):
        read_token(token, site(), now + timedelta(minutes=62))
    with pytest.raises(VisitorTokenInvalid, match="not signed"):
        read_token(sign(language, "x" * 40, "shop", "u-7"), site(), now)
    with pytest.raises(VisitorTokenInvalid, match="aud"):
        read_token(sign(language, VISITOR_SECRET, "other", "u-7"), site(), now)


class Scripts(HTMLParser):
    """The attributes of each script of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.found.append(dict(attrs))


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The example shop in Starlette, which imports the function beside it."""
    monkeypatch.syspath_prepend(str(SIGNED))
    monkeypatch.setenv("VISITOR_SECRET", VISITOR_SECRET)
    monkeypatch.setenv("SESSION_SECRET", "marker-session-secret-2c8d1b90")
    return TestClient(runpy.run_path(str(SIGNED / "shop.py"))["app"])


def test_the_example_shop_signs_who_is_signed_in_and_what_the_page_shows(shop: TestClient) -> None:
    page = shop.post("/sign-in", data={"customer": "u-8"})
    script = Scripts(page.text).found[0]
    visitor = read_token(str(script["data-visitor-token"]), site(), datetime.now(UTC))
    assert (visitor.id, visitor.name) == (script["data-user-id"], 'Max "Mo" Ohm') == ("u-8", 'Max "Mo" Ohm')
    assert visitor.page_context == json.loads(str(script["data-page-context"]))
    assert "private" in page.headers["cache-control"]
    assert VISITOR_SECRET not in page.text
    fresh = shop.get("/visitor-token")
    assert read_token(fresh.text, site(), datetime.now(UTC)).id == "u-8"
    assert "no-store" in fresh.headers["cache-control"]


def test_the_example_shop_gives_a_stranger_no_token(shop: TestClient) -> None:
    scripts = Scripts(shop.get("/").text).found
    assert len(scripts) == 1
    assert "data-visitor-token" not in scripts[0]
    assert shop.get("/visitor-token").status_code == 401
    assert shop.post("/sign-in", data={"customer": "u-9"}).status_code == 400
    assert shop.get("/visitor-token").status_code == 401
