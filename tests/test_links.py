"""Every link from one document of the project to another leads to a place that is there. No network is asked."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/**/*.md", "deploy/**/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)")
HEADING = re.compile(r"#{1,6} +(.+?)(?: +#+)? *$")


class Document(NamedTuple):
    """What of a document matters to links."""

    links: list[str]
    anchors: set[str]


def read(text: str) -> Document:
    """Its links and the anchors of its headings; what is in code is neither."""
    links: list[str] = []
    anchors: set[str] = set()
    fence = ""
    for line in text.splitlines():
        opened = re.match(r" *(`{3,}|~{3,})", line)
        if fence or opened:
            if opened and not fence:
                fence = opened[1]
            elif line.strip().startswith(fence):
                fence = ""
            continue
        if heading := HEADING.match(line):
            anchors.add(_new(anchor_of(heading[1]), anchors))
        anchors.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", line))
        links += LINK.findall(re.sub(r"`[^`]*`", "", line))
    return Document(links, anchors)


def anchor_of(heading: str) -> str:
    """The anchor that GitHub gives a heading: small letters, digits, `_` and `-`, a hyphen for each space."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")


def _new(anchor: str, known: set[str]) -> str:
    """The second of the same name is `name-1`."""
    numbered = (f"{anchor}-{number}" for number in range(1, len(known) + 2))
    return anchor if anchor not in known else next(one for one in numbered if one not in known)


def broken(path: Path) -> list[str]:
    """The links of a document that lead nowhere, each with the reason."""
    found = []
    for link in read(path.read_text()).links:
        if re.match(r"[a-z][a-z+.-]*:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.is_relative_to(ROOT) or not target.is_file():
            found.append(f"{link}: there is no such file")
        elif anchor and (target.suffix != ".md" or anchor not in read(target.read_text()).anchors):
            found.append(f"{link}: there is no such heading")
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_within_the_project_leads_somewhere(path: Path) -> None:
    assert broken(path) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = ROOT / "docs" / "api.md"
    assert broken(page) == []
    text = "# A `page`: [one](x.md)\n\n[here](#a-page-one) ![no](no.png)\n```\n# [code](code.md)\n```\n`[code](code.md)`\n"
    document = read(text)
    assert document.anchors == {"a-page-one"}
    assert document.links == ["x.md", "#a-page-one", "no.png"]


def test_every_document_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in seen or path.suffix != ".md":
            continue
        seen.add(path)
        names = (link.partition("#")[0] for link in read(path.read_text()).links if ":" not in link)
        waiting += [(path.parent / name).resolve() for name in names if name]
    assert [str(path.relative_to(ROOT)) for path in DOCUMENTS if path not in seen] == []
