"""Bot Markdown to safe HTML. Markdown's own HTML is off, and what comes out goes through a sanitiser all the same."""

import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Literal
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

LONGEST = 20_000
"""Characters rendered, several times a long answer. A longer text is shown as it is."""

MOST_STEPS = 4000
"""What one text may cost, in places where the parser looks what it has before it: some 10 µs each, and every stream
waits meanwhile. A text that costs more is shown as it is. An answer of 4,000 characters takes some hundred steps;
20,000 hostile ones, a table of a hundred columns and as many empty rows, took 1.2 s and made 700 kB of HTML."""

_BLOCK_STEPS = 2
_LINK_STEPS = 5

# The search for bare addresses takes no steps: it is slow for each (100 µs), and in a run without spaces (20,000
# characters took 3 s).
MOST_ADDRESSES = 200
_ADDRESS = re.compile(r"//|[.@]\w")
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


# What a reader takes for an address. Browsers end a host at a backslash, too.
_NAMED = re.compile(r"\s*(?:https?://|www\.)([^\s/?#\\]+)", re.IGNORECASE)

# With these a name looks like another one. The marks that right-to-left text needs are none of them.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def no_images(host: str) -> bool:
    """An image tells its host who reads a message, and when: none is shown unless a site names the host."""
    return False


def _parser(*, linkify: bool) -> MarkdownIt:
    options = {"html": False, "linkify": linkify, "breaks": True, "maxNesting": 20}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough", "linkify"])
    parser.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
    places = ["paragraph", "reference", "blockquote", "list"]
    parser.block.ruler.before("table", "steps", _block_step, {"alt": places})
    parser.inline.ruler.before("text", "steps", _inline_step)
    parser.core.ruler.push("images_or_links", _images_or_links)
    parser.core.ruler.push("leads_elsewhere", _leads_elsewhere)
    return parser


class _TooCostly(Exception):
    """The text takes more than `MOST_STEPS`."""


def _spend(state: StateBlock | StateInline, steps: int) -> None:
    state.env["steps"] = state.env.get("steps", 0) + steps
    if state.env["steps"] > MOST_STEPS:
        raise _TooCostly


# Rules that match nowhere, and are asked first everywhere.
def _inline_step(state: StateInline, silent: bool) -> bool:
    _spend(state, _LINK_STEPS if state.src[state.pos] in "<[!" else 1)
    return False


def _block_step(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    # In a table it is asked for each row, which has as many cells as the head, be they written or not.
    _spend(state, state.env["columns"] if state.parentType == "table" else _BLOCK_STEPS)
    return False


def _table(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    if not table(state, line, end, True):
        return False
    if silent:
        return True
    state.env["columns"] = state.src.count("|", state.bMarks[line], state.eMarks[line]) + 1
    _spend(state, state.env["columns"])
    return table(state, line, end, False)


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


def _leads_elsewhere(state: StateCore) -> None:
    for token in state.tokens:
        if token.children:
            token.children = list(_told(token.children))


def _told(tokens: Sequence[Token]) -> Iterator[Token]:
    """The same tokens; behind a link that names one host and leads to another, the other."""
    link: Token | None = None
    label = ""
    for token in tokens:
        yield token
        if token.type == "link_open":
            link, label = token, ""
        elif token.type != "link_close":
            label += token.content
        elif link is not None and link.info != "auto" and (named := _NAMED.match(label)):
            leads = _destination(str(link.attrs["href"]))
            said = re.sub(r":(?:80|443)?$", "", named[1].lower())
            if said.removeprefix("www.") != leads.removeprefix("www."):
                text = Token("text", "", 0)
                text.content = f" ({leads})"
                yield text


def _destination(address: str) -> str:
    try:
        parts = urlsplit(address)
        port = "" if parts.port in {None, 80, 443} else f":{parts.port}"
    except ValueError:
        return address
    return f"{parts.hostname}{port}" if parts.hostname else parts.path


_markdown = _parser(linkify=True)
_markdown_without_bare_links = _parser(linkify=False)


def render(
    content: str, role: Literal["user", "assistant", "system"], shows_images_of: Callable[[str], bool] = no_images
) -> str:
    """HTML for a message. Only the bot writes Markdown; a visitor's own text is shown as it was typed.

    An image is shown where `shows_images_of` its host, in lower case; else there is a link to it.
    """
    if role == "user":
        return _as_it_is(content)
    content = _TURNING.sub("", content)
    if len(content) > LONGEST:
        return _as_it_is(content)

    def image_of(address: str) -> str | None:
        found = _IMAGE.fullmatch(address)
        return f"https://{found[1].lower()}{found[2]}" if found and shows_images_of(found[1].lower()) else None

    def kept(tag: str, attribute: str, value: str) -> str | None:
        return image_of(value) if (tag, attribute) == ("img", "src") else value

    linkify = _ENDLESS.search(content) is None and len(_ADDRESS.findall(content)) <= MOST_ADDRESSES
    markdown = _markdown if linkify else _markdown_without_bare_links
    try:
        html: str = markdown.render(content, {"image_of": image_of})
    except _TooCostly:
        return _as_it_is(content)
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


def _as_it_is(content: str) -> str:
    return "<p>" + escape(content, quote=False).replace("\n", "<br>") + "</p>"
