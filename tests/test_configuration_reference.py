"""The reference of the configuration has every setting, with its default and its meaning, as the code has them."""

import re
from collections.abc import Iterator
from pathlib import Path

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

REFERENCE = Path(__file__).parent.parent / "docs/configuration.md"
SECTIONS: list[tuple[str, str, type[BaseModel]]] = [
    ("The whole", "", Settings),
    ("`server`", "server.", ServerSettings),
    ("`upstream`", "upstream.", UpstreamSettings),
    ("`pacing`", "pacing.", PacingSettings),
    ("`rates`", "rates.", RatesSettings),
    ("`redis`", "redis.", RedisSettings),
    ("`pages`", "pages.", PagesSettings),
    ("`sites.<name>`", "sites.<name>.", Site),
    ("`sites.<name>.look`", "sites.<name>.look.", Look),
    ("`sites.<name>.texts`", "sites.<name>.texts.", Texts),
    ("`sites.<name>.limits`", "sites.<name>.limits.", Limits),
]


def tables() -> Iterator[str]:
    """A heading and a table for each section, from the settings themselves."""
    for heading, prefix, model in SECTIONS:
        yield f"## {heading}\n"
        yield "| setting | default | meaning |"
        yield "|---|---|---|"
        for name, field in model.model_fields.items():
            if field.description is None:
                continue
            default = "" if field.default in (None, PydanticUndefined, ()) else f"`{_shown(field.default)}`"
            yield f"| `{prefix}{name}` | {default} | {field.description} |"
        yield ""


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # as TOML has it
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_the_tables_are_the_codes() -> None:
    found = re.search(r"<!-- tables:.*?-->\n(.*?)\n<!-- end", REFERENCE.read_text(), re.DOTALL)
    assert found is not None
    expected = "\n".join(tables()).strip()
    assert found[1].strip() == expected, f"write this there:\n{expected}"
