"""Bot Markdown to safe HTML. Markdown's own HTML is off, and what comes out goes through a sanitiser all the same."""

import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Literal

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

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


_IMAGE_ATTRIBUTES = {"src", "alt", "title", "loading", "referrerpolicy"}

# Nothing before the host but the scheme, and nothing in it that browsers would read as another one.
_IMAGE = re.compile(r"https://([a-z0-9._-]+)(?::443)?((?:[/?#][!-~]*)?)", re.IGNORECASE)


def no_images(host: str) -> bool:
    """An image tells its host who reads a message, and when: none is shown unless a site names the host."""
    return False


def render(
    content: str, role: Literal["user", "assistant", "system"], shows_images_of: Callable[[str], bool] = no_images
) -> str:
    """HTML for a message. Only the bot writes Markdown; a visitor's own text is shown as it was typed.

    An image is shown where `shows_images_of` its host, in lower case; else there is a link to it.
    """
    if role == "user" or len(content) > LONGEST:
        return "<p>" + escape(content, quote=False).replace("\n", "<br>") + "</p>"

    def image_of(address: str) -> str | None:
        found = _IMAGE.fullmatch(address)
        return f"https://{found[1].lower()}{found[2]}" if found and shows_images_of(found[1].lower()) else None

    def kept(tag: str, attribute: str, value: str) -> str | None:
        return image_of(value) if (tag, attribute) == ("img", "src") else value

    markdown = _markdown_without_bare_links if _ENDLESS.search(content) else _markdown
    html: str = markdown.render(content, {"image_of": image_of})
    images = "<img" in html
    return nh3.clean(
        html,
        tags=_TAGS | {"img"} if images else _TAGS,
        attributes=_ATTRIBUTES | {"img": _IMAGE_ATTRIBUTES} if images else _ATTRIBUTES,
        attribute_filter=kept if images else None,
        url_schemes=_SCHEMES,
        url_relative="deny",  # it would point into the page that embeds the chat
        link_rel=_LINK_REL,
        strip_comments=True,
    )


_plain = RendererHTML()


def _images_or_links(state: StateCore) -> None:
    for token in state.tokens:
        if token.children:
            token.children = list(_decided(state, token.children))


def _decided(state: StateCore, tokens: Sequence[Token]) -> Iterator[Token]:
    """The same tokens, with a link in place of each image that is not shown: within a link, or without an address
    that can be followed, its text alone."""
    within = 0
    for token in tokens:
        within += token.nesting if token.type in {"link_open", "link_close"} else 0
        if token.type != "image":
            yield token
            continue
        address = str(token.attrs["src"])
        if image := state.env["image_of"](address):
            token.attrs |= {"src": image, "loading": "lazy", "referrerpolicy": "no-referrer"}
            yield token
            continue
        text = Token("text", "", 0)
        text.content = _plain.renderInlineAsText(token.children, state.md.options, state.env)
        if within or not address.lower().startswith(("https://", "http://")):
            yield text
            continue
        text.content = text.content or address
        yield Token("link_open", "a", 1, attrs={"href": address})
        yield text
        yield Token("link_close", "a", -1)


def _parser(*, linkify: bool) -> MarkdownIt:
    options = {"html": False, "linkify": linkify, "breaks": True, "maxNesting": 20}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough", "linkify"])
    parser.core.ruler.push("images_or_links", _images_or_links)
    return parser


_markdown = _parser(linkify=True)
_markdown_without_bare_links = _parser(linkify=False)
