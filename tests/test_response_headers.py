import re
from pathlib import Path

import pytest

from tests.servers import SHOP_ORIGIN, Proxy

STRICT = "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/sites/shop", 200),
        ("GET", "/v1/sites/nowhere", 404),
        ("OPTIONS", "/v1/sites/shop", 204),
        ("GET", "/v1/session/messages", 401),
        ("GET", "/healthz", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/healthz", 405),
    ],
)
def test_what_is_no_document_may_do_nothing_and_be_embedded_nowhere(
    method: str, path: str, status: int, proxy: Proxy
) -> None:
    with proxy.client() as client:
        answer = client.request(method, path, headers={"Access-Control-Request-Method": "GET"})
    assert answer.status_code == status
    assert answer.headers["Content-Security-Policy"] == STRICT
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in answer.headers


def test_so_says_a_refusal_of_the_gate(proxy: Proxy) -> None:
    with proxy.client("https://elsewhere.example.com") as client:
        answer = client.get("/v1/sites/shop")
    assert answer.status_code == 403
    assert answer.headers["Content-Security-Policy"] == STRICT


def test_so_says_a_stream(proxy: Proxy) -> None:
    with proxy.client(handle=proxy.start_session()) as client, client.stream("GET", "/v1/session/events") as answer:
        assert answer.headers["Content-Security-Policy"] == STRICT
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/widget.js", "/widget/panel.js", "/widget/panel.css", "/openapi.json"])
def test_what_is_for_everybody_may_be_embedded_anywhere(path: str, proxy: Proxy) -> None:
    with proxy.client(origin=None) as client:
        answer = client.get(path)
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Content-Security-Policy"] == STRICT


@pytest.mark.parametrize("path", ["/", "/sites/shop/chat", "/sites/shop/preview", "/sites/nowhere/chat"])
def test_a_page_has_one_policy_and_it_is_its_own(path: str, proxy: Proxy) -> None:
    with proxy.client(origin=None) as client:
        answer = client.get(path)
    (policy,) = answer.headers.get_list("Content-Security-Policy")
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert len(answer.headers.get_list("Referrer-Policy")) == 1
    assert "camera=()" in answer.headers["Permissions-Policy"]


def test_the_documented_policy_of_a_page_names_the_proxy_and_nobody_else() -> None:
    text = (Path(__file__).parent.parent / "docs/csp.md").read_text()
    (policy,) = re.findall(r"```\n(.*?)\n```", text, re.DOTALL)
    assert set(re.findall(r"https?://[^\s;]+", policy)) == {"https://chat.example.com"}
    assert SHOP_ORIGIN not in policy
