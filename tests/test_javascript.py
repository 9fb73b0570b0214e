"""The widget has no code that nobody uses: between its modules, where `tsc` and `eslint` (scripts/test) do not look."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STATIC = ROOT / "static"
LOADER = STATIC / "widget.js"
MODULES = {path: path.read_text() for path in (LOADER, *sorted((STATIC / "widget").glob("*.js")))}
IN_LOADER = r"replaceSync\(`(.*?)`\)"
CALLED_BY_BROWSERS = {"constructor", "connectedCallback", "disconnectedCallback", "attributeChangedCallback"}


def named(name: str, *texts: str) -> bool:
    return any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) for text in texts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_what_a_module_gives_others_is_taken(path: Path) -> None:
    others = [text for other, text in MODULES.items() if other != path]
    assert path == LOADER or named(path.name, *others)
    tests = [test.read_text() for test in (ROOT / "tests").glob("test_widget*.py")]
    exported = re.findall(r"^export (?:async )?(?:function|class|const|let) (\w+)", MODULES[path], re.MULTILINE)
    assert [name for name in exported if not named(name, *others, *tests)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_public_method_is_called_or_documented(path: Path) -> None:
    methods = set(
        re.findall(r"^ {2,4}(?:static |async |get |set )*([a-z]\w*)\([^;]*\) \{", MODULES[path], re.MULTILINE)
    )
    calls = set(re.findall(r"\.(\w+)", "\n".join(MODULES.values())))
    documented = set(re.findall(r"`(\w+)\b", (ROOT / "docs/widget.md").read_text()))
    assert methods - {"if", "for", "while", "switch", "catch"} - calls - documented - CALLED_BY_BROWSERS == set()


def test_every_class_that_is_styled_is_given() -> None:
    sheets = [path.read_text() for path in (STATIC / "widget").glob("*.css")]
    sheets += re.findall(IN_LOADER, LOADER.read_text(), re.DOTALL)
    selectors = " ".join(re.findall(r"([^{};]*)\{", "\n".join(sheets)))
    styled = set(re.findall(r"\.([a-z][\w-]*)", selectors))
    assert {"launcher", "panel"} <= styled
    given = [re.sub(IN_LOADER, "", text, flags=re.DOTALL) for text in MODULES.values()]
    assert {name for name in styled if not named(name, *given)} == set()


def test_every_type_is_used() -> None:
    types = (ROOT / "types/widget.d.ts").read_text()
    for name in re.findall(r"^(?:type|interface) (\w+)", types, re.MULTILINE):
        assert named(name, *MODULES.values()) or len(re.findall(rf"\b{name}\b", types)) > 1


def test_the_lock_is_exact_and_names_no_registry() -> None:
    lock = (ROOT / "package-lock.json").read_text()
    wanted: dict[str, str] = json.loads((ROOT / "package.json").read_text())["devDependencies"]
    locked = json.loads(lock)["packages"]
    # An older version of a package has a name of its own: npm:its-name@1.2.3.
    exact = {name: version.rpartition("@")[2] for name, version in wanted.items()}
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == exact
    assert [name for name, package in locked.items() if name and "integrity" not in package] == []
    assert '"resolved"' not in lock
