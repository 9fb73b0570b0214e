"""The pages for people: what is on them, who may frame and index them, and that nothing in a setting becomes markup."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest
import segno
from starlette.testclient import TestClient

from widget_proxy import __version__
from widget_proxy.app import create_app
from widget_proxy.assets import languages
from widget_proxy.config import Settings
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID

ROOT = Path(__file__).parent.parent
EMBED_KEY = "marker-embed-key"
SHOP = "https://shop.example.com"
PUBLIC = "https://chat.example.com"
HOSTILE = "</script><script>alert(1)</script>{{7*7}}<img src=x onerror=alert(1)>\"'&"


def client(host: str = "127.0.0.1:8080", *, scheme: str = "http", site: Any = None, **settings: Any) -> TestClient:
    """The proxy with one site `shop`, asked by this name."""
    shop = {
        "slug": "shop",
        "chatbot_id": UUID(DEMO_CHATBOT_ID),
        "embed_key": EMBED_KEY,
        "allowed_origins": [SHOP],
        "upstream_url": "http://127.0.0.1:9",
    }
    sites = {"shop": shop | (site or {})}
    app = create_app(Settings.model_validate({"secret_key": "k" * 32, "sites": sites} | settings))
    return TestClient(app, base_url=f"{scheme}://{host}")


def policy(response: Any) -> dict[str, str]:
    """The Content-Security-Policy, by directive."""
    directives = [one.strip().partition(" ") for one in response.headers["Content-Security-Policy"].split(";")]
    return {name: value for name, _, value in directives}


class Markup(HTMLParser):
    """The tags of a page, its inline scripts, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tags and self.tags[-1][0] == "script" and data.strip():
            self.inline.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


