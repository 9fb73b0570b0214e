"""What a visitor's own widget says it is, on its way to upstream, and what upstream says of it on the way back."""

import re
from collections.abc import Mapping

HEADER = "x-ocs-widget-version"
DEPRECATION = ("Deprecation", "Sunset", "Link")
"""By these upstream tells a widget of an old version that it will stop working."""

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:[.+-][0-9A-Za-z.+-]{0,50})?")
_TOLD = re.compile(r"[\x20-\x7e]{1,500}")


class WidgetVersion:
    """A version as it was claimed; one that looks like none counts as none. `told` is upstream's answer to it."""

    def __init__(self, claimed: str | None) -> None:
        self._read = _VERSION.fullmatch(claimed or "")
        self.told: dict[str, str] = {}

    @property
    def number(self) -> tuple[int, int] | None:
        """Its first two parts; None where it is not known."""
        return None if self._read is None else (int(self._read[1]), int(self._read[2]))

    def headers(self) -> dict[str, str]:
        """What a call carries."""
        return {} if self._read is None else {HEADER: self._read[0]}

    def note(self, headers: Mapping[str, str]) -> None:
        """Keep what an answer says of the version."""
        if self._read is not None:
            self.told = {one: told for one in DEPRECATION if _TOLD.fullmatch(told := headers.get(one, ""))}
