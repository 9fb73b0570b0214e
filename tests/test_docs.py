"""What the docs tell a reader to type does what they say."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.servers import SHOP_ORIGIN, Proxy

ROOT = Path(__file__).parent.parent


def snippet(path: str, containing: str) -> str:
    """The shell snippet of a document that contains this."""
    found = [one for one in re.findall(r"```sh\n(.*?)```", (ROOT / path).read_text(), re.DOTALL) if containing in one]
    assert len(found) == 1
    text: str = found[0]
    return text


def test_the_api_can_be_tried_by_curl_as_the_docs_say(proxy: Proxy) -> None:
    script = snippet("docs/api.md", "PROXY=")
    script = script.replace("http://127.0.0.1:8080", proxy.url).replace("http://127.0.0.1:8082", SHOP_ORIGIN)
    outcome = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert "event: message" in outcome.stdout
    assert "**Aurora Desk Lamp** costs **€89.00**" in outcome.stdout
    assert outcome.stdout.rstrip().endswith('"status":"complete"}')


def test_the_readmes_tag_is_the_one_that_works() -> None:
    tag = '<script src="https://chat.example.com/widget.js" data-site="default" async></script>'
    assert tag in (ROOT / "README.md").read_text()
    shop = (ROOT / "examples/shop/index.html").read_text()
    assert tag.replace("default", "shop") in shop, "as the example shop has it, which the browser tests open"


def rows_with_tests(document: str, name: int) -> list[tuple[str, list[str]]]:
    """Each row of the document's tables whose last column is of tests: the cell that names it, and the tests."""
    found, within = [], False
    for line in (ROOT / document).read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            within = False
        elif cells[-1] == "tests":
            within = True
        elif within and not line.startswith("|---"):
            found.append((cells[name], re.findall(r"`(test_\w+\.py::test_\w+)`", cells[-1])))
    return found


def faults() -> list[tuple[str, list[str]]]:
    return rows_with_tests("docs/faults.md", 0)


def attacks() -> list[tuple[str, list[str]]]:
    return rows_with_tests("docs/threat-model.md", 2)


FAULTS = [
    # Upstream misbehaves
    "Refused, DNS or TLS failure",
    "500 or 502 with HTML, malformed JSON, wrong types, missing fields",
    "Hangs; drips a byte a second; resets in the middle",
    "Redirects elsewhere",
    "A body of 1 GB, a gzip bomb",
    "A page of the history that is larger than is read",
    "Markdown made to be slow",
    "429 with or without `Retry-After`",
    "403 `session_expired` or `session_token_invalid` mid-chat",
    "401 wrong key, 403 origin not allowed upstream",
    "The session ends",
    "A task that stays unknown for ever",
    "A task fails and the history holds an apology",
    "Equal moments, skewed clocks, wrong order, `has_more` for ten pages",
    "A message that is only ever on its task's poll",
    "The bot speaks on its own",
    # A visitor sends a file
    "The upload fails on the way: the sender goes or stalls, upstream hangs, resets or is away",
    "A type that is not taken",
    "Too big, by itself or with the others of its message",
    "The session ends or expires meanwhile",
    "Upstream answers 413, 415 or 5xx, in JSON or HTML",
    "SIGTERM while a file is on its way",
    # We misbehave
    "`kill -9` of the only worker",
    "`kill -9` of one of two workers",
    "`kill -9` of the supervisor of several workers",
    "SIGTERM with 1,000 streams",
    "SIGTERM while upstream owes the answer to a message or a start",
    "A restart storm: everybody reconnects",
    "Redis stopped and back",
    "Connections to Redis break under load, again and again",
    "Redis flushed",
    "The clock jumps",
    "The disk for the log is full",
    "The event loop stalls for five seconds",
    "No file descriptors, or streams, are left",
    "A reader stops reading",
]


def test_every_fault_has_its_row() -> None:
    assert [name for name, _ in faults()] == FAULTS


def test_the_threat_model_is_more_than_a_few_rows() -> None:
    assert len(attacks()) > 15


@pytest.mark.parametrize(("row", "tests"), [*faults(), *attacks()], ids=[name for name, _ in [*faults(), *attacks()]])
def test_a_fault_or_an_attack_is_tried_by_a_test_that_runs(row: str, tests: list[str]) -> None:
    assert tests, f"no test is named for: {row}"
    for test in tests:
        file, _, name = test.partition("::")
        source = (ROOT / "tests" / file).read_text()
        found = re.search(rf"((?:^@.*\n|^    .*\n|^\)\n)*)^(?:async )?def {name}\(", source, re.MULTILINE)
        assert found is not None, f"{test} does not exist"
        assert "skip" not in found[1]
        assert "xfail" not in found[1]
