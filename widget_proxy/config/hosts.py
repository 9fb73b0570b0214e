"""Hosts that images may come from, and the patterns a site's owner writes for them."""

import re
from dataclasses import dataclass
from typing import Self

# As browsers write a host: lower-case ASCII. A name that ends in digits would be read as an address.
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A host, exact, or `*.example.com` for every name below it, of any depth; the bare domain is written beside it.

    The meaning is the one that `https://` and this text have in a Content-Security-Policy.
    """

    text: str
    host: str
    wildcard: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern. Raises `ValueError`, a sentence with the mend, for anything that is no host."""
        candidate = text.strip().lower()
        host = candidate.removeprefix("*.")
        wildcard = host != candidate
        if candidate == "*" or (wildcard and "." not in host):
            raise ValueError(
                f"{text!r} would show images of anybody's servers. "
                "Name each host, such as images.example.com or *.example.com"
            )
        if _HOST.fullmatch(host) is None:
            raise ValueError(
                f"{text!r} is not a host's name. Write it alone, without https://, port or path, and in ASCII, "
                "such as images.example.com or *.example.com"
            )
        return cls(text=candidate, host=host, wildcard=wildcard)

    def allows(self, host: str) -> bool:
        """Whether this host, as a browser writes it, is meant."""
        return host.endswith("." + self.host) if self.wildcard else host == self.host

    @property
    def source(self) -> str:
        """What names it in a Content-Security-Policy."""
        return f"https://{self.text}"
