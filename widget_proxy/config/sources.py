"""Where settings come from: a TOML file, the environment above it, secrets from files.

Every mistake is collected, and each is named with its key, its place (file and line, or variable) and its mend.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from widget_proxy.config.rates import RatesSettings
from widget_proxy.config.settings import (
    SITE_SLUG,
    PacingSettings,
    PagesSettings,
    RedisSettings,
    ServerSettings,
    Settings,
    UpstreamSettings,
)
from widget_proxy.config.site import (
    TAG_ONLY,
    Limits,
    Look,
    Site,
    Texts,
)

PREFIX = "WIDGET_PROXY_"
DEFAULT_FILE = "widget-proxy.toml"
DEFAULT_SITE = "default"

_KeyPath = tuple[str, ...]

# One site can be configured by these alone; they win over the file.
SHORT_VARIABLES: Mapping[str, _KeyPath] = {
    "WIDGET_PROXY_SECRET_KEY": ("secret_key",),
    "WIDGET_PROXY_UPSTREAM_URL": ("upstream", "url"),
    "WIDGET_PROXY_REDIS_URL": ("redis", "url"),
    "WIDGET_PROXY_METRICS_TOKEN": ("server", "metrics_token"),
    "WIDGET_PROXY_CHATBOT_ID": ("sites", DEFAULT_SITE, "chatbot_id"),
    "WIDGET_PROXY_EMBED_KEY": ("sites", DEFAULT_SITE, "embed_key"),
    "WIDGET_PROXY_VISITOR_SECRET": ("sites", DEFAULT_SITE, "visitor_secret"),
    "WIDGET_PROXY_ALLOWED_ORIGINS": ("sites", DEFAULT_SITE, "allowed_origins"),
}
CONFIG_VARIABLE = "WIDGET_PROXY_CONFIG"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""systemd names a service's credentials' directory in it."""

