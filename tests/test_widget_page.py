"""The page the visitor is on now, however it says what it is about, and however the visitor came there."""

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.website import Website


def ld(data: Any) -> str:
    return f'<script type="application/ld+json">{json.dumps(data)}</script>'


LAMP = {
    "@type": "Product",
    "name": "Aurora",
    "sku": "NL-1",
    "offers": {"price": "89.00", "priceCurrency": "EUR", "availability": "https://schema.org/InStock"},
}
VASE = {"@type": "Product", "name": "Strand", "offers": {"price": 42.5, "priceCurrency": "EUR"}}

WALK = """([how, address, title, head]) => {
    history[how]({}, "", address);
    document.title = title;
    for (const one of document.querySelectorAll('script[type="application/ld+json"]')) one.remove();
    document.head.insertAdjacentHTML("beforeend", head);
}"""


def last(website: Website) -> dict[str, Any]:
    return website.contexts()[-1]


def facts(website: Website) -> dict[str, Any]:
    """What the last message said of a product."""
    return {key: value for key, value in last(website).items() if not key.startswith("page_")}


def test_in_a_single_page_application_each_message_is_about_the_page_now(website: Website) -> None:
    website.enter(head=ld(LAMP))
    website.ask("One")
    lamp = {"product_name": "Aurora", "product_id": "NL-1", "price": "89.00", "currency": "EUR", "availability": "InStock", "in_stock": True}  # fmt: skip
    assert facts(website) == lamp
    website.page.evaluate(WALK, ["pushState", "/vases/strand?utm=x#top", "Strand", ld(VASE)])
    website.ask("Two")
    assert last(website) == {
        "page_url": f"{website.stage.workshop.url}/vases/strand",
        "page_title": "Strand",
        "page_language": "en",
        "product_name": "Strand",
        "price": "42.5",
        "currency": "EUR",
    }, "and nothing of the page before"
    website.page.evaluate(WALK, ["replaceState", "/about", "About us", ""])
    website.ask("Three")
    about = {"page_url": f"{website.stage.workshop.url}/about", "page_title": "About us", "page_language": "en"}
    assert last(website) == about, "it is no product any more"
    with website.page.expect_navigation():
        website.page.evaluate("history.back()")
    website.page.evaluate(
        "head => { document.title = 'Lamps'; document.head.insertAdjacentHTML('beforeend', head); }", ld(LAMP)
    )
    website.ask("Four")
    assert facts(website) == lamp
    assert last(website)["page_url"].endswith("/website")
    assert len(website.stage.upstream.requests("start")) == 1, "one conversation"


def test_a_router_that_draws_the_body_anew_keeps_the_conversation(website: Website) -> None:
    website.enter("<main>Lamps</main>")
    website.ask("One", "First")
    website.field.fill("Half a")
    website.page.evaluate("""() => {
        const widget = document.querySelector("chat-widget"), body = document.createElement("body");
        body.append("Vases", widget);
        document.body.replaceWith(body);
    }""")
    website.panel.wait_for()
    website.answer("First")
    expect(website.field).to_have_value("Half a")
    website.ask("Two", "Second")
    assert website.lines() == ["mine: One", "bot: First", "mine: Two", "bot: Second"]
    assert len(website.stage.upstream.requests("start")) == 1


MICRODATA = """<div itemscope itemtype="https://schema.org/Product"><h1 itemprop="name">Fjord</h1>
    <span itemprop="brand" itemscope itemtype="https://schema.org/Brand"><b itemprop="name">Nordlicht</b></span>
    <meta itemprop="sku" content="NL-7"><p itemprop="offers" itemscope itemtype="https://schema.org/Offer">
    <meta itemprop="priceCurrency" content="EUR"><meta itemprop="price" content="549.00"><span>€ 549</span>
    <link itemprop="availability" href="https://schema.org/OutOfStock"></p></div>"""

OPEN_GRAPH = """<meta property="og:type" content="product"><meta property="og:title" content="Klar">
    <meta property="product:price:amount" content="35.00"><meta property="product:price:currency" content="EUR">
    <meta property="product:retailer_item_id" content="NL-9"><meta property="product:availability" content="out of stock">"""

