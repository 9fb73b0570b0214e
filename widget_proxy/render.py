"""Bot Markdown to safe HTML. Markdown's own HTML is off, and what comes out goes through a sanitiser all the same."""

from html import escape
from typing import Literal

import nh3
from markdown_it import MarkdownIt

LONGEST = 100_000
"""Characters rendered. A longer text is shown as it is: a parser is no place for a megabyte of hostile table."""

_TAGS = {
    *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "blockquote"),
    *("ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "a"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}
_LINK_REL = "noopener noreferrer nofollow"

# `image` is off: an image in a bot's answer tells its host who reads it, and when.
_markdown = (
    MarkdownIt("commonmark", {"html": False, "linkify": True, "breaks": True, "maxNesting": 20})
    .enable(["table", "strikethrough", "linkify"])
    .disable(["image"])
)


def render(content: str, role: Literal["user", "assistant", "system"]) -> str:
    """HTML for a message. Only the bot writes Markdown; a visitor's own text is shown as it was typed."""
    if role == "user" or len(content) > LONGEST:
        return "<p>" + escape(content, quote=False).replace("\n", "<br>") + "</p>"
    return nh3.clean(
        _markdown.render(content),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        url_relative="deny",  # it would point into the page that embeds the chat
        link_rel=_LINK_REL,
        strip_comments=True,
    )
