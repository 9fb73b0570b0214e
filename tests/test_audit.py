"""What the operator reads of those who were turned away."""

from typing import Any

import pytest

from widget_proxy.audit import LINES, LINES_SECONDS, Audit
from widget_proxy.client_address import PAST_PROXIES
from widget_proxy.pacing import Budget
from widget_proxy.problems import Problem
from widget_proxy.rates import TooManyRequests


def scope_of(path: str = "/v1/sites/shop/sessions", method: str = "POST", **more: Any) -> dict[str, Any]:
    return {"type": "http", "path": path, "method": method, "client": ("203.0.113.7", 1), "headers": []} | more


REFUSED = Problem("origin_not_allowed", "no")
TOO_MANY = TooManyRequests("messages-per-address", Budget(2, 60), 3)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_refused_start_is_a_line_with_reason_site_and_network(caplog: pytest.LogCaptureFixture) -> None:
    Audit({"shop"}).refused(scope_of(), REFUSED)
    assert told(caplog) == ["refused a start: reason=origin_not_allowed site=shop client=203.0.113.0/24"]


def test_so_is_everybody_over_a_rate_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    audit = Audit({"shop"})
    audit.refused(scope_of("/v1/session/messages"), TOO_MANY)
    audit.refused(scope_of("/v1/session/messages"), REFUSED)
    audit.refused(scope_of(method="GET"), REFUSED)
    assert told(caplog) == ["refused a request: reason=messages-per-address site=- client=203.0.113.0/24"]


@pytest.mark.parametrize("site", ["evil\nINFO forged", "x" * 5000, "", "%s"])
def test_a_site_nobody_configured_is_not_repeated(caplog: pytest.LogCaptureFixture, site: str) -> None:
    Audit({"shop"}).refused(scope_of(f"/v1/sites/{site}/sessions"), Problem("unknown_site", "no"))
    assert told(caplog) == ["refused a start: reason=unknown_site site=- client=203.0.113.0/24"]


def test_a_flood_of_refusals_is_a_few_lines_and_a_number(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    audit = Audit({"shop"}, lambda: now)
    for _ in range(1000):
        audit.refused(scope_of(), REFUSED)
    assert len(told(caplog)) == LINES
    now += LINES_SECONDS
    audit.refused(scope_of(), REFUSED)
    audit.refused(scope_of(), REFUSED)
    assert told(caplog)[LINES].endswith(f"(and {1000 - LINES} before it, not told one by one)")
    assert "before it" not in told(caplog)[-1]


@pytest.mark.parametrize(("past_proxies", "hinted"), [(False, True), (True, False)])
def test_a_proxy_in_front_that_nobody_named_is_pointed_at(
    caplog: pytest.LogCaptureFixture, past_proxies: bool, hinted: bool
) -> None:
    scope = scope_of(headers=[(b"x-forwarded-for", b"198.51.100.1")]) | {PAST_PROXIES: past_proxies}
    Audit({"shop"}).refused(scope, TOO_MANY)
    assert ("server.trusted_proxies" in told(caplog)[0]) is hinted
