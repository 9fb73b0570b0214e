// Signs a visitor token. Paste `visitorToken` into your server; it needs nothing but Node.js.

import { createHmac } from "node:crypto";

/** Who the visitor is, and what is true of the page, for the site of this name; good for an hour. */
export function visitorToken(secret, site, visitorId, name, pageContext, seconds = 3600) {
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const claims = { sub: visitorId, aud: site, exp, name: name || undefined, page_context: pageContext };
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
