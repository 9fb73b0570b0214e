"""The documents make a site: every page is in its list, every link holds, and reading it asks nobody else."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.test_links import DOCUMENTS

ROOT = Path(__file__).parent.parent


class Page(HTMLParser):
    """What a browser fetches to show a page, and where its links lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        address = attributes.get("src") or attributes.get("href")
        if address and tag in {"script", "img", "link", "iframe"}:
            self.fetched.append(address)
        elif address and tag == "a":
            self.links.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as the docs say, where every warning is an error."""
    out = tmp_path_factory.mktemp("docs")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [str(ROOT / "scripts/docs"), str(out)]
    outcome = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return out / "site"


def test_every_document_is_in_the_sites_list_and_no_other() -> None:
    pages = re.findall(
        r"^ +- [^:]+: (\S+)$", (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2], re.MULTILINE
    )
    assert sorted(pages) == sorted(str(path.relative_to(ROOT)) for path in DOCUMENTS)


def test_every_page_is_there_and_its_links_hold(site: Path) -> None:
    for document in DOCUMENTS:
        name = document.relative_to(ROOT)
        page = site / (name.parent if name.name == "README.md" else name.with_suffix("")) / "index.html"
        found = Page(page.read_text())
        assert found.links
        for link in found.links:
            if re.match(r"[a-z]+:", link):
                continue
            target = (page.parent / link.partition("#")[0]).resolve()
            assert target.exists(), f"{name} links to {link}"


def test_reading_the_site_asks_nobody_else(site: Path) -> None:
    for page in site.rglob("index.html"):
        assert [one for one in Page(page.read_text()).fetched if re.match(r"([a-z]+:)?//", one)] == []
