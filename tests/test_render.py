"""Bot Markdown to safe HTML."""

import re
import time
from html.parser import HTMLParser
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widget_proxy.config import HostPattern
from widget_proxy.render import LONGEST, render

TAGS = {
    "p",
    "br",
    "hr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "strong",
    "em",
    "s",
    "code",
    "pre",
    "blockquote",
    "ul",
    "ol",
    "li",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "a",
}


class Checker(HTMLParser):
    """Fails on any tag, attribute or address that is not on the list."""

    def __init__(self, *, images: bool = False) -> None:
        super().__init__(convert_charrefs=True)
        self.images = images

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.images and tag == "img":
            assert {name for name, _ in attrs} <= {"src", "alt", "title", "loading", "referrerpolicy"}
            source = dict(attrs).get("src")
            assert source is None or re.match(r"https://(images\.example\.com|\w+\.cdn\.example)([/?#]|$)", source)
            return
        assert tag in TAGS, tag
        for name, value in attrs:
            assert (tag, name) in {("a", "href"), ("a", "title"), ("a", "rel"), ("ol", "start")}, (tag, name)
            if name == "href":
                assert (value or "").lower().startswith(("http://", "https://", "mailto:")), value
            if name == "rel":
                assert value == "noopener noreferrer nofollow"

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")


HOSTS = [HostPattern.parse("images.example.com"), HostPattern.parse("*.cdn.example")]


def shown(host: str) -> bool:
    """As a site with these hosts says."""
    return any(pattern.allows(host) for pattern in HOSTS)


def check(html: str, *, images: bool = False) -> None:
    checker = Checker(images=images)
    checker.feed(html)
    checker.close()


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("**b** *e* ~~s~~ `c`", "<p><strong>b</strong> <em>e</em> <s>s</s> <code>c</code></p>\n"),
        ("one\ntwo", "<p>one<br>\ntwo</p>\n"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"),
        ("3. a", '<ol start="3">\n<li>a</li>\n</ol>\n'),
        ("# h", "<h1>h</h1>\n"),
        ("> q", "<blockquote>\n<p>q</p>\n</blockquote>\n"),
        ("```py\n<x>\n```", "<pre><code>&lt;x&gt;\n</code></pre>\n"),
        ("https://example.com/?a=1&b=2",
         '<p><a href="https://example.com/?a=1&amp;b=2" rel="noopener noreferrer nofollow">https://example.com/?a=1&amp;b=2</a></p>\n'),
        ("[l](mailto:a@example.com)", '<p><a href="mailto:a@example.com" rel="noopener noreferrer nofollow">l</a></p>\n'),
        ("", ""),
    ],
)  # fmt: skip
def test_markdown_is_rendered(markdown: str, html: str) -> None:
    assert render(markdown, "assistant") == html


def test_a_table_is_rendered() -> None:
    html = render("| a | b |\n|---|--:|\n| 1 | 2 |", "assistant")
    assert "<th>a</th>" in html
    assert "<td>2</td>" in html
    check(html)


HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "<iframe src=//evil></iframe>",
    "<style>*{display:none}</style>", "<a href=javascript:alert(1)>x</a>", "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))", "[x](java\tscript:alert(1))", "[x](&#106;avascript:alert(1))", "[x](data:text/html,<script>)",
    "[x](vbscript:x)", "[x](file:///etc/passwd)", "![x](https://evil.example/p.png)", "![x](javascript:alert(1))",
    "[x]: javascript:alert(1)\n\n[x]", '[x](https://e.example "onmouseover=alert(1)")', "<https://e.example/onclick=1>",
    "`<img src=x>`", "```\n<script>\n```", "<!-- --><script>", "<![CDATA[<script>]]>", "<?php ?>", "<!doctype html>",
    "<math><mtext><script>", "<form action=//evil><input>", "<base href=//evil>", "<meta http-equiv=refresh>",
    "<a name=x id=y class=z style=color:red>", "<p style=position:fixed>", "<details open ontoggle=alert(1)>",
    "<noscript><p title='</noscript><img src=x>'>", "<template><script>", "<xss>", "<ScRiPt>", "<scr<script>ipt>",
    "<img/src=x/onerror=alert(1)>", "<a href='x' onclick='y'>", "\x00<script>", "<\x00script>", "&lt;script&gt;", "&#60;script&#62;",
    "[a](https://e.example/\"onmouseover=\"x)", "[a](<https://e.example/ onclick=x>)", "# <script>", "- <script>", "> <script>",
    "| <script> |\n|---|\n| <img src=x onerror=y> |", "[\u202egpj.exe](https://e.example)", "**<b onclick=x>**",
    "[x](//evil.example)", "[x](/relative)", "[x](#fragment)", "[x](?query)", "ftp://evil.example", "www.example.com",
    "[x](https:javascript:alert(1))", "[x](http://)", "<a@b.example>", "[x](mailto:a@b.example?body=<script>)",
]  # fmt: skip


