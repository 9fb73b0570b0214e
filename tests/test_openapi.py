"""`/openapi.json`: complete, and true of a running proxy."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from openapi_spec_validator import validate
from schemathesis.core.failures import FailureGroup
from starlette.routing import Route

from tests.fuzzing import Fuzzer, fuzzing
from tests.official_fuzzing import OfficialFuzzer
from tests.servers import FakeUpstream, Proxy
from widget_proxy.app import create_app
from widget_proxy.config import Settings
from widget_proxy.openapi import describe
from widget_proxy.problems import CODES

REQUESTS = 30
"""Of each call; `scripts/fuzz` sends more."""

CALLS = [f"{method.upper()} {path}" for path, methods in describe()["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fuzzer, OfficialFuzzer, Proxy]]:
    with fuzzing(tmp_path_factory.mktemp("fuzzing")) as started:
        yield started


def test_it_is_openapi() -> None:
    validate(describe())


def test_any_page_may_read_it(proxy: Proxy) -> None:
    with proxy.client("https://elsewhere.example.com") as client:
        answer = client.get("/openapi.json")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.json() == describe()


def test_every_call_of_v1_is_in_it() -> None:
    site = {
        "slug": "shop",
        "chatbot_id": "00000000-0000-4000-8000-000000000000",
        "embed_key": "marker-embed-key",
        "allowed_origins": ["https://shop.example.com"],
        "upstream_url": "http://127.0.0.1:9",
    }
    app: Any = create_app(Settings.model_validate({"secret_key": "k" * 32, "sites": {"shop": site}}))
    while not hasattr(app, "routes"):
        app = app._app  # what is around it
    routes = app.routes
    served = {
        f"{method} {route.path}"
        for route in routes
        if isinstance(route, Route) and route.path.startswith("/v1/")
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert served == {call for call in CALLS if " /v1/" in call}


def test_every_code_is_an_answer_of_some_call() -> None:
    told = set(
        re.findall(
            r"`([a-z_]+)`", str([call for methods in describe()["paths"].values() for call in methods.values()])
        )
    )
    # This comes before there is a call.
    assert set(CODES) - told == {"method_not_allowed"}


@pytest.mark.parametrize("call", CALLS)
def test_generated_requests_are_answered_as_it_says(call: str, fuzzed: tuple[Fuzzer, OfficialFuzzer, Proxy]) -> None:
    fuzzer, _, proxy = fuzzed
    (operation,) = (one for one in fuzzer.operations if one.label == call)
    before = fuzzer.answered.total()
    fuzzer.run(operation, REQUESTS, 1)
    assert fuzzer.answered.total() > before + REQUESTS // 3
    assert "Traceback" not in proxy.output()


def test_an_answer_that_it_does_not_name_is_noticed(proxy: Proxy, upstream: FakeUpstream) -> None:
    untrue = describe()
    del untrue["paths"]["/healthz"]["get"]["responses"]["200"]
    with closing(Fuzzer(proxy, upstream, untrue)) as fuzzer:
        (operation,) = (one for one in fuzzer.operations if one.path == "/healthz")
        with pytest.raises(FailureGroup, match="Undocumented status code"):
            fuzzer.run(operation, 2, 1)
