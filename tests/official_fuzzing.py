"""Generated requests to the official paths: whatever is asked, the answer is JSON and no 5xx."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.official_client import OfficialClient, proxied
from tests.servers import FakeUpstream, Proxy
from widget_proxy.fake_upstream import DEMO_CHATBOT_ID

REQUESTS_A_SESSION = 100

_TRICKS = [
    *(
        "",
        " ",
        "\0",
        "a\r\nSet-Cookie: b=c",
        "\u202e",
        "\ud83d\ude00" * 200,
        "x" * 5000,
        "9" * 5000,
        "0" * 5000 + "1",
    ),
    *(
        "-1",
        "1e9",
        "٣",
        "null",
        "2026-02-30T25:61:00Z",
        "9999-12-31T23:59:59+23:59",
        "0001-01-01T00:00:00-23:59",
        "inf",
    ),
    *("https://shop.example.com/x?token=a#b", "javascript:alert(1)", "../../start/", "%00", "__proto__"),
]
_texts = st.sampled_from(_TRICKS) | st.text(max_size=40)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)
_FIELDS = {
    "start": ["chatbot_id", "session_data", "page_context", "participant_remote_id", "participant_name"],
    "message": ["message", "attachment_ids", "context", "participant_remote_id"],
    "upload": ["participant_remote_id", "files"],
}


@st.composite
def _bodies(draw: st.DrawFn, call: str) -> dict[str, Any]:
    """As `httpx` takes it: what the call knows with values of any kind, or something else altogether."""
    if draw(st.integers(0, 9)) == 0:
        return {"content": draw(st.binary(max_size=200)), "headers": {"Content-Type": "application/json"}}
    if call == "upload":
        names = draw(st.lists(_texts, max_size=3))
        return {
            "files": [("files", (name, draw(st.binary(max_size=50)))) for name in names],
            "data": {"participant_remote_id": draw(_texts)},
        }
    plain = draw(st.integers(0, 3)) == 0  # and so taken
    known = {name: draw(_values) for name in _FIELDS[call] if not plain and draw(st.booleans())}
    if call == "start" and draw(st.integers(0, 3)):
        known["chatbot_id"] = DEMO_CHATBOT_ID
    if call == "message" and draw(st.integers(0, 3)):
        known["message"] = draw(st.text(min_size=1, max_size=20))
    body = known | ({} if plain else draw(st.dictionaries(_texts, _values, max_size=2)))
    return {"content": json.dumps(body).encode(), "headers": {"Content-Type": "application/json"}}


@st.composite
def _requests(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    """Method, path with `{session}` and `{task}` in it, and the rest."""
    call = draw(st.sampled_from(["start", "message", "task", "poll", "poll", "upload"]))
    session = draw(st.sampled_from(["{session}", "{session}", "{session}", "nobody", "a" * 3000]))
    rest: dict[str, Any] = {}
    match call:
        case "start":
            path = "start/"
        case "task":
            task = draw(st.sampled_from(["{task}", "nothing", "%00", "a" * 3000]))
            path = f"{session}/{task}/poll/"
        case _:
            path = f"{session}/{call}/"
    if call == "poll":
        rest["params"] = draw(st.dictionaries(st.sampled_from(["since", "limit"]) | _texts, _texts, max_size=3))
    elif call != "task":
        rest = draw(_bodies(call))
    headers: dict[str, str | None] = {}
    if draw(st.booleans()):
        headers["X-OCS-Widget-Version"] = draw(st.sampled_from(["0.4.7", "0.6.0", "0.9.1", "99", "x" * 300, "٣.0"]))
    if draw(st.integers(0, 4)) == 0:
        headers["X-Session-Token"] = draw(st.sampled_from(["x", "x" * 5000, None]))
    rest["headers"] = rest.get("headers", {}) | headers
    method = draw(st.sampled_from(["usual", "usual", "usual", "usual", "PUT", "HEAD", "OPTIONS"]))
    usual = "GET" if call in {"task", "poll"} else "POST"
    return usual if method == "usual" else method, path, rest


class OfficialFuzzer:
    """Asks a proxy whose shop has `drop_in`. `answered` counts answers by method and status."""

    def __init__(self, proxy: Proxy, upstream: FakeUpstream) -> None:
        self._proxy = proxy
        self._upstream = upstream
        self._client: OfficialClient | None = None
        self._task = ""
        self.answered: Counter[tuple[str, int]] = Counter()

    def run(self, examples: int, number: int) -> None:
        """So many requests. `number` seeds them. Raises `AssertionError` at the first answer that should not be."""

        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(request=_requests())
        def each(request: tuple[str, str, dict[str, Any]]) -> None:
            self._ask(*request)

        run: Callable[[], None] = each
        run()

    def _ask(self, method: str, path: str, rest: dict[str, Any]) -> None:
        client = self._client
        if client is None or self.answered.total() % REQUESTS_A_SESSION == 0:
            self._upstream.order("reset")
            client = self._client = proxied(self._proxy, self._upstream)
            client.start()
            self._task = client.say().json()["task_id"]
        path = path.replace("{session}", client.session).replace("{task}", self._task)
        try:
            answer = client.ask(method, path, **rest)
        except (httpx2.LocalProtocolError, httpx2.InvalidURL, UnicodeEncodeError):
            return  # no request of HTTP; nobody can send it
        asked = (
            f"{method} /api/chat/{path[:80]} {str(rest)[:600]} was answered {answer.status_code} {answer.text[:300]}"
        )
        assert answer.status_code < 500, asked
        if answer.content and method != "OPTIONS":
            assert answer.headers["Content-Type"] in {"application/json", "application/problem+json"}, asked
            assert isinstance(answer.json(), dict | list), asked
        self.answered[method, answer.status_code] += 1