@pytest.mark.parametrize("markdown", HOSTILE)
def test_nothing_hostile_comes_out(markdown: str) -> None:
    check(render(markdown, "assistant"))
    check(render(markdown, "system"))
    check(render(markdown, "user"))
    check(render(markdown, "assistant", shown), images=True)


@given(st.text(alphabet="<>&\"'=/ab[]()!#*_`|-\n:javscript.onerror ", max_size=80))
def test_nothing_generated_comes_out_hostile(markdown: str) -> None:
    check(render(markdown, "assistant"))
    check(render(markdown, "assistant", shown), images=True)


def test_a_visitors_own_text_is_shown_as_typed() -> None:
    assert render("**not bold**\n<b>", "user") == "<p>**not bold**<br>&lt;b&gt;</p>"


@pytest.mark.parametrize(
    "markdown",
    [
        "[" * 20_000,
        "![" * 10_000,
        "![" * 3000 + "](x)" * 3000,
        "> " * 20_000,
        "*" * 50_000,
        "| a " * 20_000,
        "`" * 50_000,
        "- " * 10_000,
        "a" * (LONGEST + 1),
    ],
)
def test_a_monstrous_text_is_rendered_safely(markdown: str) -> None:
    check(render(markdown, "assistant"))


LAMP = "https://images.example.com/lamp.png"
IMAGE = f'<img src="{LAMP}" alt="A lamp" loading="lazy" referrerpolicy="no-referrer">'
REL = 'rel="noopener noreferrer nofollow"'


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        (f"![A lamp]({LAMP})", IMAGE),
        ("![A lamp](HTTPS://Images.Example.com:443/lamp.png)", IMAGE),
        (f'![A *lamp*]({LAMP} "On a desk")', IMAGE.replace(" loading", ' title="On a desk" loading')),
        (f"![A lamp][it]\n\n[it]: {LAMP}", IMAGE),
        (f"[![A lamp]({LAMP})](https://shop.example/)", f'<a href="https://shop.example/" {REL}>{IMAGE}</a>'),
        ("![](https://a.cdn.example/x?y=1&z)", '<img src="https://a.cdn.example/x?y=1&amp;z" alt="" loading="lazy" referrerpolicy="no-referrer">'),
        ('![" src="https://evil.example](https://images.example.com)', '<img src="https://images.example.com" alt="&quot; src=&quot;https://evil.example" loading="lazy" referrerpolicy="no-referrer">'),
    ],
)  # fmt: skip
def test_an_image_of_an_allowed_host_is_shown(markdown: str, html: str) -> None:
    assert render(markdown, "assistant", shown) == f"<p>{html}</p>\n"


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/p.png", "http://images.example.com/p.png", "https://images.example.com.evil.example/p.png",
        "https://images.example.com@evil.example/p.png", "https://evil.example/https://images.example.com/p.png",
        "https://images.example.com:8443/p.png", "https://images.example.com./p.png", "https://cdn.example/p.png",
        "https://evilcdn.example/p.png", "https://evil.example#@images.example.com/p.png", "https://user@images.example.com/p.png",
        "https://evil.example?.cdn.example", "https://%69mages.example.com/p.png",
    ],
)  # fmt: skip
def test_of_any_other_image_there_is_a_link(address: str) -> None:
    linked = f'<p><a href="{address}" {REL}>A lamp</a></p>\n'
    assert render(f"![A lamp]({address})", "assistant", shown) == linked
    assert render(f"![A lamp]({address})", "assistant") == linked
    assert f">{address}</a>" in render(f"![]({address})", "assistant"), "without a text, its address"