PAGES = ["/", "/sites/shop/preview", "/sites/shop/chat", "/sites/nobody/chat"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_and_styles_nothing_but_files_of_ours(path: str) -> None:
    response = client().get(path)
    rules = policy(response)
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "noindex" in response.headers["X-Robots-Tag"]
    markup = Markup(response.text)
    assert not [name for _, attributes in markup.tags for name in attributes if name == "style" or name[:2] == "on"]
    assert not markup.all("style")
    assert all(one.get("src") or one["type"] == "application/json" for one in markup.all("script"))
    for url in [one.get("src") or one.get("href") for one in (*markup.all("script"), *markup.all("link"))]:
        assert url is None or client().get(url).status_code == 200


def test_only_the_preview_can_be_framed_and_by_our_own_page_alone() -> None:
    framed = {path: policy(client().get(path))["frame-ancestors"] for path in PAGES}
    assert framed.pop("/sites/shop/preview") == "'self'"
    assert set(framed.values()) == {"'none'"}


def test_the_preview_has_no_origin_of_its_own_and_can_reach_the_widgets_files_alone() -> None:
    rules = policy(client().get("/sites/shop/preview"))
    assert rules["sandbox"].split() == ["allow-scripts", "allow-forms"]
    assert rules["connect-src"] == "http://127.0.0.1:8080/widget/"


@pytest.mark.parametrize("path", PAGES)
def test_nothing_in_a_setting_becomes_markup(path: str) -> None:
    look = {"welcome_messages": [HOSTILE], "starter_questions": [HOSTILE + "\u2028"]}
    hostile = {"title": HOSTILE[:80], "look": look, "languages": [HOSTILE]}
    response, plain = client(site=hostile).get(path), client(site={"title": "Plain"}).get(path)
    assert response.status_code == plain.status_code
    assert "<script>alert" not in response.text
    assert "49" not in response.text.replace(__version__, "")
    shape = [[(tag, sorted(attributes)) for tag, attributes in Markup(one.text).tags] for one in (response, plain)]
    assert shape[0] == shape[1]
    if path == "/sites/shop/chat":
        assert (
            f"<title>{html.escape(HOSTILE[:80]).replace('&quot;', '&#34;').replace('&#x27;', '&#39;')}"
            in response.text
        )


def test_the_data_in_a_page_is_what_was_set() -> None:
    look = {"welcome_messages": [HOSTILE]}
    hostile = client(site={"title": HOSTILE[:80], "look": look})
    about = json.loads(Markup(hostile.get("/sites/shop/preview").text).inline[0])
    assert about["title"] == HOSTILE[:80]
    assert about["texts"]["welcome_messages"] == [HOSTILE]
    (form,) = [one for one in Markup(hostile.get("/").text).all("form") if one["id"] == "options"]
    assert json.loads(form["data-standard"] or "")["welcome-messages"] == [HOSTILE]


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_the_key_or_the_chatbot_in_it(path: str) -> None:
    text = client().get(path).text
    assert EMBED_KEY not in text
    assert DEMO_CHATBOT_ID not in text


# The front page


def test_the_tag_names_the_public_address() -> None:
    page = client(server={"public_url": f"{PUBLIC}/"}).get("/")
    assert f'<script src="{PUBLIC}/widget.js" data-site="shop" async></script>' in html.unescape(page.text)


def test_without_one_it_names_the_address_it_was_asked_by() -> None:
    text = html.unescape(client("Chat.Example.org:8443", scheme="https").get("/").text)
    assert '<script src="https://chat.example.org:8443/widget.js" data-site="shop" async></script>' in text


@pytest.mark.parametrize("host", ["", "a b", "evil.example; script-src *", "x'>", "x" * 400, "evil.example/path"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    for path in ("/", "/sites/shop/preview"):
        response = client().get(path, headers={"Host": host})
        assert response.status_code == 400
        assert response.json()["code"] == "bad_request"


def test_every_site_can_be_chosen_and_no_other() -> None:
    other = {
        "slug": "handbook",
        "title": "Ask the handbook",
        "chatbot_id": UUID(DEMO_CHATBOT_ID),
        "embed_key": EMBED_KEY,
        "allowed_origins": ["https://*.handbook.example.com"],
        "upstream_url": "http://127.0.0.1:9",
    }
    settings = Settings.model_validate(
        {"secret_key": "k" * 32, "sites": {"shop": other | {"slug": "shop", "title": "Shop"}, "handbook": other}}
    )
    browser = TestClient(create_app(settings), base_url="http://127.0.0.1:8080")
    assert 'data-site="shop"' in html.unescape(browser.get("/").text)
    page = browser.get("/?site=handbook")
    assert 'data-site="handbook" async' in html.unescape(page.text)
    assert "https://*.handbook.example.com" in page.text
    links = [(one.get("href"), one.get("aria-current")) for one in Markup(page.text).all("a")]
    assert ("/?site=shop", None) in links
    assert ("/?site=handbook", "page") in links
    missing = browser.get("/?site=nobody")
    assert missing.status_code == 404
    assert "There is no chat here" in missing.text


def test_the_builder_begins_with_the_sites_own_look() -> None:
    site = {"look": {"accent": "#1F5F5B", "position": "left", "starter_questions": ["One?", "Two?"]}}
    markup = Markup(client(site=site).get("/").text)
    fields = markup.all("input")
    assert [one["value"] for one in fields if one.get("name") == "accent"] == ["#1f5f5b"]
    assert [one["value"] for one in fields if one.get("name") == "position" and "checked" in one] == ["left"]
    assert "One?\nTwo?" in markup.text


def test_the_builder_leaves_out_what_the_site_says_anyway() -> None:
    look = {"feedback": True, "banner_message": "Back at nine", "theme": "dark", "language": "de", "position": "left"}
    markup = Markup(client(site={"look": look}).get("/").text)
    (form,) = [one for one in markup.all("form") if one["id"] == "options"]
    standard = json.loads(form["data-standard"] or "")
    assert (standard["feedback"], standard["banner-message"], standard["theme"]) == ("true", "Back at nine", "dark")
    assert standard["language"] == "de"
    assert standard["position"] == "right", "which no tag has of itself"
    checked = {(one.get("name"), one.get("value")) for one in markup.all("input") if "checked" in one}
    assert {("feedback", "true"), ("theme", "dark"), ("position", "left")} <= checked
    assert next(one.get("value") for one in markup.all("option") if "selected" in one) == "de"


def test_it_offers_the_languages_that_there_are() -> None:
    offered = [one["value"] for one in Markup(client().get("/").text).all("option")]
    assert offered[: len(languages()) + 1] == ["en", "auto", *languages()[1:]]


# The widget under a version's address


def test_the_pinned_loader_is_the_loader_for_ever() -> None:
    browser = client()
    pinned, current = browser.get(f"/widget@{__version__}.js"), browser.get("/widget.js")
    assert pinned.content == current.content == (ROOT / "static/widget.js").read_bytes()
    assert pinned.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "immutable" not in current.headers["Cache-Control"]
    assert pinned.headers["Access-Control-Allow-Origin"] == "*"
    assert pinned.headers["Content-Type"] == current.headers["Content-Type"]


def test_the_integrity_on_the_page_is_the_loaders() -> None:
    browser = client()
    (form,) = [one for one in Markup(browser.get("/").text).all("form") if one["id"] == "options"]
    digest = hashlib.sha384(browser.get(f"/widget@{form['data-version']}.js").content).digest()
    assert form["data-integrity"] == f"sha384-{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("version", ["0.0.1", "latest", f"{__version__}.1", "..", "%2e%2e"])
def test_another_versions_address_says_what_to_do(version: str) -> None:
    response = client().get(f"/widget@{version}.js")
    assert response.status_code == 404
    assert response.headers["Access-Control-Allow-Origin"] == "*", "so that a page's console says 404"
    assert "no-store" in response.headers["Cache-Control"]
    assert __version__ in response.json()["detail"]
    assert "/widget.js" in response.json()["detail"]


# The full-page chat


def test_the_chat_page_is_the_sites() -> None:
    site = {"title": "Ask the shop", "look": {"accent": "#1f5f5b"}, "languages": ["de", "en"]}
    response = client(site=site).get("/sites/shop/chat")
    markup = Markup(response.text)
    assert markup.all("html") == [{"lang": "de", "data-theme": "auto"}]
    assert "<title>Ask the shop</title>" in response.text
    (element,) = markup.all("chat-widget")
    assert element["site"] == "shop"
    assert element["mode"] == "kiosk"
    metas = {one.get("name"): one.get("content") for one in markup.all("meta")}
    assert metas["theme-color"] == "#1f5f5b"
    assert metas["robots"] == "noindex"
    assert "needs JavaScript" in markup.text
    assert policy(response)["connect-src"] == "'self'"


def test_the_chat_page_looks_as_the_site_says() -> None:
    look = {
        "theme": "dark",
        "language": "fr",
        "header_text": "Demandez",
        "translations_url": "https://t.example/a;b?c",
    }
    response = client(site={"title": "Ask the shop", "look": look}).get("/sites/shop/chat")
    markup = Markup(response.text)
    assert markup.all("html") == [{"lang": "fr", "data-theme": "dark"}]
    assert "<title>Demandez</title>" in response.text
    assert "<h1>Demandez</h1>" in response.text
    (element,) = markup.all("chat-widget")
    assert element["theme"] == "dark"
    assert "language" not in element, "so that the site's texts win over the language's"
    assert policy(response)["connect-src"] == "'self' https://t.example"


def test_in_the_pages_own_language_it_is_that_of_the_chatbot() -> None:
    for look in ({}, {"language": "auto"}):
        markup = Markup(client(site={"languages": ["de", "en"], "look": look}).get("/sites/shop/chat").text)
        assert markup.all("html")[0]["lang"] == "de"


def test_its_policy_names_the_hosts_of_images() -> None:
    plain, showing = client(), client(site={"image_hosts": ["images.example.com", "*.cdn.example"]})
    own = "'self' blob: data:"
    assert policy(plain.get("/sites/shop/chat"))["img-src"] == own
    named = f"{own} https://images.example.com https://*.cdn.example"
    assert policy(showing.get("/sites/shop/chat"))["img-src"] == named
    assert policy(showing.get("/"))["img-src"] == "'self'"


def test_the_front_page_shows_what_a_page_can_tell_the_bot() -> None:
    schema = {
        "properties": {"sku": {"type": "string", "description": HOSTILE}, "price": {"type": ["number", "null"]}},
        "required": ["sku"],
    }
    site = {"page_context_schema": schema, "visitor_secret": "v" * 32, "signed_only": ["price", "stock"]}
    page = client(site=site).get("/").text
    shown = re.search(r'<dl class="keys">(.*?)</dl>', page, re.DOTALL)
    assert shown is not None
    assert "alert" in shown[1]
    assert "<img" not in shown[1]
    words = " ".join(re.sub(r"<[^>]+>", " ", shown[1].replace(html.escape(HOSTILE, quote=True), "")).split())
    assert words.startswith("sku string required")
    assert words.endswith("price number or null signed only stock signed only")
    assert "sites.shop.page_context_schema" in page
    assert "What a page tells the bot" not in client().get("/").text


def test_where_visitors_need_a_token_there_is_no_chat_page() -> None:
    site = {"visitor_secret": "v" * 32, "visitor_token": "required"}
    with client(site=site) as asked:
        assert asked.get("/sites/shop/chat").status_code == 404
        assert asked.get("/sites/shop/qr.svg").status_code == 404
        assert "visitors come with a token" in asked.get("/").text
    assert client(site=site | {"visitor_token": "optional"}).get("/sites/shop/chat").status_code == 200


def test_its_address_is_drawn_as_a_qr_code() -> None:
    browser = client(server={"public_url": PUBLIC})
    response = browser.get("/sites/shop/qr.svg")
    assert response.headers["Content-Type"] == "image/svg+xml"
    drawing = ElementTree.fromstring(response.content)  # noqa: S314 # our own
    address = f"{PUBLIC}/sites/shop/chat"
    title = drawing.find("{*}title")
    assert title is not None
    assert title.text == address
    dots = re.search(r' d="([^"]+)"', segno.make(address, error="m", micro=False).svg_inline())
    assert dots is not None
    paths = {one.get("stroke") or one.get("fill"): one.get("d") for one in drawing.findall(".//{*}path")}
    assert paths["#000"] == dots[1]
    assert "#fff" in paths, "a dark page must not take the light of it"
    assert address in Markup(browser.get("/").text).text


@pytest.mark.parametrize("path", ["/sites/nobody/chat", "/sites/shop%2f..%2fshop/chat", "/sites/SHOP/chat"])
def test_a_chat_that_is_not_there_is_a_page_that_says_so(path: str) -> None:
    response = client().get(path)
    assert response.status_code == 404
    if "%2f" not in path:
        assert "There is no chat here" in response.text


# Who may use the site from there


def ask(browser: TestClient, **headers: str) -> int:
    status: int = browser.get(
        "/v1/sites/shop", headers={name.replace("_", "-"): value for name, value in headers.items()}
    ).status_code
    return status


def test_the_chat_page_may_use_its_site_as_browsers_ask() -> None:
    browser = client("chat.example.com", scheme="https", server={"public_url": PUBLIC})
    assert ask(browser, sec_fetch_site="same-origin") == 200
    assert ask(browser, origin=PUBLIC) == 200, "as a POST does"
    assert ask(browser, referer=f"{PUBLIC}/sites/shop/chat") == 200, "over plain HTTP, without Sec-Fetch-Site"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "cross-site", "referer": f"{PUBLIC}/"},
        {"sec_fetch_site": "same-site", "referer": f"{PUBLIC}/"},
        {"referer": "https://evil.example/https://chat.example.com/"},
        {"referer": f"{PUBLIC}.evil.example/"},
        {"origin": "null"},
        {"origin": "https://evil.example", "sec_fetch_site": "same-origin"},
        {"origin": "https://chat.example.com.evil.example"},
        {"origin": "http://chat.example.com"},
    ],
)
def test_nobody_else_may(headers: dict[str, str]) -> None:
    assert ask(client("chat.example.com", scheme="https", server={"public_url": PUBLIC}), **headers) == 403


