"""The main job in the other browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Stage
from tests.firefox import Firefox, running_firefox

ROOT = "document.querySelector('chat-widget').shadowRoot"


@pytest.fixture
def firefox(tmp_path: Path) -> Iterator[Firefox]:
    """A Firefox. Whatever goes uncaught in the page fails the test."""
    named = os.environ.get("FIREFOX")
    found = next((path for one in (named, "firefox-esr", "firefox") if one and (path := shutil.which(one))), None)
    assert found, "no Firefox found: install it, or set FIREFOX to its path (scripts/test does it with apt)"
    with running_firefox(found, tmp_path) as firefox:
        yield firefox
        assert firefox.uncaught == []


def lines(firefox: Firefox) -> list[str]:
    """What the conversation shows."""
    script = f"[...{ROOT}.querySelectorAll('.item :is(.mine, .bot)')].map(one => one.innerText.trim())"
    found: list[str] = firefox.evaluate(script)
    return found


def answer(firefox: Firefox, text: str) -> None:
    """Wait for the bot's message with this text."""
    firefox.wait_for(f"[...{ROOT}.querySelectorAll('[role=log] .bot')].some(one => one.innerText.includes({text!r}))")


def test_a_visitor_asks_and_is_answered_and_comes_back(firefox: Firefox, stage: Stage) -> None:
    firefox.go(f"{stage.origin}/aurora-desk-lamp.html")
    firefox.click(f"{ROOT}.querySelector('.launcher')")
    firefox.wait_for(f"{ROOT}.activeElement?.localName == 'textarea'")
    firefox.type("What does it cost?")
    firefox.press("Enter")
    answer(firefox, "costs €89.00")
    assert lines(firefox) == ["What does it cost?", "Aurora Desk Lamp costs €89.00 and is in stock."]
    firefox.go(f"{stage.origin}/birk-side-table.html")
    answer(firefox, "costs €89.00")
    firefox.click(f"{ROOT}.querySelector('textarea')")
    firefox.type("Is it in stock?")
    firefox.press("Enter")
    answer(firefox, "Birk Side Table is out of stock")
    assert len(lines(firefox)) == 4
    firefox.press("Escape")
    firefox.wait_for(f"{ROOT}.activeElement?.className == 'launcher'")
    (start,) = stage.upstream.requests("start")
    assert start["body"]["page_context"]["product_name"] == "Aurora Desk Lamp"


def test_a_failed_answer_is_tried_again(firefox: Firefox, stage: Stage) -> None:
    stage.upstream.order("answers", text="", delay=0.2, outcome="fail")
    firefox.go(f"{stage.origin}/aurora-desk-lamp.html")
    firefox.click(f"{ROOT}.querySelector('.launcher')")
    firefox.wait_for(f"{ROOT}.activeElement?.localName == 'textarea'")
    firefox.type("What does it cost?")
    firefox.press("Enter")
    firefox.click(f"{ROOT}.querySelector('.retry')")
    answer(firefox, "costs €89.00")