@pytest.mark.parametrize("address", ["data:image/png;base64,AAAA", "//images.example.com/p.png", "p.png", "https:images.example.com/p.png", "ftp://images.example.com/p.png"])  # fmt: skip
def test_of_an_image_without_an_address_to_follow_there_is_the_text(address: str) -> None:
    assert render(f"![A lamp]({address})", "assistant", shown) == "<p>A lamp</p>\n"


def test_within_a_link_there_is_no_other() -> None:
    html = render("[before ![A lamp](https://evil.example/p.png)](https://shop.example/)", "assistant", shown)
    assert html == f'<p><a href="https://shop.example/" {REL}>before A lamp</a></p>\n'


@pytest.mark.parametrize(
    ("markdown", "told"),
    [
        ("[https://bank.example/login](https://evil.example/x)", "https://bank.example/login</a> (evil.example)"),
        ("[www.bank.example](https://evil.example)", "www.bank.example</a> (evil.example)"),
        ("[**HTTPS://bank.example**](https://evil.example)", "</strong></a> (evil.example)"),
        ("[https://bank.example@evil.example/](https://evil.example)", "evil.example/</a> (evil.example)"),
        ("[https://bank.example\\@evil.example/](https://evil.example)", "</a> (evil.example)"),
        ("[https://b&#97;nk.example](https://bank.example.evil.example)", "</a> (bank.example.evil.example)"),
        ("[https://bank.example](https://bank.example@evil.example)", "</a> (evil.example)"),
        ("[https://www.bank.example/a](https://bank.example/b)", "</a></p>"),
        ("[https://bank.example:443](https://BANK.example)", "</a></p>"),
        ("[our lamps](https://shop.example/lamps)", "our lamps</a></p>"),
        ("[lamp.pdf](https://shop.example/lamp.pdf)", "lamp.pdf</a></p>"),
        ("https://shop.example/lamps", "https://shop.example/lamps</a></p>"),
        ("<https://b\u00fccher.example>", "</a></p>"),
        ("[https://bank.example](mailto:a@evil.example)", "</a> (a@evil.example)"),
    ],
)
def test_a_link_that_names_another_host_says_where_it_leads(markdown: str, told: str) -> None:
    html = render(markdown, "assistant")
    assert told in html, html
    check(html)


