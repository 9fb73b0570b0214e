"""A visitor's message on its way to the hub, whichever API it came by: what it may be, and one try to send it."""

from collections.abc import Mapping, Sequence
from typing import Any

from widget_proxy.config import Site
from widget_proxy.drain import Drain
from widget_proxy.handles import AwaitedTask, ChatSession
from widget_proxy.hub import Hub
from widget_proxy.page_context import PageContextError, told_of_page
from widget_proxy.problems import Problem, from_upstream
from widget_proxy.upstream import UpstreamError, WidgetVersion

DRAIN_SHARE = 0.8
"""Share of the time until the server exits that upstream has left to answer what was sent to it."""


def check_message(message: str, site: Site) -> str:
    """The message as it is sent. Raises `Problem`."""
    message = message.strip()
    if not message:
        raise Problem("message_empty", "Write something first.")
    if len(message) > site.limits.message_characters:
        raise Problem(
            "message_too_long",
            f"The message has {len(message)} characters, and {site.limits.message_characters} are allowed.",
        )
    if "\0" in message:
        raise Problem("bad_request", "message holds a NUL character.")
    return message


def message_context(
    given: object, site: Site, session: ChatSession, signed: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """What goes upstream as the page that a message was written on; None where nothing is said of it. `signed` came
    with the message; without it, what was signed at the start still holds. Raises `Problem`."""
    remembered = session.signed_context
    try:
        context = told_of_page(given, remembered if signed is None else signed, site, remembered)
    except PageContextError as error:
        raise Problem(error.code, str(error)) from None
    # Upstream keeps the last page's context when it is sent an empty one; this says that there is nothing more.
    return context if context is None else context or {"page_url": session.origin}


async def send_message(
    hub: Hub,
    drain: Drain,
    session: ChatSession,
    message: str,
    context: Mapping[str, Any] | None,
    files: Sequence[int],
    widget: WidgetVersion | None = None,
) -> AwaitedTask:
    """Send it, once. Raises `Problem`, with the message's `fate` in it."""
    with drain.within(DRAIN_SHARE):
        try:
            return await hub.send(session, message, context=context, attachment_ids=files, widget=widget)
        except UpstreamError as error:
            raise from_upstream(error, session.site, send=True) from error
    raise unknown_fate()


def unknown_fate() -> Problem:
    """Nobody can say whether a message arrived."""
    return Problem(
        "upstream_unreachable",
        "It is not known whether the message arrived. Look at the conversation before sending it again.",
        status=504,
        extra={"fate": "unknown"},
    )