def test_a_name_that_only_the_request_knows_is_not_trusted() -> None:
    """A website can point a name of its own here, and its scripts then have our origin (DNS rebinding)."""
    rebound = client("evil.example")
    assert ask(rebound, sec_fetch_site="same-origin") == 403
    assert ask(rebound, origin="http://evil.example") == 403
    assert rebound.get("/sites/shop/chat").status_code == 404
    assert rebound.get("/sites/shop/qr.svg").status_code == 404
    assert "server.public_url" in rebound.get("/").text


def test_a_name_that_is_not_the_public_one_gets_nothing_by_being_asked_by_it() -> None:
    rebound = client("evil.example", scheme="https", server={"public_url": PUBLIC})
    assert ask(rebound, sec_fetch_site="same-origin") == 403
    assert ask(rebound, sec_fetch_site="same-origin", referer="https://evil.example/") == 403
    assert ask(rebound, origin="https://evil.example") == 403


def test_a_front_server_may_keep_the_public_name_to_itself() -> None:
    behind = client("127.0.0.1:8080", server={"public_url": PUBLIC})
    assert ask(behind, sec_fetch_site="same-origin", referer=f"{PUBLIC}/sites/shop/chat") == 200
    assert behind.get("/sites/shop/chat").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "192.168.1.20", "[::1]:8080"])
