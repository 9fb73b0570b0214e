"""Signs a visitor token. Paste `visitor_token` into your server; it needs nothing but Python."""

import base64
import hashlib
import hmac
import json
import time


def visitor_token(secret, site, visitor_id, name=None, page_context=None, seconds=3600):
    """Who the visitor is, and what is true of the page, for the site of this name; good for an hour."""
    claims = {"sub": visitor_id, "aud": site, "exp": int(time.time()) + seconds}
    if name:
        claims["name"] = name
    if page_context:
        claims["page_context"] = page_context

    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    parts = [encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signature = hmac.new(secret.encode(), b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, encode(signature)]).decode()
