"""Where settings come from: a TOML file, the environment above it, secrets from files.

Every mistake is collected, and each is named with its key, its place (file and line, or variable) and its mend.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from widget_proxy.config.mistakes import (
    CREDENTIALS,
    REDIS_URL,
    SHORT_VARIABLES,
    SITE_SECRETS,
    KeyPath,
    Problem,
    is_secret,
    line_of_key,
    mend_of,
    secret_in,
)
from widget_proxy.config.settings import SITE_SLUG, Settings

PREFIX = "WIDGET_PROXY_"
DEFAULT_FILE = "widget-proxy.toml"


CONFIG_VARIABLE = "WIDGET_PROXY_CONFIG"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""systemd names a service's credentials' directory in it."""

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
Stamp = tuple[int, int, int] | None
"""What tells one state of a file from another: when it was written, which it is, its size. None: there is none."""


def stamp_of(file: Path) -> Stamp:
    """The file's present state; of a link, that of what it leads to."""
    try:
        about = file.stat()
    except (OSError, ValueError):  # a path with a NUL
        return None
    return about.st_mtime_ns, about.st_ino, about.st_size


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
        self._places: dict[KeyPath, str] = {}
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
            if key_path in CREDENTIALS or (
                key_path[0] == "sites" and len(key_path) == 3 and key_path[2] in SITE_SECRETS
            ):
                self._set((*key_path[:-1], key_path[-1] + "_file"), str(file), f"credential {file.name}")
            elif key_path[0] == "sites":
                self._fail(file.name, "credential", f"there is no such secret. A site has {', '.join(SITE_SECRETS)}")

    def _read_environment(self) -> None:
        for name, value in sorted(self._environ.items()):
            if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
                continue
            base = name.removesuffix("_FILE")
            if name in SHORT_VARIABLES:
                key_path = SHORT_VARIABLES[name]
            elif base in SHORT_VARIABLES and is_secret(SHORT_VARIABLES[base]):
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

    def _long_variable(self, name: str) -> KeyPath:
        """`WIDGET_PROXY_SITES__MY_SHOP__EMBED_KEY` is `sites.my-shop.embed_key`."""
        parts = name.removeprefix(PREFIX).lower().split("__")
        if parts[0] == "sites" and len(parts) > 1:
            sites = self._data.get("sites")
            known = {slug.replace("-", "_"): slug for slug in sites} if isinstance(sites, dict) else {}
            parts[1] = known.get(parts[1], parts[1].replace("_", "-"))
        return tuple(parts)

    def _set(self, key_path: KeyPath, value: object, place: str) -> None:
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
        if is_secret(key_path) or secret_in(key_path):
            # The environment wins over the file in both spellings of a secret.
            other = key.removesuffix("_file") if key.endswith("_file") else key + "_file"
            if (*key_path[:-1], other) not in self._places:
                table.pop(other, None)
        self._places[key_path] = place

    def _read_named_files(self, table: dict[str, Any], at: KeyPath) -> None:
        for key in list(table):
            value = table[key]
            if key == _SCHEMA:
                self._read_schema(table, (*at, key))
            elif isinstance(value, dict):
                self._read_named_files(value, (*at, key))
            elif secret_path := secret_in((*at, key)):
                secret = secret_path[-1]
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
                    # The secret itself may stand where its file should be named.
                    shown = repr(str(value)) if str(value).startswith(("/", ".")) else "what it names"
                    self._fail(name, place, f"{shown} cannot be read: {reason}. Name a readable file")
                    # So that one mistake is not reported twice.
                    table[secret] = "redis://unread" if secret_path == REDIS_URL else "x" * 32
                self._places[(*at, secret)] = place

    def _read_schema(self, table: dict[str, Any], at: KeyPath) -> None:
        """A schema's path becomes what is in the file; one that cannot be read is reported, and left out."""
        value = table[_SCHEMA]
        if not isinstance(value, str):
            return
        path = Path(value)
        self._files[path] = stamp_of(path)
        try:
            table[_SCHEMA] = json.loads(_read_text(path))
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

    def _place(self, key_path: KeyPath) -> str:
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
        return Problem(key or "settings", self._place(key_path), mend_of(detail, key_path))


def _read_text(path: Path) -> str:
    if path.stat().st_size > _FILE_LIMIT:
        raise OSError("it is larger than 64 KiB")
    return path.read_text("utf-8").strip()