def test_an_address_nobody_can_claim_needs_no_setting(host: str) -> None:
    browser = client(host)
    assert ask(browser, origin=f"http://{host}") == 200
    assert browser.get("/sites/shop/chat").status_code == 200


def test_another_name_than_the_public_one_is_not_trusted_either() -> None:
    browser = client("127.0.0.1:8080", server={"public_url": PUBLIC})
    assert ask(browser, origin="http://127.0.0.1:8080") == 403


# Switched off


def test_without_the_front_page_nothing_shows_the_sites() -> None:
    browser = client(pages={"front": False})
    for path in ("/", "/sites/shop/preview"):
        response = browser.get(path)
        assert response.status_code == 404
        assert response.json()["code"] == "not_found"
    assert browser.get("/sites/shop/chat").status_code == 200
    assert browser.get("/healthz").status_code == 200


def test_without_the_chat_page_our_origin_may_nothing() -> None:
    browser = client(pages={"chat": False}, server={"public_url": PUBLIC})
    assert browser.get("/sites/shop/chat").status_code == 404
    assert "There is no chat here" in browser.get("/sites/shop/chat").text
    assert browser.get("/sites/shop/qr.svg").status_code == 404
    assert "/sites/shop/chat" not in browser.get("/").text
    assert ask(browser, sec_fetch_site="same-origin") == 403
    assert ask(browser, origin=PUBLIC) == 403
    assert ask(browser, origin=SHOP) == 200


@pytest.mark.parametrize(
    ("written", "read"),
    [("HTTPS://Chat.Example.com/", PUBLIC), (f"{PUBLIC}:443", PUBLIC), ("http://[::1]:8080", "http://[::1]:8080")],
)
def test_the_public_address_is_read_as_browsers_write_it(written: str, read: str) -> None:
    settings = Settings.model_validate(
        {
            "secret_key": "k" * 32,
            "server": {"public_url": written},
            "upstream": {"url": "https://o.example"},
            "sites": {
                "shop": {"slug": "shop", "chatbot_id": DEMO_CHATBOT_ID, "embed_key": "x", "allowed_origins": [SHOP]}
            },
        }
    )
    assert settings.server.public_url == read


@pytest.mark.parametrize(
    "written", ["chat.example.com", f"{PUBLIC}/chat", "ftp://x.example", f"{PUBLIC}:99999", "", "https://a b"]
)
def test_a_public_address_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        client(server={"public_url": written})


def test_the_pages_files_are_no_part_of_the_widget() -> None:
    assert not [
        path for path in (ROOT / "static/widget").rglob("*") if re.search(r"builder|preview|pages", path.name)
    ]
