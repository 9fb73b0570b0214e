"""A site's JSON Schema of its page context: read once, with all that could make it slow or reach out refused.

`jsonschema` does the checking. It is loaded only where a site has a schema.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

LARGEST = 65_536
"""Bytes of a schema, as JSON."""

MOST_RULES = 2000
"""Rules of a schema, with each `$ref` counted as what it stands for: a few lines of them can stand for millions."""

_NAMED = ("properties", "$defs", "definitions", "dependentSchemas", "dependencies")
_VALUES = ("enum", "const", "default", "examples", "dependentRequired")
_FOREIGN = ("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor")


@dataclass(frozen=True, slots=True)
class DocumentedKey:
    """A key of the page context as the schema has it, for people."""

    name: str
    type: str
    description: str
    required: bool


@dataclass(frozen=True, slots=True)
class ContextSchema:
    """A schema that can be used. `schema` is what was written."""

    schema: Mapping[str, Any]
    _validator: Any = field(repr=False, compare=False)

    @classmethod
    def parse(cls, schema: object) -> "ContextSchema":
        """Raises `ValueError`, whose text says what is wrong and what to write."""
        if not isinstance(schema, dict):
            raise ValueError("it is no JSON Schema. Write a table, or the path of a JSON file")  # noqa: TRY004
        try:
            size = len(json.dumps(schema).encode())
        except (TypeError, ValueError, RecursionError):
            raise ValueError("it holds what JSON has not, such as a date. Write it as text") from None
        if size > LARGEST:
            raise ValueError(f"it has {size} bytes, and {LARGEST} are allowed. Shorten it")
        if schema.get("type", "object") != "object":
            raise ValueError('a page context is an object. Write type = "object"')
        try:
            return cls(schema, _compile(schema))
        except RecursionError:
            raise ValueError("it is nested too deep. Flatten it") from None

    def mistake_in(self, context: Mapping[str, Any]) -> str | None:
        """What is wrong with this context, and where; None where nothing is. Repeats no value."""
        from jsonschema.exceptions import best_match

        error = best_match(self._validator.iter_errors(context))
        if error is None:
            return None
        place = "page_context" + "".join(
            f"[{part}]" if isinstance(part, int) else f".{part[:60]}" for part in error.absolute_path
        )
        if error.validator in {"required", "dependentRequired", "additionalProperties", "unevaluatedProperties"}:
            told = error.message[:200]  # these name keys, no values
        else:
            told = f"it has to meet {error.validator}: {json.dumps(error.validator_value, ensure_ascii=False)[:200]}"
        return f"{place} does not follow this site's schema: {told}."

    def documented(self) -> list[DocumentedKey]:
        """The keys it names, in its own order."""
        required = self.schema.get("required", ())
        found = []
        for name, rules in self.schema.get("properties", {}).items():
            if isinstance(rules, bool):
                rules = {}
            if "$ref" in rules:
                rules = _target(self.schema, rules["$ref"]) | rules
            found.append(DocumentedKey(name, _type_of(rules), str(rules.get("description", "")), name in required))
        return found


def _type_of(rules: Mapping[str, Any]) -> str:
    if "const" in rules or "enum" in rules:
        allowed = rules.get("enum", [rules.get("const")])
        return " | ".join(json.dumps(one, ensure_ascii=False) for one in allowed)
    kind = rules.get("type", "")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _compile(schema: dict[str, Any]) -> Any:
    from jsonschema import FormatChecker, validators
    from jsonschema.exceptions import SchemaError
    from referencing import Registry

    unknown: Any = object()
    known: Any = (
        validators.validator_for(schema, default=unknown) if "$schema" in schema else validators.Draft202012Validator
    )
    if known is unknown:
        raise ValueError(
            "its $schema is unknown. Write https://json-schema.org/draft/2020-12/schema, or leave it out"
        )
    try:
        # Without formats: whether a pattern is one, its own engine says.
        known.check_schema(schema, format_checker=FormatChecker(()))
    except SchemaError as error:
        raise ValueError(f"it is no JSON Schema: at {error.json_path}, {error.message[:200]}") from None
    _Walk(schema).visit(schema)
    # An empty registry: whatever else would be fetched is not there.
    extend: Any = validators.extend
    return extend(known, {"pattern": _check_pattern})(schema, registry=Registry())


class _Walk:
    """Goes through every rule, as often as it is referred to. Raises `ValueError` at the first that cannot be kept
    to."""

    def __init__(self, whole: dict[str, Any]) -> None:
        self._whole = whole
        self._rules = 0

    def visit(self, schema: object, within: tuple[str, ...] = ()) -> None:
        """`within`: the references that led here."""
        self._rules += 1
        if self._rules > MOST_RULES:
            raise ValueError(f"it comes to more than {MOST_RULES} rules. Shorten it")
        if not isinstance(schema, dict):
            return
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                if value in within:
                    raise ValueError(f"{value[:100]} refers to itself. A page context is flat enough to do without")
                self.visit(_target(self._whole, value), (*within, value))
            elif key in _FOREIGN or (key == "$id" and schema is not self._whole):
                raise ValueError(f"it uses {key}, which is not supported. Refer by $ref to #/$defs/…")
            elif key == "patternProperties":
                raise ValueError("it uses patternProperties, which is not supported. Name the keys in properties")
            elif key == "pattern" and isinstance(value, str):
                _compiled(value)
            for inner in _below(key, value):
                self.visit(inner, within)


def _below(key: str, value: object) -> Iterator[object]:
    if key in _VALUES:
        return
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values() if key in _NAMED else (value,)


def _target(whole: Mapping[str, Any], reference: str) -> dict[str, Any]:
    """What a reference within the schema stands for."""
    if not reference.startswith("#/"):
        raise ValueError(f"it refers to {reference[:100]}. Nothing is fetched: write what it needs under #/$defs/…")
    found: Any = whole
    for part in reference[2:].split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"it refers to {reference[:100]}, which is not in it. Mend the reference")  # noqa: TRY004
    return found


@cache
def _compiled(pattern: str) -> Any:
    # Python's own expressions can be made to run for hours by a text of thirty letters; these cannot.
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        raise ValueError(
            f"the pattern {pattern[:100]!r} cannot be used: {reason}. It may not look ahead, behind or back"
        ) from None


def _check_pattern(validator: Any, pattern: str, instance: object, schema: object) -> Iterator[Exception]:
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and _compiled(pattern).search(instance) is None:
        yield ValidationError("the pattern is not met")
