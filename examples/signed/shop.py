"""A shop of one product whose server says who visits and what things cost. Start it with:

VISITOR_SECRET=… SESSION_SECRET=… uvicorn shop:app
"""

import json
import os
from html import escape
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from visitor_token import visitor_token

PROXY = os.environ.get("PROXY", "https://chat.example.com")
SITE = "shop"
VISITOR_SECRET = os.environ["VISITOR_SECRET"]  # the site's `visitor_secret`
CUSTOMERS = {"u-7": "Zoë Müller", "u-8": 'Max "Mo" Ohm'}
PRODUCT = {"product_name": "Aurora Desk Lamp", "price": "89.00", "currency": "EUR", "in_stock": True}

# Whoever has a page with a token in it is its visitor: no cache may hand it to another one.
PRIVATE = {"Cache-Control": "private, no-store"}

# The page may stay open for longer than its token is good: with this, each message has a fresh one.
REFRESH = """<script type="module">
    await customElements.whenDefined("chat-widget");
    const ask = async () => (await fetch("/visitor-token", { signal: AbortSignal.timeout(5000) })).text();
    document.querySelector("chat-widget").visitorToken = ask;
  </script>"""


def sign(customer: str) -> str:
    """A token for this customer on the product's page."""
    return visitor_token(VISITOR_SECRET, SITE, customer, CUSTOMERS[customer], PRODUCT)


def tag(customer: str | None) -> str:
    """The script tag. Without a customer it only says what the page shows, which anybody could say."""
    attributes = {"src": f"{PROXY}/widget.js", "data-site": SITE, "data-page-context": json.dumps(PRODUCT)}
    if customer:
        attributes |= {"data-user-id": customer, "data-visitor-token": sign(customer)}
    return (
        "<script " + " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items()) + " async></script>"
    )


def customer_of(request: Request) -> str | None:
    """Who is signed in here."""
    customer = request.session.get("customer")
    return customer if customer in CUSTOMERS else None


async def product(request: Request) -> Response:
    """The page with the product, the chat, and somebody to be."""
    customer = customer_of(request)
    people = "".join(
        f'<button name="customer" value="{escape(one)}">{escape(name)}</button> ' for one, name in CUSTOMERS.items()
    )
    page = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{PRODUCT["product_name"]}</title></head>
<body>
  <h1>{PRODUCT["product_name"]}, €{PRODUCT["price"]}</h1>
  <p>Hello, {escape(CUSTOMERS[customer]) if customer else "stranger"}.</p>
  <form method="post" action="/sign-in">{people}</form>
  {tag(customer)}
  {REFRESH if customer else ""}
</body>
</html>"""
    return HTMLResponse(page, headers=PRIVATE)


async def sign_in(request: Request) -> Response:
    """Be one of the customers. A real shop asks for a password."""
    customer = parse_qs((await request.body()).decode()).get("customer", [""])[0]
    if customer not in CUSTOMERS:
        return PlainTextResponse("There is no such customer.", 400)
    request.session["customer"] = customer
    return RedirectResponse("/", 303)


async def fresh_token(request: Request) -> Response:
    """A token for a page that is open for longer than one is good."""
    customer = customer_of(request)
    if customer is None:
        return PlainTextResponse("Sign in first.", 401, headers=PRIVATE)
    return PlainTextResponse(sign(customer), headers=PRIVATE)


app = Starlette(
    routes=[
        Route("/", product),
        Route("/sign-in", sign_in, methods=["POST"]),
        Route("/visitor-token", fresh_token),
    ],
    middleware=[Middleware(SessionMiddleware, secret_key=os.environ["SESSION_SECRET"], same_site="lax")],
)