@pytest.mark.parametrize("turning", "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
def test_nothing_a_bot_writes_turns_the_direction_of_writing(turning: str) -> None:
    html = render(f"[{turning}gpj.exe](https://e.example) and {turning}more", "assistant")
    assert turning not in html
    assert turning not in render(turning + "x" * (LONGEST + 1), "assistant")
    assert "\u05d0\u200e" in render("\u05d0\u200e", "assistant"), "marks that right-to-left text needs stay"
    assert "\U0001f3f4\U000e0067" in render("\U0001f3f4\U000e0067\U000e007f", "assistant"), "so do flags"


def test_a_visitors_own_image_is_shown_as_typed() -> None:
    assert "<img" not in render(f"![A lamp]({LAMP})", "user", shown)


class Balance(HTMLParser):
    """What is open at the end, and what was closed that was not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"br", "hr", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("role", ["assistant", "system", "user"])
@pytest.mark.parametrize("markdown", HOSTILE)
def test_no_message_ends_the_bubble_it_is_shown_in(
    markdown: str, role: Literal["assistant", "system", "user"]
) -> None:
    balance = Balance()
    balance.feed(render(markdown + " </p></div></li></ul></table></a>", role, shown))
    balance.close()
    assert balance.open == []


def test_a_bare_address_becomes_a_link_in_any_likely_answer() -> None:
    html = render("See https://shop.example.com/lamps and " + "words " * 2000, "assistant")
    assert '<a href="https://shop.example.com/lamps"' in html
    check(html)


@pytest.mark.parametrize("run", ["//a.b/", "http://a.b/(", "a@b.c,", "www."])
def test_a_run_without_end_is_not_searched_for_addresses(run: str) -> None:
    html = render(run * 1000, "assistant")
    assert "<a" not in html, "the search takes the square of its length"
    check(html)
    assert "<strong>b</strong>" in render("**b** " + "x" * 5000, "assistant"), "all else is rendered"


def test_a_text_longer_than_any_answer_is_shown_as_it_is() -> None:
    assert render("*a*" * LONGEST, "assistant") == "<p>" + "*a*" * LONGEST + "</p>"
    assert "<em>" in render("*a* " + "words " * ((LONGEST - 4) // 6), "assistant")
    assert render("<script>\n" * LONGEST, "system").startswith("<p>&lt;script&gt;<br>")


def wide_table(columns: int, rows: int, row: str = "|") -> str:
    return "|a" * columns + "|\n" + "|-" * columns + "|\n" + f"{row}\n" * rows


COSTLY = {
    "a wide table of empty rows": wide_table(100, 9_700),
    "a wider one": wide_table(2000, 5_900),
    "a long one of two columns": wide_table(2, 3000, "|x|y|"),
    "a table in a quotation": "> " + wide_table(100, 4_800, "> |").replace("\n|-", "\n> |-", 1),
    "many small ones": "a|b\n-|-\n" * 2200,
    **{
        repr(unit): unit * (LONGEST // len(unit))
        for unit in (
            *("![", "[[a]", "[", "[a](", "[x](http://a.b)", "[a]\n", "<http://a.b>", "<a@b.c>", "http://a.b ", "//a.b/ x "),
            *("- a\n", "1) a\n\n", "> - a\n\n", "# a\n", "a\n", "a\n=\n", "[a]: <b> 'c'\n", "_*", "**a*", "`` ` ", "~~a~~"),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("markdown", COSTLY.values(), ids=COSTLY)
def test_no_text_keeps_every_stream_waiting(markdown: str) -> None:
    """Some 50 ms at most, where they took up to 2 s; the bound here has room for a busy machine."""
    assert len(markdown) <= LONGEST
    spent = []
    for _ in range(3):
        began = time.thread_time()
        html = render(markdown, "assistant")
        spent.append(time.thread_time() - began)
    assert min(spent) < 0.15
    assert len(html) < 8 * len(markdown)
    check(html)


def test_what_costs_too_much_is_shown_as_it_is() -> None:
    table = wide_table(100, 100)
    assert render(table, "assistant") == "<p>" + table.replace("\n", "<br>") + "</p>"


@pytest.mark.parametrize(("columns", "rows"), [(2, 200), (5, 100), (10, 50), (20, 20)])
def test_an_ordinary_table_is_whole(columns: int, rows: int) -> None:
    html = render("Look:\n\n" + wide_table(columns, rows, "|**1** x" * columns + "|") + "\nThat is all.", "assistant")
    assert (html.count("<th>"), html.count("<td>")) == (columns, columns * rows)
    assert "<td><strong>1</strong> x</td>" in html
    check(html)


def test_rows_may_have_fewer_and_more_cells_than_the_head() -> None:
    html = render("| a | b |\n|---|---|\n| 1 |\n| 1 | 2 | 3 |", "assistant")
    assert html.count("<td>") == 4


def test_a_long_answer_is_rendered() -> None:
    part = (
        "## Lamps\n\nThe **Aurora** costs €89.00, see [the page](https://shop.example.com/a).\n\n- warm\n- `cold`\n\n"
    )
    html = render(part * 75, "assistant")
    assert html.count("<strong>") == 75
