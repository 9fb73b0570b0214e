"""A site's schema of its page context: what it refuses and where, and which schemas are refused themselves."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.test_config_sources import ENVIRONMENT, FILE, problems, write
from widget_proxy.config import load_settings
from widget_proxy.config.context_schema import ContextSchema

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "sku": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$", "description": "As on the label."},
        "price": {"$ref": "#/$defs/money"},
        "sizes": {"type": "array", "items": {"enum": ["S", "M"]}},
    },
    "required": ["sku"],
    "additionalProperties": False,
    "$defs": {"money": {"type": ["number", "null"], "minimum": 0, "description": "In euros."}},
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("context", [{"sku": "NL-1"}, {"sku": "NL-1", "price": 0.5, "sizes": ["S", "M"]}])
def test_what_follows_the_schema_is_taken(context: dict[str, Any]) -> None:
    assert ContextSchema.parse(SCHEMA).mistake_in(context) is None


@pytest.mark.parametrize(
    ("context", "told"),
    [
        ({}, "page_context does not follow this site's schema: 'sku' is a required property"),
        ({"sku": 7}, "page_context.sku does not follow this site's schema: it has to meet type: \"string\""),
        ({"sku": "NL-1\n"}, "page_context.sku does"),
        ({"sku": "NL-1", "price": -1}, 'page_context.price does not follow this site\'s schema: it has to meet minimum: 0'),
        ({"sku": "NL-1", "sizes": ["S", "marker"]}, 'page_context.sizes[1] does'),
        ({"sku": "NL-1", "colour": "marker"}, "'colour' was unexpected"),
    ],
)  # fmt: skip
def test_what_does_not_is_named_with_its_place_and_without_its_value(context: dict[str, Any], told: str) -> None:
    mistake = ContextSchema.parse(SCHEMA).mistake_in(context)
    assert mistake is not None
    assert told in mistake
    assert "marker" not in mistake


def test_what_is_told_of_a_mistake_is_short() -> None:
    mistake = ContextSchema.parse(SCHEMA).mistake_in({"sku": "NL-1", **{f"{'k' * 90}{n}": 1 for n in range(100)}})
    assert mistake is not None
    assert len(mistake) < 400


def test_its_keys_are_documented_in_its_own_order() -> None:
    keys = [(key.name, key.type, key.description, key.required) for key in ContextSchema.parse(SCHEMA).documented()]
    assert keys == [
        ("sku", "string", "As on the label.", True),
        ("price", "number or null", "In euros.", False),
        ("sizes", "array", "", False),
    ]
    (key,) = ContextSchema.parse({"properties": {"a": {"enum": ["x", 1]}}}).documented()
    assert key.type == '"x" | 1'
    (key,) = ContextSchema.parse({"properties": {"a": True}}).documented()
    assert key.type == ""


def doubling(steps: int) -> dict[str, Any]:
    definitions: dict[str, Any] = {"a0": {"type": "string"}}
    for step in range(steps):
        definitions[f"a{step + 1}"] = {"allOf": [{"$ref": f"#/$defs/a{step}"}, {"$ref": f"#/$defs/a{step}"}]}
    return {"properties": {"x": {"$ref": f"#/$defs/a{steps}"}}, "$defs": definitions}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


BROKEN: list[tuple[str, Any, str]] = [
    ("a list", [], "it is no JSON Schema"),
    ("true", True, "it is no JSON Schema"),
    ("an unknown type", {"properties": {"a": {"type": "text"}}}, "$.properties.a.type"),
    ("of a text", {"type": "string"}, 'Write type = "object"'),
    ("an unknown dialect", {"$schema": "https://evil.example/schema"}, "its $schema is unknown"),
    ("a reference to a server", {"properties": {"a": {"$ref": "https://evil.example/x"}}}, "Nothing is fetched"),
    ("a reference to a file", {"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "Nothing is fetched"),
    ("a reference to a neighbour", {"items": [{"$ref": "x.json"}]}, "is no JSON Schema"),
    ("a reference within a list", {"allOf": [{"$ref": "x.json"}]}, "Nothing is fetched"),
    ("a reference to nowhere", {"properties": {"a": {"$ref": "#/$defs/a"}}}, "not in it"),
    ("itself", {"properties": {"a": {"$ref": "#/properties/a"}}}, "refers to itself"),
    ("a circle", {"$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}}}, "refers to itself"),
    ("the root", {"properties": {"a": {"$ref": "#"}}}, "Nothing is fetched"),
    ("another base", {"properties": {"a": {"$id": "https://x.example/", "type": "string"}}}, "$id"),
    ("a dynamic reference", {"$dynamicRef": "#x"}, "$dynamicRef"),
    ("lines that double", doubling(40), "rules"),
    ("a thousand levels", deep(1000), "it "),
    ("a hundred thousand bytes", {"description": "x" * 100_000}, "65536 are allowed"),
    ("patterns for keys", {"patternProperties": {"^(a+)+$": {}}}, "patternProperties"),
    ("a pattern that looks ahead", {"properties": {"a": {"pattern": "(?=x)"}}}, "may not look ahead"),
    ("a pattern that looks back", {"properties": {"a": {"pattern": r"(a)\1"}}}, "may not look ahead"),
    ("half a pattern", {"properties": {"a": {"pattern": "("}}}, "cannot be used"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "told"), [one[1:] for one in BROKEN], ids=[one[0] for one in BROKEN])
def test_a_schema_that_cannot_be_kept_to_is_refused(schema: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as refused:
        ContextSchema.parse(schema)
    assert len(str(refused.value)) < 500


def test_a_key_of_the_page_may_have_the_name_of_a_rule() -> None:
    names = {name: {"type": "string"} for name in ("$ref", "pattern", "patternProperties", "$id", "properties")}
    schema = ContextSchema.parse({"properties": names, "dependentRequired": {"$ref": ["pattern"]}})
    assert schema.mistake_in({"pattern": "x"}) is None
    assert schema.mistake_in({"pattern": 1}) is not None


def test_no_pattern_can_be_made_slow_by_a_text() -> None:
    schema = ContextSchema.parse({"properties": {"a": {"pattern": "^(a+)+$"}}})
    assert schema.mistake_in({"a": "a" * 4000 + "!"}) is not None, "Python's own would take for ever"
    assert schema.mistake_in({"a": "a" * 4000}) is None


def test_a_pattern_may_name_letters_of_any_language() -> None:
    schema = ContextSchema.parse({"properties": {"a": {"pattern": r"^\p{L}+$"}}})
    assert schema.mistake_in({"a": "späti"}) is None
    assert schema.mistake_in({"a": "9"}) is not None


def test_an_older_dialect_is_understood() -> None:
    schema = ContextSchema.parse(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"a": {"type": "number"}},
            "properties": {"a": {"$ref": "#/definitions/a"}},
        }
    )
    assert schema.mistake_in({"a": "x"}) is not None
    assert schema.mistake_in({"a": 1}) is None


def test_a_schema_comes_from_a_file_or_a_table(tmp_path: Path) -> None:
    write(tmp_path / "context.json", json.dumps(SCHEMA))
    from_file = write(tmp_path / "a.toml", FILE + 'page_context_schema = "context.json"\n')
    table = "[sites.my-shop.page_context_schema.properties.secret_key_file]\ntype = 'number'\n"
    from_table = write(tmp_path / "b.toml", FILE + table)
    by_file = load_settings({}, from_file)
    schema = by_file.sites["my-shop"].page_context_schema
    assert schema is not None
    assert schema.schema == SCHEMA
    assert "As on the label." in by_file.model_dump_json(), "it can be written down again"
    schema = load_settings({}, from_table).sites["my-shop"].page_context_schema
    assert schema is not None
    assert schema.mistake_in({"secret_key_file": "x"}) is not None
    variable = {"WIDGET_PROXY_SITES__DEFAULT__PAGE_CONTEXT_SCHEMA": "context.json"}
    assert load_settings(ENVIRONMENT | variable).sites["default"].page_context_schema is not None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file or directory"),
        ("{", "'context.json' cannot be read: Expecting"),
        ("[" * 100_000, "larger than 64 KiB"),
        ("[" * 60_000, "cannot be read"),
        ('{"required": 7}', "it is no JSON Schema: at $.required"),
        ("[]", "it is no JSON Schema"),
    ],
)
def test_a_broken_schema_is_a_mistake_with_its_place(tmp_path: Path, text: str | None, told: str) -> None:
    if text is not None:
        write(tmp_path / "context.json", text)
    file = write(tmp_path / "x.toml", FILE + 'page_context_schema = "context.json"\n')
    (mistake,) = problems({}, file)
    assert mistake.startswith(f"sites.my-shop.page_context_schema ({file}:11): ")
    assert told in mistake


def test_a_schema_that_holds_a_date_is_a_mistake(tmp_path: Path) -> None:
    file = write(tmp_path / "x.toml", FILE + "page_context_schema = {default = 2026-01-01}\n")
    (mistake,) = problems({}, file)
    assert "such as a date" in mistake