SAID: dict[str, tuple[str, dict[str, Any]]] = {
    "microdata": (
        MICRODATA,
        {"product_name": "Fjord", "brand": "Nordlicht", "product_id": "NL-7", "price": "549.00", "currency": "EUR",
         "availability": "OutOfStock", "in_stock": False},
    ),
    "OpenGraph": (
        OPEN_GRAPH,
        {"product_name": "Klar", "product_id": "NL-9", "price": "35.00", "currency": "EUR",
         "availability": "out of stock", "in_stock": False},
    ),
    "a product in a graph": (
        ld({"@context": "https://schema.org", "@graph": [{"@type": "BreadcrumbList"}, LAMP]}),
        {"product_name": "Aurora", "product_id": "NL-1", "price": "89.00", "currency": "EUR", "availability": "InStock", "in_stock": True},
    ),
    "a product in an array": (
        ld([{"@type": "Organization", "name": "Nordlicht"}, VASE]),
        {"product_name": "Strand", "price": "42.5", "currency": "EUR"},
    ),
    "arrays within the product": (
        ld({"@type": ["Product"], "name": "Skog", "brand": [{"name": "Nordlicht"}], "offers": [{"price": 129, "priceCurrency": "EUR"}]}),
        {"product_name": "Skog", "brand": "Nordlicht", "price": "129", "currency": "EUR"},
    ),
    "JSON-LD before all else": (
        OPEN_GRAPH + ld(VASE) + MICRODATA,
        {"product_name": "Strand", "price": "42.5", "currency": "EUR"},
    ),
    "other things before the product": (
        ld({"@type": "Organization", "name": "Nordlicht"}) + ld(VASE),
        {"product_name": "Strand", "price": "42.5", "currency": "EUR"},
    ),
}  # fmt: skip


def test_whatever_way_a_page_says_it_the_bot_is_told(website: Website) -> None:
    website.visit()
    website.widget("void widget.newChat()")
    found: dict[str, dict[str, Any]] = {}
    for name, (said, _) in SAID.items():
        website.page.evaluate(
            """said => {
            for (const one of document.querySelectorAll("meta, [itemscope], script[type]")) one.remove();
            document.head.insertAdjacentHTML("beforeend", said);
        }""",
            said,
        )
        website.widget("void widget.send('Hello')")
        website.until(lambda: len(website.stage.upstream.requests("message")) == len(found) + 1)
        found[name] = facts(website)
    assert found == {name: expected for name, (_, expected) in SAID.items()}


DECLARED = '{"shelf": 7, "price": "1.00"}'


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("off", {"note": 1}),
        ("explicit", {"note": 1}),
        ("auto", {"product_name": "Strand", "price": "42.5", "currency": "EUR", "note": 1}),
        (DECLARED, {"product_name": "Strand", "price": "1.00", "currency": "EUR", "shelf": 7, "note": 1}),
        ("[broken", {"product_name": "Strand", "price": "42.5", "currency": "EUR", "note": 1}),
    ],
)
def test_a_page_decides_what_is_read_of_it(website: Website, declared: str, expected: dict[str, Any]) -> None:
    website.enter(head=ld(VASE), page_context=declared)
    website.widget("widget.pageContext = {note: 1}")
    website.ask()
    if declared == "off":
        assert last(website) == {}
    else:
        assert facts(website) == expected
        assert ("page_title" in last(website)) is (declared != "explicit")
    assert any("page-context is no JSON" in line for line in website.console) is (declared == "[broken")


def test_what_a_listener_says_of_the_page_goes_with_the_message_it_heard(website: Website) -> None:
    website.enter(head=ld(VASE))
    website.page.evaluate("""() => addEventListener("ocs:message:before-send", ({target, detail}) => {
        target.pageContext = {length: detail.message.length};
    })""")
    website.ask("Four")
    website.ask("Fives")
    assert [one["length"] for one in website.contexts()] == [4, 5]
    (start,) = website.stage.upstream.requests("start")
    assert start["body"]["page_context"]["length"] == 4, "with the first one, the session too"


