"""What an uploaded file is called, and what it is. Pure. Both are made from its name: what a browser says of a file's
type is its sender's claim, and nothing upstream looks any closer."""

import re
import unicodedata

from widget_proxy.config.file_types import CONTENT_TYPES, UNKNOWN_TYPE

LONGEST = 120
"""Bytes in UTF-8, the ending among them: upstream stores the name, with some of its own before it, as a file's."""

_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,16}")
_ESCAPED = re.compile(r"%(?:22|0[DdAa])")  # as browsers write a quote and a line break in a name
_FORBIDDEN = re.compile(r'["<>|:*?;\ufffd]')
_SPACES = re.compile(r"\s+")


def clean_name(claimed: bytes) -> str:
    """A name to show and to send: the last part of a path, in UTF-8, without anything that ends a line, turns the
    direction of writing or is no part of a file's name. Never empty."""
    text = _SPACES.sub(" ", _ESCAPED.sub("_", claimed.decode("utf-8", "replace")))
    text = "".join(one for one in text if not unicodedata.category(one).startswith("C"))
    text = _SPACES.sub(" ", unicodedata.normalize("NFC", text))
    text = _FORBIDDEN.sub("_", re.split(r"[/\\]", text)[-1]).rstrip(" .")
    stem, dot, ending = text.rpartition(".")
    if not dot or _EXTENSION.fullmatch(dot + ending) is None:
        stem, dot, ending = text, "", ""
    room = LONGEST - len(dot + ending)
    return (stem.strip(" .").encode()[:room].decode("utf-8", "ignore").rstrip(" .") or "file") + dot + ending


def extension_of(name: str) -> str:
    """The ending in lower case, with its dot; empty where there is none."""
    _, dot, ending = name.rpartition(".")
    return (dot + ending).lower() if _EXTENSION.fullmatch(dot + ending) else ""


def content_type_of(name: str) -> str:
    """What a file of this name is."""
    return CONTENT_TYPES.get(extension_of(name), UNKNOWN_TYPE)