_SECRETS = {"secret_key", "embed_key", "api_key", "oauth_client_secret", "visitor_secret", "metrics_token"}
_SITE_SECRETS = sorted(_SECRETS & set(Site.model_fields))
_SCHEMA = "page_context_schema"
_FILE_LIMIT = 65_536
_LISTS = {
    "allowed_origins",
    "trusted_proxies",
    "image_hosts",
    "welcome_messages",
    "starter_questions",
    "languages",
    "file_extensions",
    "signed_only",
    "page_url_parameters",
}
_SECTIONS: Mapping[str, type[BaseModel]] = {
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


Stamp = tuple[int, int, int] | None
"""What tells one state of a file from another: when it was written, which it is, its size. None: there is none."""


def stamp_of(file: Path) -> Stamp:
    """The file's present state; of a link, that of what it leads to."""
    try:
        about = file.stat()
    except (OSError, ValueError):  # a path with a NUL
        return None
    return about.st_mtime_ns, about.st_ino, about.st_size


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration."""

    key: str
    place: str
    mend: str

    def __str__(self) -> str:
        return f"{self.key} ({self.place}): {self.mend}"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has every mistake found, not only the first; `files` are those it
    was read from."""

    def __init__(self, problems: Sequence[Problem], files: Mapping[Path, Stamp] | None = None) -> None:
        self.problems = tuple(problems)
        self.files = dict(files or {})
        super().__init__("\n".join(str(problem) for problem in problems))


def load_settings(environ: Mapping[str, str], path: Path | None = None) -> Settings:
    """Read the settings from `path` (else `WIDGET_PROXY_CONFIG`, else `./widget-proxy.toml` where it exists) and
    the environment above it. Raises `ConfigError`; never prints a secret's value."""
    return read_settings(environ, path).settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and the files they were read from, as they were then."""

    settings: Settings
    files: Mapping[Path, Stamp]


def read_settings(environ: Mapping[str, str], path: Path | None = None) -> Loaded:
    """As `load_settings`, with the files."""
    return _Reader(environ, path).read()


class _Reader:
    def __init__(self, environ: Mapping[str, str], path: Path | None) -> None:
        self._environ = environ
        self._path = path
        self._text = ""
        self._data: dict[str, Any] = {}
        self._places: dict[_KeyPath, str] = {}
        self._problems: list[Problem] = []
        self._files: dict[Path, Stamp] = {}

    def read(self) -> Loaded:
        self._read_file()
        self._read_credentials()
        self._read_environment()
        self._read_named_files(self._data, ())
        self._name_sites()
        settings: Settings | None = None
        try:
            settings = Settings.model_validate(self._data)
        except ValidationError as error:
            self._problems += [self._explain(detail) for detail in error.errors(include_url=False)]
        if self._problems or settings is None:
            raise ConfigError(self._problems, self._files)
        return Loaded(settings, self._files)

    def _read_file(self) -> None:
        path, chosen = self._path, self._path is not None
        if path is None and (named := self._environ.get(CONFIG_VARIABLE)):
            path, chosen = Path(named), True
        if path is None:
            path = Path(DEFAULT_FILE)
        self._path = path
        self._files[path] = stamp_of(path)
        try:
            self._text = path.read_text("utf-8")
        except FileNotFoundError:
            if chosen:
                self._fail(str(path), "file", "there is no such file. Name an existing one, or none")
            return
        except (OSError, UnicodeDecodeError) as error:
            self._fail(str(path), "file", f"it cannot be read: {error}. Check its permissions and that it is UTF-8")
            return
        try:
            self._data = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            self._fail(str(path), "file", f"it is not valid TOML: {error}")

    def _read_credentials(self) -> None:
        """What systemd hands over (`LoadCredential=`): files that are named as the secret is, `sites.shop.embed_key`.
        A service may have others of its own, which are not looked at."""
        if not (directory := self._environ.get(CREDENTIALS_VARIABLE)):
            return
        try:
            files = sorted(file for file in Path(directory).iterdir() if file.is_file())
        except OSError as error:
            self._fail(CREDENTIALS_VARIABLE, "environment", f"the directory cannot be read: {error.strerror}")
            return
        self._files[Path(directory)] = stamp_of(Path(directory))
        for file in files:
            key_path = tuple(file.name.split("."))
            if key_path == ("secret_key",) or (
                key_path[0] == "sites" and len(key_path) == 3 and key_path[2] in _SITE_SECRETS
            ):
                self._set((*key_path[:-1], key_path[-1] + "_file"), str(file), f"credential {file.name}")
            elif key_path[0] == "sites":
                self._fail(file.name, "credential", f"there is no such secret. A site has {', '.join(_SITE_SECRETS)}")

    def _read_environment(self) -> None:
        for name, value in sorted(self._environ.items()):
            if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
                continue
            base = name.removesuffix("_FILE")
            if name in SHORT_VARIABLES:
                key_path = SHORT_VARIABLES[name]
            elif base in SHORT_VARIABLES and SHORT_VARIABLES[base][-1] in _SECRETS:
                key_path = (*SHORT_VARIABLES[base][:-1], SHORT_VARIABLES[base][-1] + "_file")
            elif "__" in name:
                key_path = self._long_variable(name)
            else:
                near = difflib.get_close_matches(name, [*SHORT_VARIABLES, CONFIG_VARIABLE], 1)
                self._fail(
                    name,
                    "environment",
                    "there is no such setting. "
                    + (f"Did you mean {near[0]}?" if near else "Remove it, or see docs/configuration.md"),
                )
                continue
            self._set(key_path, value, name)

    def _long_variable(self, name: str) -> _KeyPath:
        """`WIDGET_PROXY_SITES__MY_SHOP__EMBED_KEY` is `sites.my-shop.embed_key`."""
        parts = name.removeprefix(PREFIX).lower().split("__")
        if parts[0] == "sites" and len(parts) > 1:
            sites = self._data.get("sites")
            known = {slug.replace("-", "_"): slug for slug in sites} if isinstance(sites, dict) else {}
            parts[1] = known.get(parts[1], parts[1].replace("_", "-"))
        return tuple(parts)

    def _set(self, key_path: _KeyPath, value: object, place: str) -> None:
        table = self._data
        for part in key_path[:-1]:
            below = table.setdefault(part, {})
            if not isinstance(below, dict):
                self._fail(".".join(key_path), place, f"{part!r} is no table in the file. Mend it there")
                return
            table = below
        key = key_path[-1]
        if key in _LISTS and isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        table[key] = value
        if key.removesuffix("_file") in _SECRETS:
            # The environment wins over the file in both spellings of a secret.
            other = key.removesuffix("_file") if key.endswith("_file") else key + "_file"
            if (*key_path[:-1], other) not in self._places:
                table.pop(other, None)
        self._places[key_path] = place

    def _read_named_files(self, table: dict[str, Any], at: _KeyPath) -> None:
        for key in list(table):
            value = table[key]
            if key == _SCHEMA:
                self._read_schema(table, (*at, key))
            elif isinstance(value, dict):
                self._read_named_files(value, (*at, key))
            elif key.endswith("_file") and key.removesuffix("_file") in _SECRETS:
                secret = key.removesuffix("_file")
                place = self._place((*at, key))
                name = ".".join((*at, key))
                del table[key]
                if secret in table:
                    self._fail(name, place, f"{secret} is set as well. Keep one of the two")
                    continue
                path = Path(str(value))
                self._files[path] = stamp_of(path)
                try:
                    table[secret] = _read_text(path)
                except (OSError, ValueError) as error:
                    reason = getattr(error, "strerror", None) or str(error)
                    self._fail(name, place, f"{str(value)!r} cannot be read: {reason}. Name a readable file")
                    table[secret] = "x" * 32  # so that one mistake is not reported twice
                self._places[(*at, secret)] = place

    def _read_schema(self, table: dict[str, Any], at: _KeyPath) -> None:
        """A schema's path becomes what is in the file; one that cannot be read is reported, and left out."""
        value = table[_SCHEMA]
        if not isinstance(value, str):
            return
        try:
            table[_SCHEMA] = json.loads(_read_text(Path(value)))
        except (OSError, ValueError, RecursionError) as error:
            del table[_SCHEMA]
            reason = getattr(error, "strerror", None) or str(error)
            mend = "Name a readable file with a JSON Schema in it"
            self._fail(".".join(at), self._place(at), f"{value!r} cannot be read: {reason}. {mend}")

    def _name_sites(self) -> None:
        sites = self._data.get("sites")
        if not isinstance(sites, dict):
            return
        for slug, site in list(sites.items()):
            if SITE_SLUG.fullmatch(slug) is None:
                self._fail(
                    f"sites.{slug}",
                    self._place(("sites", slug)),
                    "a site's name has only lower-case letters, digits and hyphens, at most 64, as in sites.my-shop",
                )
            if isinstance(site, dict):
                if "slug" in site:
                    place = self._place(("sites", slug, "slug"))
                    self._fail(f"sites.{slug}.slug", place, "there is no such setting. The table's name is the slug")
                site["slug"] = slug

    def _fail(self, key: str, place: str, mend: str) -> None:
        self._problems.append(Problem(key, place, mend))

    def _place(self, key_path: _KeyPath) -> str:
        for end in range(len(key_path), 0, -1):
            if key_path[:end] in self._places:
                return self._places[key_path[:end]]
        line = line_of_key(self._text, key_path)
        if line is not None and self._path is not None:
            return f"{self._path}:{line}"
        return "not set"

    def _explain(self, detail: ErrorDetails) -> Problem:
        key_path = tuple(str(part) for part in detail["loc"] if not isinstance(part, int))
        if detail["type"] == "setting":
            key_path = tuple(detail["ctx"]["key"].split("."))
        positions = [part for part in detail["loc"] if isinstance(part, int)]
        key = ".".join(key_path) + "".join(f"[{position}]" for position in positions)
        return Problem(key or "settings", self._place(key_path), _mend(detail, key_path))


def _read_text(path: Path) -> str:
    if path.stat().st_size > _FILE_LIMIT:
        raise OSError("it is larger than 64 KiB")
    return path.read_text("utf-8").strip()


def _mend(detail: ErrorDetails, key_path: _KeyPath) -> str:
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
        case "too_short" | "string_too_short" if last in _SECRETS:
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
            plain = isinstance(detail["input"], str | int | float) and last.removesuffix("_file") not in _SECRETS
            shown = f" (it is {_shown(detail['input'])})" if plain else ""
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}{shown}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]} …{text[-1]}"


