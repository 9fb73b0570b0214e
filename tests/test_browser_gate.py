"""The gate before `/v1`: origins and CORS, errors and crashes included."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from widget_proxy.browser_gate import BrowserGate
from widget_proxy.problems import handle_crash

ORIGIN = "https://shop.example.com"


@pytest.fixture
def client() -> TestClient:
    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello", headers={"Vary": "Accept"})

    async def crash(request: Request) -> PlainTextResponse:
        raise RuntimeError("marker-secret")

    routes = [Route("/v1/hello", hello), Route("/v1/crash", crash), Route("/open", hello)]
    app = Starlette(routes=routes, exception_handlers={Exception: handle_crash})
    return TestClient(BrowserGate(app, lambda origin: origin == ORIGIN), raise_server_exceptions=False)


def allowed(response: httpx2.Response) -> str | None:
    return response.headers.get("Access-Control-Allow-Origin")


def test_an_allowed_origin_is_named_exactly(client: TestClient) -> None:
    response = client.get("/v1/hello", headers={"Origin": ORIGIN})
    assert allowed(response) == ORIGIN
    assert response.headers["Vary"] == "Accept, Origin"
    assert (
        response.headers["Access-Control-Expose-Headers"] == "RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
    )


def test_a_crash_carries_cors_too_and_none_of_its_words(client: TestClient) -> None:
    response = client.get("/v1/crash", headers={"Origin": ORIGIN})
    assert response.status_code == 500
    assert allowed(response) == ORIGIN
    assert response.json()["code"] == "internal_error"
    assert "marker-secret" not in response.text


@pytest.mark.parametrize(
    "origins", [[], ["https://evil.example"], [ORIGIN, ORIGIN], [ORIGIN, "https://evil.example"], [""]]
)
def test_anyone_else_is_stopped_before_anything_runs(client: TestClient, origins: list[str]) -> None:
    response = client.get("/v1/crash", headers=[("Origin", origin) for origin in origins])
    assert response.status_code == 403
    assert allowed(response) is None
    assert response.headers["Vary"] == "Origin"


def test_what_is_not_v1_needs_no_origin(client: TestClient) -> None:
    assert client.get("/open").text == "hello"


def test_a_preflight_is_answered_and_an_options_request_is_not_one(client: TestClient) -> None:
    preflight = client.options("/v1/hello", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "GET"})
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert client.options("/v1/hello", headers={"Origin": ORIGIN}).status_code == 405
