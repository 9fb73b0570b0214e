"""What an owner puts into WordPress, Shopify or a tag manager writes the tag that the widget understands."""

import json
import shutil
import subprocess
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from liquid import Environment

from tests.servers import VISITOR_SECRET
from tests.test_visitor_tokens import site
from widget_proxy.visitor_tokens import read_token

EXAMPLES = Path(__file__).parent.parent / "examples"
NAME = 'Lamp "Späti" <b>&\'s'

# As much of WordPress and WooCommerce as the plugin asks for.
WORDPRESS = r"""<?php
define('ABSPATH', '/');
$given = json_decode(file_get_contents('php://stdin'), true);
foreach ($given['constants'] as $name => $value) { define($name, $value); }
$actions = [];
function add_action($hook, $function) { global $actions; $actions[$hook][] = $function; }
function apply_filters($name, $value) {
    global $given;
    return array_merge($value, $given['filters'][$name] ?? []);
}
function esc_attr($text) { return htmlspecialchars((string) $text, ENT_QUOTES); }
function wp_json_encode($value) { return json_encode($value); }
function is_user_logged_in() { global $given; return (bool) $given['user']; }
function wp_get_current_user() { global $given; return (object) $given['user']; }
class Product {
    function __construct(public array $data) {}
    function get_name() { return $this->data['name']; }
    function get_sku() { return $this->data['sku']; }
    function is_in_stock() { return $this->data['in_stock']; }
}
if ($given['product'] !== null) {
    function is_product() { return true; }
    function get_queried_object_id() { return 17; }
    function wc_get_product($id) { global $given; return $id === 17 ? new Product($given['product']) : false; }
    function wc_get_price_to_display($product) { return $product->data['price']; }
    function wc_format_decimal($number, $places) { return number_format($number, $places, '.', ''); }
    function get_woocommerce_currency() { return 'EUR'; }
}
require 'widget-proxy-chat.php';
foreach ($actions['wp_footer'] as $function) { $function(); }
"""
SETTINGS = {"WIDGET_PROXY_URL": "https://chat.example.com/", "WIDGET_PROXY_SITE": "shop"}
LAMP = {"name": NAME, "sku": "NL-1042", "price": 89, "in_stock": False}


class Tags(HTMLParser):
    """The tags of a page and their attributes, as a browser reads them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def only_script(page: str) -> dict[str, Any]:
    """The attributes of the one element there is."""
    ((name, attributes),) = Tags(page).found
    assert name == "script"
    assert "async" in attributes
    return attributes


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The plugin's directory, as its README has it made, and a WordPress to run it in."""
    shutil.copy(EXAMPLES / "wordpress/widget-proxy-chat.php", tmp_path)
    shutil.copy(EXAMPLES / "signed/visitor-token.php", tmp_path)
    (tmp_path / "wordpress.php").write_text(WORDPRESS)
    return tmp_path


def footer(plugin: Path, **given: Any) -> str:
    """What the plugin writes at the end of a page."""
    page = {"constants": SETTINGS, "user": None, "product": None, "filters": {}} | given
    command = ["php", "-d", "error_reporting=E_ALL", "-d", "display_errors=stderr", "wordpress.php"]
    outcome = subprocess.run(
        command, input=json.dumps(page), capture_output=True, text=True, cwd=plugin, timeout=30, check=True
    )
    assert outcome.stderr == ""
    return outcome.stdout


def test_wordpress_writes_the_tag_of_a_site_without_a_shop(plugin: Path) -> None:
    assert only_script(footer(plugin)) == {
        "src": "https://chat.example.com/widget.js",
        "data-site": "shop",
        "async": None,
    }


def test_wordpress_tells_the_product_and_gives_a_guest_no_token(plugin: Path) -> None:
    constants = SETTINGS | {"WIDGET_PROXY_VISITOR_SECRET": VISITOR_SECRET}
    script = only_script(footer(plugin, product=LAMP, constants=constants))
    assert json.loads(script["data-page-context"]) == {
        "product_name": NAME,
        "product_id": "NL-1042",
        "price": "89.00",
        "currency": "EUR",
        "in_stock": False,
    }
    assert not {"data-visitor-token", "data-user-id"} & script.keys()


def test_wordpress_signs_customer_and_product(plugin: Path) -> None:
    user = {"ID": 7, "display_name": "Zoë"}
    constants = SETTINGS | {"WIDGET_PROXY_VISITOR_SECRET": VISITOR_SECRET}
    page = footer(plugin, user=user, product=LAMP | {"sku": ""}, constants=constants)
    script = only_script(page)
    visitor = read_token(script["data-visitor-token"], site(), datetime.now(UTC))
    assert (visitor.id, visitor.name, script["data-user-id"]) == ("wp-7", "Zoë", "wp-7")
    assert visitor.page_context == json.loads(script["data-page-context"])
    assert "product_id" not in visitor.page_context
    assert VISITOR_SECRET not in page


