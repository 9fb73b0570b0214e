"""What a mistake in the configuration is called, where it is, and how it is mended."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from widget_proxy.config.rates import RatesSettings
from widget_proxy.config.settings import (
    PacingSettings,
    PagesSettings,
    RedisSettings,
    ServerSettings,
    Settings,
    UpstreamSettings,
)
from widget_proxy.config.site import TAG_ONLY, Limits, Look, Site, Texts

KeyPath = tuple[str, ...]
"""Where a setting is: `("sites", "shop", "embed_key")`."""

DEFAULT_SITE = "default"

# One site can be configured by these alone; they win over the file.
SHORT_VARIABLES: Mapping[str, KeyPath] = {
    "WIDGET_PROXY_SECRET_KEY": ("secret_key",),
    "WIDGET_PROXY_UPSTREAM_URL": ("upstream", "url"),
    "WIDGET_PROXY_REDIS_URL": ("redis", "url"),
    "WIDGET_PROXY_METRICS_TOKEN": ("server", "metrics_token"),
    "WIDGET_PROXY_CHATBOT_ID": ("sites", DEFAULT_SITE, "chatbot_id"),
    "WIDGET_PROXY_EMBED_KEY": ("sites", DEFAULT_SITE, "embed_key"),
    "WIDGET_PROXY_VISITOR_SECRET": ("sites", DEFAULT_SITE, "visitor_secret"),
    "WIDGET_PROXY_ALLOWED_ORIGINS": ("sites", DEFAULT_SITE, "allowed_origins"),
}

SECRETS = {"secret_key", "embed_key", "api_key", "oauth_client_secret", "visitor_secret", "metrics_token"}
REDIS_URL: KeyPath = ("redis", "url")
"""It may have a password in it. Upstream's address may not."""
CREDENTIALS = {("secret_key",), ("server", "metrics_token"), REDIS_URL}
"""Secrets of no site."""
SITE_SECRETS = sorted(SECRETS & set(Site.model_fields))
SECTIONS: Mapping[str, type[BaseModel]] = {
    "server": ServerSettings,
    "upstream": UpstreamSettings,
    "pacing": PacingSettings,
    "rates": RatesSettings,
    "redis": RedisSettings,
    "pages": PagesSettings,
    "look": Look,
    "texts": Texts,
    "limits": Limits,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration."""

    key: str
    place: str
    mend: str

    def __str__(self) -> str:
        return f"{self.key} ({self.place}): {self.mend}"


def is_secret(key_path: KeyPath) -> bool:
    """Whether what is set here may be read from a file, and is told nobody."""
    return key_path[-1:] != () and (key_path[-1] in SECRETS or key_path == REDIS_URL)


def secret_in(key_path: KeyPath) -> KeyPath | None:
    """The secret that a key with `_file` at its end names the file of; None where it names none."""
    if not key_path or not key_path[-1].endswith("_file"):
        return None
    secret = (*key_path[:-1], key_path[-1].removesuffix("_file"))
    return secret if is_secret(secret) else None


def mend_of(detail: ErrorDetails, key_path: KeyPath) -> str:
    """A sentence that says what is wrong and what to write. It repeats no value that may be a secret."""
    kind, last = detail["type"], key_path[-1] if key_path else ""
    match kind:
        case "missing":
            return _missing(key_path)
        case "setting":
            return detail["msg"]
        case "model_type" | "dict_type":
            return f"it is no table. Write {'.'.join(key_path)} as one, such as [{_table_name(key_path)}]"
        case "tuple_type":
            return 'it is no list. Write it in brackets, such as ["…", "…"]'
        case "extra_forbidden":
            return _unknown(key_path)
        case "value_error":
            return str(detail.get("ctx", {}).get("error", detail["msg"]))
        case "too_short" if last in {"sites", ""}:
            return "no site is configured. Add a [sites.<name>] table or the WIDGET_PROXY_… variables"
        case "too_short" if last == "secret_key" and detail["loc"][-1] == last:
            return _missing(key_path)
        case "too_short" | "string_too_short" if last == "embed_key":
            return (
                "the embed key is empty; upstream would take it for another channel. Set it from the channel's page"
            )
        case "too_short" | "string_too_short" if last in {"secret_key", "visitor_secret"}:
            return "it is shorter than 32 characters. Make one with `widget-proxy new-secret`"
        case "too_short" | "string_too_short" if last == "metrics_token":
            return "it is shorter than 16 characters. Make one with `widget-proxy new-secret`"
        case "too_short" | "string_too_short" if last in SECRETS:
            return "it is empty. Set it, or remove it"
        case "too_short" if last == "allowed_origins":
            return "no origin is allowed. Name the pages' origins, such as https://shop.example.com"
        case "string_pattern_mismatch" if last == "accent":
            return f"{detail['input']!r} is no colour. Write it as #rrggbb, such as #2457d6"
        case "bool_parsing" | "bool_type" if isinstance(detail["input"], str | int | float):
            return f"it is neither true nor false (it is {_shown(detail['input'])})"
        case "uuid_parsing" | "uuid_type":
            return "it is not a UUID. Copy the chatbot's id from its Embedded Widget channel"
        case _:
            # Of what was written only a single value, never a table: a misplaced one may have a secret in it.
            plain = isinstance(detail["input"], str | int | float) and not (
                is_secret(key_path) or secret_in(key_path)
            )
            shown = f" (it is {_shown(detail['input'])})" if plain else ""
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}{shown}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]} …{text[-1]}"


def _unknown(key_path: KeyPath) -> str:
    *section, last = key_path
    if section[:1] == ["sites"] and section[-1:] == ["look"] and last in TAG_ONLY:
        return f"it cannot be a site's default. Write it into the page's tag, as data-{last.replace('_', '-')}"
    near = difflib.get_close_matches(last, _known_keys(tuple(section)), 1)
    if not near and len(section) > 1 and section[0] == "sites":
        near = [".".join((*one, last)) for one in _tables_of_a_site(section[1]) if last in _known_keys(one)]
    return "there is no such setting. " + (
        f"Did you mean {near[0]}?" if near else "Remove it, or see docs/configuration.md"
    )


def _tables_of_a_site(slug: str) -> list[KeyPath]:
    return [("sites", slug), *(("sites", slug, table) for table in ("look", "texts", "limits"))]


def _table_name(key_path: KeyPath) -> str:
    return "sites.my-shop" if key_path == ("sites",) else ".".join(key_path)


def _missing(key_path: KeyPath) -> str:
    if key_path == ("secret_key",):
        return "it is not set. Run `widget-proxy new-secret` and set WIDGET_PROXY_SECRET_KEY to what it prints"
    if key_path == ("sites",):
        return (
            "no site is configured. Add a [sites.<name>] table to widget-proxy.toml, or set WIDGET_PROXY_CHATBOT_ID, "
            "WIDGET_PROXY_EMBED_KEY and WIDGET_PROXY_ALLOWED_ORIGINS"
        )
    for variable, known in SHORT_VARIABLES.items():
        if known == key_path:
            return f"it is not set. Set {variable}, or {'.'.join(key_path)} in widget-proxy.toml"
    return f"it is not set. Set {'.'.join(key_path)} in widget-proxy.toml"


def _known_keys(section: KeyPath) -> list[str]:
    if not section:
        return [*Settings.model_fields, "secret_key_file"]
    if section == ("server",):
        return [*ServerSettings.model_fields, "metrics_token_file"]
    if section == ("redis",):
        return [*RedisSettings.model_fields, "url_file"]
    if section[0] == "sites" and len(section) == 2:
        return [*(set(Site.model_fields) - {"slug"}), *(f"{secret}_file" for secret in SITE_SECRETS)]
    model = SECTIONS.get(section[-1])
    return list(model.model_fields) if model else []


_TABLE = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def line_of_key(text: str, key_path: KeyPath) -> int | None:
    """The line (from 1) on which `key_path` is set in this TOML text, else that of the nearest table around it;
    None where the text names none of them. The standard library's parser tells no positions."""
    table: KeyPath = ()
    best: tuple[int, int] | None = None  # how much of the path matched, and where
    for number, line in enumerate(text.splitlines(), 1):
        if matched := _TABLE.fullmatch(line):
            table = _parts(matched[1])
            here = table
        elif matched := _KEY.match(line):
            here = (*table, *_parts(matched[1]))
        else:
            continue
        if key_path[: len(here)] == here and (best is None or len(here) > best[0]):
            best = (len(here), number)
    return best[1] if best else None


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
