"""The bot: from a message and the page it was sent on to the plan of an answer. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from widget_proxy.fake_upstream.state import Plan

_SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£"}

MARKDOWN = """### What Markdown can do

A paragraph with **bold**, *emphasis*, ~~strikethrough~~ and `code`.

1. First
2. Second
   - nested

| Lamp | Price |
|------|------:|
| Aurora | €89.00 |
| Polaris | €129.00 |

> A quotation.

```python
print("<hello>")
```

A link: [Open Chat Studio](https://openchatstudio.com), and a bare one: https://example.com/

And what must do nothing: <script>alert(1)</script> <img src=x onerror=alert(1)>
[a click](javascript:alert(1)) ![an image](https://tracker.invalid/pixel.png)
"""


def answer(message: str, context: Mapping[str, Any], think: float) -> Plan:
    """The plan for a visitor's message. `context` is the page's, `think` how long an ordinary answer takes."""
    text = message.strip()
    if text.startswith("/"):
        directed = _directive(text, think)
        if directed is not None:
            return directed
    progress = [(think * 0.25, "Looking at the page"), (think * 0.65, "Writing the answer")]
    return Plan(_reply(text.lower(), context), think, progress)


def _directive(text: str, think: float) -> Plan | None:
    matched = re.fullmatch(r"/([a-z]+)(?:\s+(\d+(?:\.\d+)?))?\b.*", text, re.DOTALL)
    if matched is None:
        return None
    word, number = matched[1], float(matched[2]) if matched[2] else None
    match word:
        case "fail":
            return Plan("", think, outcome="fail")
        case "slow":
            seconds = min(number if number is not None else 8.0, 600.0)
            steps = ["Reading", "Comparing", "Checking the stock", "Writing the answer"]
            progress = [(seconds * (step + 0.5) / len(steps), what) for step, what in enumerate(steps)]
            return Plan(f"That took {seconds:g} seconds, as you asked.", seconds, progress)
        case "remind":
            after = min(number if number is not None else 5.0, 3600.0)
            return Plan(f"I will write to you in {after:g} seconds.", think, reminder_after=after)
        case "end":
            return Plan("Goodbye! This conversation ends here.", think, ends_session=True)
        case "lost":
            return Plan("", think, outcome="lost")
        case "unsaved":
            return Plan("This answer is not in the history.", think, outcome="unsaved")
        case "markdown":
            return Plan(MARKDOWN, think)
        case _:
            return None


def _reply(text: str, page: Mapping[str, Any]) -> str:
    name = _word(page, "product_name")
    if name is None:
        title = _word(page, "page_title")
        where = f"You are reading **{title}**." if title else "I do not know which page you are on."
        if re.search(r"\b(care|clean|wash|oil|wood)\b", text):
            return (
                f"{where}\n\nIn short: dust with a dry cloth, oil wood twice a year, and keep it out of direct sun."
            )
        return f"{where} Open a product and ask me about its price, its stock or its material."
    price, stock = _price(page), _stock(page)
    link = _word(page, "page_url")
    if re.search(r"\b(price|cost|costs|much|expensive|cheap)\b", text):
        return f"**{name}** costs **{price}** and is {stock}."
    if re.search(r"\b(stock|available|availability|deliver|delivery|ship|shipping)\b", text):
        when = (
            "It leaves our workshop within two working days."
            if page.get("in_stock")
            else "I can tell you when it is back."
        )
        return f"**{name}** is {stock}. {when}"
    if re.search(r"\b(return|returns|refund|back)\b", text):
        return f"You can send **{name}** back within 30 days, unused, and free of charge."
    if re.search(r"\b(code|discount|voucher)\b", text):
        return f"There is no discount on **{name}** now. One would look like this:\n\n```\nNORDLICHT-10\n```"
    if re.search(r"\b(tell|about|material|size|details|describe|which|what|compare)\b", text):
        facts = [
            ("Price", price),
            ("Stock", stock),
            ("Brand", _word(page, "brand")),
            ("Category", _word(page, "category")),
        ]
        rows = "\n".join(f"| {label} | {value} |" for label, value in facts if value)
        description = _word(page, "description") or ""
        see = f"\n\n[See the page]({link})" if link else ""
        return f"**{name}**. {description}\n\n| | |\n|---|---|\n{rows}{see}"
    return f"Hello! You are looking at **{name}** ({price}, {stock}). What would you like to know?"


def _word(page: Mapping[str, Any], key: str) -> str | None:
    value = page.get(key)
    return str(value) if isinstance(value, str | int | float) and str(value).strip() else None


def _price(page: Mapping[str, Any]) -> str:
    price, currency = _word(page, "price"), _word(page, "currency")
    if price is None:
        return "a price I do not know"
    return (
        f"{_SYMBOLS.get(currency or '', '')}{price}" if currency in _SYMBOLS else f"{price} {currency or ''}".strip()
    )


def _stock(page: Mapping[str, Any]) -> str:
    in_stock = page.get("in_stock")
    if in_stock is None:
        return (_word(page, "availability") or "of unknown availability").lower()
    return "in stock" if in_stock else "out of stock"
