"""The gate before `/v1`: origins and CORS, errors and crashes included."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from widget_proxy.browser_gate import BrowserGate, Door
from widget_proxy.problems import handle_crash

ORIGIN = "https://shop.example.com"
OTHER = "https://other.example.com"


@pytest.fixture
def client() -> TestClient:
    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello", headers={"Vary": "Accept"})

    async def crash(request: Request) -> PlainTextResponse:
        raise RuntimeError("marker-secret")

    routes = [Route("/v1/hello", hello), Route("/v1/crash", crash), Route("/open", hello)]
    app = Starlette(routes=routes, exception_handlers={Exception: handle_crash})
    return TestClient(BrowserGate(app, Door("/v1/", lambda origin: origin == ORIGIN)), raise_server_exceptions=False)


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


@pytest.fixture
def two_doors() -> TestClient:
    """A second API, with words of its own, for pages of another website, which may be named by `Referer`."""

    async def origin(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.headers["Origin"])

    app = Starlette(routes=[Route("/v1/hello", origin), Route("/api/hello", origin)])
    other = Door(
        "/api/",
        lambda origin: origin == OTHER,
        headers="X-Other",
        exposed="Link",
        answer=lambda problem, origin: PlainTextResponse(f"not {origin}", 403),
        takes_referer=True,
    )
    return TestClient(BrowserGate(app, Door("/v1/", lambda origin: origin == ORIGIN), other))


def test_each_api_has_its_own_door(two_doors: TestClient) -> None:
    assert two_doors.get("/v1/hello", headers={"Origin": ORIGIN}).text == ORIGIN
    assert two_doors.get("/v1/hello", headers={"Origin": OTHER}).status_code == 403
    assert two_doors.get("/api/hello", headers={"Origin": ORIGIN}).text == f"not {ORIGIN}"
    let_in = two_doors.get("/api/hello", headers={"Origin": OTHER})
    assert (let_in.text, let_in.headers["Access-Control-Expose-Headers"]) == (OTHER, "Link")
    asked = {"Origin": OTHER, "Access-Control-Request-Method": "POST"}
    assert two_doors.options("/api/hello", headers=asked).headers["Access-Control-Allow-Headers"] == "X-Other"


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ([("Referer", f"{OTHER}/a/page?x=1")], OTHER),
        ([("Referer", OTHER)], OTHER),
        ([("Referer", f"{OTHER}.evil.example/")], f"not {OTHER}.evil.example"),
        ([("Referer", "https://user@other.example.com/")], "not https://user@other.example.com"),
        ([("Referer", f"{OTHER}/"), ("Referer", f"{OTHER}/")], "not None"),
        ([("Referer", f"{OTHER}/"), ("Origin", "https://evil.example")], "not https://evil.example"),
        ([("Referer", f"{OTHER}/"), ("Origin", "null")], "not null"),
        ([("Referer", "https://[")], "not None"),
        ([("Referer", "a page")], "not None"),
        ([], "not None"),
    ],
)
def test_a_referer_stands_for_an_origin_where_there_is_none(
    two_doors: TestClient, headers: list[tuple[str, str]], answer: str
) -> None:
    assert two_doors.get("/api/hello", headers=headers).text == answer
    assert two_doors.get("/v1/hello", headers=headers).status_code == 403, "only at its own door"
