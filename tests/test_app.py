"""The application as a whole: what is documented is what is there."""

import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from widget_proxy.api import about
from widget_proxy.app import create_app, present
from widget_proxy.config import Settings, Site
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID
from widget_proxy.handles import AttachedFile, ChatSession, Handles
from widget_proxy.messages import Attachment, Message

ROOT = Path(__file__).parent.parent
ORIGIN = "https://shop.example.com"


SITE_SETTINGS = {
    "slug": "shop",
    "chatbot_id": UUID(DEMO_CHATBOT_ID),
    "embed_key": "marker-embed-key",
    "allowed_origins": [ORIGIN],
    "upstream_url": "http://127.0.0.1:9",
}
SITE = Site.model_validate(SITE_SETTINGS)
SESSION = ChatSession("shop", "s", "t", ORIGIN, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def client() -> TestClient:
    settings = {"secret_key": "k" * 32, "server": {"metrics_token": "t" * 16}, "sites": {"shop": SITE_SETTINGS}}
    return TestClient(create_app(Settings.model_validate(settings)))


def documented() -> list[tuple[str, str]]:
    """The calls that docs/api.md names."""
    found = re.findall(r"^\| `(GET|POST) (/[^`?]*)", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    expired = Handles(["k" * 32]).seal_attached(SESSION, AttachedFile("shop", SESSION.key, "1", "a.txt"))
    names = {"{site}": "shop", "{task}": "x", "{ref}": expired}
    return [(method, re.sub(r"{\w+}", lambda name: names[name[0]], path)) for method, path in found]


def test_the_docs_name_the_calls() -> None:
    assert len(documented()) == 15


@pytest.mark.parametrize(("method", "path"), documented())
def test_a_documented_call_exists(client: TestClient, method: str, path: str) -> None:
    response = client.request(method, path, headers={"Origin": ORIGIN})
    assert response.status_code not in {404, 405}, response.text


def test_an_attachment_is_shown_without_upstreams_address() -> None:
    message = Message(None, "assistant", "see", (Attachment("a.pdf", "application/pdf", 7, "marker-file-id"),))
    event = present(message, "k", None, SITE, SESSION)
    assert event.data["attachments"] == [{"name": "a.pdf", "size": 7, "content_type": "application/pdf", "url": None}]
    assert "marker-file-id" not in str(event)


def test_an_image_is_shown_where_its_host_is_the_sites() -> None:
    message = Message(None, "assistant", "![Lamp](https://images.example.com/lamp.png)")
    assert "<img" not in present(message, "k", None, SITE, SESSION).data["html"]
    showing = Site.model_validate(SITE_SETTINGS | {"image_hosts": ["images.example.com"]})
    assert (
        '<img src="https://images.example.com/lamp.png"' in present(message, "k", None, showing, SESSION).data["html"]
    )


def test_a_sites_own_look_is_told_and_what_is_usual_is_not() -> None:
    look = {
        "accent": "#1f5f5b", "theme": "dark", "language": "de", "banner_message": "Back at nine", "feedback": True,
        "allow_full_screen": False, "sound": False, "welcome_messages": ["Moin"],
    }  # fmt: skip
    told = about(Site.model_validate(SITE_SETTINGS | {"look": look}))
    assert told["look"] == {
        "accent": "#1f5f5b", "position": "right", "theme": "dark", "language": "de", "banner_message": "Back at nine",
        "feedback": True, "allow_full_screen": False,
    }  # fmt: skip
    assert told["texts"] == {"welcome_messages": ["Moin"], "starter_questions": []}
    assert about(SITE)["look"] == {"accent": "#2457d6", "position": "right"}