def test_a_button_that_comes_later_asks_with_its_own_context_for_this_once(website: Website) -> None:
    website.visit(head=ld(VASE))
    website.page.evaluate("""() => document.body.insertAdjacentHTML("beforeend",
        `<button data-chat-ask="Does it fit?" data-chat-context='{"variant": "sand", "price": "40"}'>Ask</button>
         <button data-chat-ask="And in blue?"><i>Blue</i></button>`)""")
    website.stage.upstream.order("answers", text="It does", delay=0.05)
    website.button("Ask").click()
    expect(website.panel).to_be_visible()
    website.answer("It does")
    assert (last(website)["variant"], last(website)["price"], last(website)["product_name"]) == (
        "sand",
        "40",
        "Strand",
    )
    website.stage.upstream.order("answers", text="Also", delay=0.05)
    website.page.get_by_text("Blue").click()
    website.answer("Also")
    assert ("variant" in last(website), last(website)["price"]) == (False, "42.5")
    assert website.lines() == ["mine: Does it fit?", "bot: It does", "mine: And in blue?", "bot: Also"]


def test_microdata_may_have_its_values_in_content(website: Website) -> None:
    """As schema.org's own examples write a price: `<span itemprop="price" content="549.00">€ 549</span>`."""
    body = """<div itemscope itemtype="https://schema.org/Product"><h1 itemprop="name">Fjord</h1>
        <span itemprop="price" content="549.00">€ 549</span></div>"""
    website.enter(body)
    website.ask()
    assert website.contexts()[-1]["price"] == "549.00"


def test_before_consent_no_message_leaves_the_browser(website: Website) -> None:
    website.visit("<button data-chat-ask='Does it fit?'>Ask</button>", consent_text="We keep what you write.")
    website.button("Ask").click()
    expect(website.button("I agree")).to_be_visible()
    website.page.wait_for_timeout(500)
    assert not [one for one in website.requests if one.method == "POST"]
    expect(website.button("I agree")).to_be_visible()


def test_closed_the_chat_gives_the_focus_back_to_what_opened_it(website: Website) -> None:
    website.visit(
        "<button onclick=\"document.querySelector('chat-widget').open()\">Help</button>", show_button="false"
    )
    website.button("Help").click()
    expect(website.field).to_be_focused()
    website.page.keyboard.press("Escape")
    expect(website.button("Help")).to_be_focused()


def test_an_attribute_that_changes_brings_no_empty_button(website: Website) -> None:
    website.enter()
    website.widget("widget.bannerMessage = 'Back at nine'")
    expect(website.page.locator(".banner")).to_be_visible()
    expect(website.page.locator(".pill")).to_be_hidden()


def test_an_attribute_that_changes_leaves_the_visitor_where_they_write(website: Website) -> None:
    website.enter()
    website.field.press_sequentially("Half a")
    website.widget("widget.bannerMessage = 'Back at nine'")
    expect(website.page.locator(".banner")).to_be_visible()
    expect(website.field).to_have_value("Half a")
    expect(website.field).to_be_focused()


def test_what_a_page_sends_before_consent_waits_in_the_field(website: Website) -> None:
    website.visit(consent_text="We keep what you write.")
    website.widget("void widget.send('Does it fit?')")
    expect(website.button("I agree")).to_be_focused()
    website.button("I agree").click()
    expect(website.field).to_have_value("Does it fit?")
    expect(website.field).to_be_focused()
    website.stage.upstream.order("answers", text="It does", delay=0.05)
    website.field.press("Enter")
    website.answer("It does")


def test_who_chose_a_place_in_what_they_write_stays_there(website: Website) -> None:
    website.enter()
    website.field.fill("A lamp")
    website.field.press("Home")
    website.widget("widget.bannerMessage = 'Back at nine'")
    expect(website.page.locator(".banner")).to_be_visible()
    website.field.press_sequentially("Not ")
    expect(website.field).to_have_value("Not A lamp")
