"""The README and the docs say what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from widget_proxy.config import (
    Limits,
    Look,
    PacingSettings,
    PagesSettings,
    RatesSettings,
    RedisSettings,
    ServerSettings,
    Settings,
    Site,
    Texts,
    UpstreamSettings,
)

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("", Settings),
    ("server.", ServerSettings),
    ("upstream.", UpstreamSettings),
    ("pacing.", PacingSettings),
    ("rates.", RatesSettings),
    ("redis.", RedisSettings),
    ("pages.", PagesSettings),
    ("sites.<name>.", Site),
    ("sites.<name>.look.", Look),
    ("sites.<name>.texts.", Texts),
    ("sites.<name>.limits.", Limits),
]


def rows() -> Iterator[str]:
    """The configuration table, from the settings themselves."""
    yield "| setting | default | meaning |"
    yield "|---|---|---|"
    for prefix, model in SECTIONS:
        for name, field in model.model_fields.items():
            if field.description is None:
                continue
            default = "" if field.default in (None, PydanticUndefined, ()) else f"`{_shown(field.default)}`"
            yield f"| `{prefix}{name}` | {default} | {field.description} |"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool):
        return str(value).lower()  # as TOML has it
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_the_configuration_table_is_the_codes() -> None:
    found = re.search(r"<!-- configuration table.*?-->\n(.*?)\n<!-- end", README, re.DOTALL)
    assert found is not None
    expected = "\n".join(rows())
    assert found[1].strip() == expected, f"write this there:\n{expected}"


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("examples/*/README.md"))]
)
def test_every_link_within_the_project_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_examples_are_configurations_that_can_be_read(tmp_path: Path) -> None:
    from widget_proxy.config import load_settings

    text = (ROOT / "examples/widget-proxy.toml").read_text()
    for name in ("secret-key", "shop-embed-key", "handbook-embed-key"):
        (tmp_path / name).write_text("x" * 40)
    file = tmp_path / "widget-proxy.toml"
    file.write_text(text.replace("/etc/widget-proxy", str(tmp_path)))
    settings = load_settings({}, file)
    assert set(settings.sites) == {"shop", "handbook"}


def test_the_two_commands_come_first() -> None:
    assert README.index("scripts/demo") < README.index("scripts/test") < README.index("pip install")


def test_nothing_of_the_project_names_a_package_registry() -> None:
    for path in (ROOT / "requirements.lock", ROOT / "requirements-dev.lock"):
        assert "://" not in path.read_text()
