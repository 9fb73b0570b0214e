"""Generated requests against a running proxy: what `/openapi.json` says is asked of it, and what it says is not; and a
tenth as many to the official paths (`official_fuzzing`).

python -m tests.fuzzing [--requests 100000] [--seed 1]
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case as AnyCase
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.official_fuzzing import OfficialFuzzer
from tests.servers import SHOP_ORIGIN, FakeUpstream, Proxy
from widget_proxy.openapi import describe

Case = AnyCase[Any]
Operation = APIOperation[Any, Any, Any, Any]

CALLERS = ("visitor", "visitor", "visitor", "stranger", "forger", "elsewhere")
"""With a handle, three times as often as: without one, with one changed, from another website."""

REQUESTS_A_SESSION = 100

FILE_NAMES = (
    *("lamp.txt", "lamp.pdf", "page.html", "program.exe", "noending", ".txt", "", " ", "a" * 5000 + ".txt"),
    *("../../etc/passwd.txt", "..\\..\\boot.txt", "CON.txt", "two.txt.exe", "\u202etxt.exe", 'quo"te.txt'),
    *(
        "line\r\nSet-Cookie: a=b.txt",
        "nul\0.txt",
        "\ud83d\ude00.png".encode("utf-16", "surrogatepass").decode("utf-16"),
    ),
)

_ANSWERS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


class Fuzzer:
    """Asks a proxy, and checks each answer: documented in status, type and shape, and never of 5xx. `answered` counts
    answers by call and status."""

    def __init__(self, proxy: Proxy, upstream: FakeUpstream, description: dict[str, Any] | None = None) -> None:
        self._proxy = proxy
        self._upstream = upstream
        self._client = proxy.client(origin=None)
        self._handle = self._task = ""
        self.answered: Counter[tuple[str, int]] = Counter()
        self.schema = schemathesis.openapi.from_dict(description or describe())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def operations(self) -> list[Operation]:
        """Every call that is documented."""
        return [result.ok() for result in self.schema.get_all_operations() if isinstance(result, Ok)]

    def run(self, operation: Operation, examples: int, number: int) -> None:
        """So many requests of one call, half of them as documented and half not. `number` seeds them."""
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
                continue  # its path and headers can be any text
            self._of(operation.as_strategy(generation_mode=mode), max(1, examples // 2), number)

    def _of(self, cases: st.SearchStrategy[Case], examples: int, number: int) -> None:
        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases, caller=st.sampled_from(CALLERS), chance=st.integers(0, 2**32).map(random.Random))
        def each(case: Case, caller: str, chance: random.Random) -> None:
            self._ask(case, self._headers(caller, chance), chance)

        run: Callable[[], None] = each
        run()

    def _headers(self, caller: str, chance: random.Random) -> dict[str, str]:
        if not self._handle or self.answered.total() % REQUESTS_A_SESSION == 0:
            self._upstream.order("reset")
            self._handle = self._proxy.start_session()
            self._task = self._proxy.send(self._handle, "What does it cost?")
        headers = {"Origin": "https://elsewhere.example.com" if caller == "elsewhere" else SHOP_ORIGIN}
        if caller in {"visitor", "elsewhere"}:
            headers["Authorization"] = f"Bearer {self._handle}"
        elif caller == "forger":
            at = chance.randrange(len(self._handle))
            changed = chance.choice([sign for sign in "Aa0-_." if sign != self._handle[at]])
            headers["Authorization"] = f"Bearer {self._handle[:at]}{changed}{self._handle[at + 1 :]}"
        return headers

    def _ask(self, case: Case, headers: dict[str, str], chance: random.Random) -> None:
        # What is drawn by chance is never a site's name, or a task.
        if "site" in case.path_parameters and chance.random() < 0.9:
            case.path_parameters = {"site": "shop"}
        elif "task" in case.path_parameters and chance.random() < 0.5:
            case.path_parameters = {"task": self._task}
        for name in [name for name in case.headers or {} if name.lower() in {"authorization", "origin"}]:
            del case.headers[name]  # the caller's
        wanted = case.as_transport_kwargs(base_url=self._proxy.url, headers=headers)
        request = self._client.build_request(
            wanted["method"],
            wanted["url"],
            headers=wanted["headers"],
            params=wanted.get("params"),
            content=wanted["data"] if isinstance(wanted.get("data"), bytes | str) else None,
            json=wanted.get("json"),
            files=None if wanted.get("files") is None else _files(wanted["files"], chance),
        )
        request.read()
        try:
            response = self._client.send(request, stream=True)
        except httpx2.LocalProtocolError:
            return  # no header of HTTP; nobody can send it
        try:
            if response.headers.get("Content-Type", "").startswith("text/event-stream"):
                next(response.iter_bytes(), b"")
                response._content = b""
            else:
                response.read()
        finally:
            response.close()
        self.answered[case.operation.label, response.status_code] += 1
        case.validate_response(response, checks=_ANSWERS)


def _files(parts: Any, chance: random.Random) -> list[tuple[str, tuple[str, bytes, str]]]:
    """The form, with names and types that an attacker would think of beside those that are drawn."""
    named = parts.items() if isinstance(parts, dict) else parts
    return [
        (
            str(name),
            (
                chance.choice(FILE_NAMES),
                value if isinstance(value, bytes) else str(value).encode("utf-8", "replace"),
                chance.choice(["text/plain", "text/html", "image/svg+xml", "", "x/y; charset=\u2028"]),
            ),
        )
        for name, value in named
    ]


@contextmanager
def fuzzing(directory: Path) -> Iterator[tuple[Fuzzer, OfficialFuzzer, Proxy]]:
    """Fuzzers of a proxy of their own, which takes files and has room for any number of requests."""
    with (
        FakeUpstream(directory / "upstream.log", "--think", "0.1") as upstream,
        Proxy(
            upstream.url,
            directory / "proxy.log",
            log_level="info",
            WIDGET_PROXY_SITES__SHOP__ATTACHMENTS="true",
            WIDGET_PROXY_SITES__SHOP__API_KEY="demo-api-key-not-a-secret",
            WIDGET_PROXY_SITES__SHOP__STARTS_WITH="embed_key",
            WIDGET_PROXY_SITES__SHOP__END_BY_VISITORS="true",
            WIDGET_PROXY_SITES__SHOP__FEEDBACK_AS_TAGS="true",
            WIDGET_PROXY_SITES__SHOP__PAGE_AS_STATE="true",
            WIDGET_PROXY_SITES__SHOP__DROP_IN="true",
        ) as proxy,
    ):
        fuzzer = Fuzzer(proxy, upstream)
        try:
            yield fuzzer, OfficialFuzzer(proxy, upstream), proxy
        finally:
            fuzzer.close()


def main() -> None:
    """So many requests in all, and what was answered how often."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    arguments = parser.parse_args()
    print(f"Requests: {arguments.requests}, seed: {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory, fuzzing(Path(directory)) as (fuzzer, official, proxy):
        operations = [one for one in fuzzer.operations if one.path.startswith("/v1/")]
        number = arguments.seed
        while (left := arguments.requests - fuzzer.answered.total()) > 0:
            number += 1
            for operation in operations:
                fuzzer.run(operation, min(1000, left // len(operations) + 1), number)
            official.run(max(1, fuzzer.answered.total() // 10 - official.answered.total()), number)
            print(f"{fuzzer.answered.total()} answered as documented", flush=True)
        for (call, status), count in sorted((fuzzer.answered + official.answered).items()):
            print(f"{count:7} {status} {call}")
        if "Traceback" in proxy.output():
            sys.exit(f"The proxy's log has a traceback:\n{proxy.output()[-5000:]}")


if __name__ == "__main__":
    main()
