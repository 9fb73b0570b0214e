"""An event as it stands in a log in Redis. Pure."""

import json
from datetime import UTC, datetime

from widget_proxy.broker import Entry
from widget_proxy.messages import Event

Rows = list[tuple[str, dict[str, str]]]
"""Of a Redis stream: each entry's id, which is the cursor, and its fields, `e` the event and `n` its number."""


def entry_of(cursor: str, fields: dict[str, str]) -> Entry:
    """What `written` wrote."""
    name, data, identity, at, *more = json.loads(fields["e"])
    moment = None if at is None else datetime.fromtimestamp(at, UTC)
    return Entry(cursor, Event(name, data, identity, moment, *more))


def written(event: Event) -> str:
    """The event as JSON."""
    at = None if event.at is None else event.at.timestamp()
    # Few events have a `reply`, and none that was written before there were any.
    parts = [event.name, event.data, event.identity, at, *([event.reply] if event.reply else [])]
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
