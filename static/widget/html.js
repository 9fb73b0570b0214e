// Sanitised HTML to DOM without a parser: a second allow-list, under any Trusted Types policy.

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: "\u00a0" };
const decode = (text) => text.replace(/&(\w+);/g, (whole, name) => ENTITIES[name] ?? whole);

export function build(html) {
  /** @type {any[]} */
  const open = [document.createDocumentFragment()];
  for (const [whole, closing, tag, attributes] of html.matchAll(/<(\/?)(\w+)((?: [a-z]+="[^"]*")*)>|[^<]+|</g)) {
    if (!/^(p|br|hr|h[1-6]|strong|em|s|code|pre|blockquote|[uo]l|li|t(able|head|body|[rhd])|a|img)$/.test(tag)) open.at(-1).append(decode(whole));
    else if (closing) open.length = Math.max(1, open.findLastIndex((one) => one.localName === tag));
    else {
      const element = document.createElement(tag), [, href] = / href="([^"]*)/.exec(attributes) ?? [];
      if (tag === "a" && /^(https?:|mailto:)/i.test(href)) {
        Object.assign(element, { href: decode(href), target: "_blank", rel: "noopener noreferrer nofollow" });
      }
      const [, src] = / src="(https:[^"]*)/.exec(attributes) ?? [], [, alt = ""] = / alt="([^"]*)/.exec(attributes) ?? [];
      if (tag === "img") Object.assign(element, { src: decode(src ?? ""), alt: decode(alt), loading: "lazy", referrerPolicy: "no-referrer" });
      if (tag === "ol") element.start = / start="(\d+)/.exec(attributes)?.[1] ?? 1;
      open.at(-1).append(element);
      if (!/^([bh]r|img)$/.test(tag)) open.push(element);
    }
  }
  return open[0];
}
