import re

import httpx2 as httpx
import pytest

from tests.servers import Proxy


def test_each_answer_has_an_id_of_its_own(proxy: Proxy) -> None:
    ids = {httpx.get(f"{proxy.url}/healthz").headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in ids)


def test_an_id_from_the_server_in_front_is_kept(proxy: Proxy) -> None:
    given = "9f6c2c0e-66bd-4a55-8c2c-5d2b4b7f0f10"
    assert httpx.get(f"{proxy.url}/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "short", "with space", "x" * 65, "line\tbreak-1234"])
def test_an_id_of_another_shape_is_not_taken(given: str, proxy: Proxy) -> None:
    answered = httpx.get(f"{proxy.url}/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{16}", answered)


def test_errors_have_one_too_which_a_page_may_read(proxy: Proxy) -> None:
    refused = httpx.get(f"{proxy.url}/v1/sites/shop", headers={"Origin": "https://elsewhere.example.com"})
    assert refused.status_code == 403
    assert refused.headers["X-Request-Id"]
    preflighted = httpx.get(f"{proxy.url}/v1/sites/nowhere", headers={"Origin": "http://shop.example.com"})
    assert preflighted.headers["X-Request-Id"]