def _unknown(key_path: _KeyPath) -> str:
    *section, last = key_path
    if section[:1] == ["sites"] and section[-1:] == ["look"] and last in TAG_ONLY:
        return f"it cannot be a site's default. Write it into the page's tag, as data-{last.replace('_', '-')}"
    near = difflib.get_close_matches(last, _known_keys(tuple(section)), 1)
    if not near and len(section) > 1 and section[0] == "sites":
        near = [".".join((*one, last)) for one in _tables_of_a_site(section[1]) if last in _known_keys(one)]
    return "there is no such setting. " + (
        f"Did you mean {near[0]}?" if near else "Remove it, or see docs/configuration.md"
    )


def _tables_of_a_site(slug: str) -> list[_KeyPath]:
    return [("sites", slug), *(("sites", slug, table) for table in ("look", "texts", "limits"))]


def _table_name(key_path: _KeyPath) -> str:
    return "sites.my-shop" if key_path == ("sites",) else ".".join(key_path)


def _missing(key_path: _KeyPath) -> str:
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


def _known_keys(section: _KeyPath) -> list[str]:
    if not section:
        return [*Settings.model_fields, "secret_key_file"]
    if section == ("server",):
        return [*ServerSettings.model_fields, "metrics_token_file"]
    if section[0] == "sites" and len(section) == 2:
        return [*(set(Site.model_fields) - {"slug"}), *(f"{secret}_file" for secret in _SITE_SECRETS)]
    model = _SECTIONS.get(section[-1])
    return list(model.model_fields) if model else []


_TABLE = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def line_of_key(text: str, key_path: _KeyPath) -> int | None:
    """The line (from 1) on which `key_path` is set in this TOML text, else that of the nearest table around it;
    None where the text names none of them. The standard library's parser tells no positions."""
    table: _KeyPath = ()
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


def _parts(dotted: str) -> _KeyPath:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
