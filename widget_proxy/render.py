"""Bot Markdown to safe HTML. Markdown's own HTML is off, and what comes out goes through a sanitiser all the same."""

import re
from html import escape
from typing import Literal

import nh3
from markdown_it import MarkdownIt

LONGEST = 20_000
"""Characters rendered, several times a long answer. A longer text is shown as it is: the parser's time grows with the
square of a hostile one's length (100,000 characters of `![` took 5 s), and every stream waits for it."""

# The search for bare addresses is slower still (20,000 characters took 3 s), but only within a run without spaces.
_ENDLESS = re.compile(r"\S{2000}")

_TAGS = {
    *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "blockquote"),
    *("ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "a"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}
_LINK_REL = "noopener noreferrer nofollow"


# `image` is off: an image in a bot's answer tells its host who reads it, and when.
def _parser(*, linkify: bool) -> MarkdownIt:
    options = {"html": False, "linkify": linkify, "breaks": True, "maxNesting": 20}
    return MarkdownIt("commonmark", options).enable(["table", "strikethrough", "linkify"]).disable(["image"])


_markdown = _parser(linkify=True)
_markdown_without_bare_links = _parser(linkify=False)


def render(content: str, role: Literal["user", "assistant", "system"]) -> str:
    """HTML for a message. Only the bot writes Markdown; a visitor's own text is shown as it was typed."""
    if role == "user" or len(content) > LONGEST:
        return "<p>" + escape(content, quote=False).replace("\n", "<br>") + "</p>"
    markdown = _markdown_without_bare_links if _ENDLESS.search(content) else _markdown
    return nh3.clean(
        markdown.render(content),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        url_relative="deny",  # it would point into the page that embeds the chat
        link_rel=_LINK_REL,
        strip_comments=True,
    )