def test_wordpress_without_a_secret_claims_no_more_than_an_id(plugin: Path) -> None:
    script = only_script(footer(plugin, user={"ID": 7, "display_name": "Zoë"}))
    assert script["data-user-id"] == "wp-7"
    assert "data-visitor-token" not in script


def test_wordpress_takes_what_a_theme_adds(plugin: Path) -> None:
    filters = {"widget_proxy_page_context": {"season": "sale"}, "widget_proxy_attributes": {"data-position": "left"}}
    script = only_script(footer(plugin, filters=filters))
    assert json.loads(script["data-page-context"]) == {"season": "sale"}
    assert script["data-position"] == "left"


def test_wordpress_writes_nothing_before_it_is_told_where_the_proxy_is(plugin: Path) -> None:
    assert footer(plugin, constants={}) == ""


def shopify(**page: Any) -> dict[str, Any]:
    """The attributes that the snippet writes on this page."""
    cart = {"item_count": 2, "currency": {"iso_code": "EUR"}}
    text = (EXAMPLES / "shopify/chat.liquid").read_text()
    return only_script(Environment(extra=True).from_string(text).render(cart=cart, **page))


def test_shopify_tells_the_variant_and_the_basket() -> None:
    variant = {"sku": None, "title": "Green", "price": 8950, "available": True}
    product = {"title": NAME, "selected_or_first_available_variant": variant}
    script = shopify(product=product, customer={"id": 7})
    assert json.loads(script["data-page-context"]) == {
        "basket_items": 2,
        "product_name": NAME,
        "product_id": None,
        "variant": "Green",
        "price": 89.5,
        "currency": "EUR",
        "in_stock": True,
    }
    assert (script["data-site"], script["data-user-id"]) == ("shop", "shopify-7")


def test_shopify_tells_of_a_page_without_a_product_the_basket_alone() -> None:
    script = shopify()
    assert json.loads(script["data-page-context"]) == {"basket_items": 2}
    assert "data-user-id" not in script


# As much of a browser as the tag asks for.
BROWSER = """
const appended = [];
const there = GIVEN.there;
globalThis.window = globalThis;
if (GIVEN.dataLayer) globalThis.dataLayer = GIVEN.dataLayer;
globalThis.document = {
  querySelector: () => there || appended[0] || null,
  createElement: (name) => ({ name, attributes: {}, setAttribute(key, value) { this.attributes[key] = value; } }),
  body: { appendChild: (one) => appended.push(one) },
};
CODE
CODE
console.log(JSON.stringify(appended));
"""


def tag_manager(data_layer: Any, there: bool = False) -> list[dict[str, Any]]:
    """The elements that the container makes, run twice."""
    text = (EXAMPLES / "tag-manager/tag.html").read_text()
    code = text.removeprefix("<script>").removesuffix("</script>\n")
    given = json.dumps({"dataLayer": data_layer, "there": there})
    program = BROWSER.replace("GIVEN", f"({given})").replace("CODE", code)
    outcome = subprocess.run(["node", "-e", program], capture_output=True, text=True, timeout=30, check=True)
    found: list[dict[str, Any]] = json.loads(outcome.stdout)
    return found


def test_a_tag_manager_makes_the_tag_once_with_the_product_last_viewed() -> None:
    def viewed(name: str) -> dict[str, Any]:
        return {"event": "view_item", "ecommerce": {"items": [{"item_name": name, "item_id": "NL-1", "price": 89}]}}

    (script,) = tag_manager([{"event": "gtm.js"}, viewed("Vase"), None, {"ecommerce": None}, viewed(NAME)])
    assert script["src"] == "https://chat.example.com/widget.js"
    assert script["attributes"]["data-site"] == "shop"
    context = json.loads(script["attributes"]["data-page-context"])
    assert context == {"product_name": NAME, "product_id": "NL-1", "price": 89}


@pytest.mark.parametrize("data_layer", [None, [], [{"event": "view_item", "ecommerce": {"items": []}}]])
def test_a_tag_manager_needs_no_product(data_layer: Any) -> None:
    (script,) = tag_manager(data_layer)
    assert script["attributes"] == {"data-site": "shop"}


def test_a_tag_manager_leaves_a_page_alone_that_has_the_chat() -> None:
    assert tag_manager([], there=True) == []
