// The proxy's sanitised HTML to DOM without a parser's sink: a second allow-list, fit for any Trusted Types policy.

const TAGS = /^(p|br|hr|h[1-6]|strong|em|s|code|pre|blockquote|[uo]l|li|table|thead|tbody|t[rhd]|a)$/;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: "\u00a0" };

const decode = (text) => text.replace(/&(\w+);/g, (whole, name) => ENTITIES[name] ?? whole);

export function build(html) {
  const fragment = document.createDocumentFragment(), open = [fragment];
  for (const [whole, closing, tag, attributes] of html.matchAll(/<(\/?)(\w+)((?: [a-z]+="[^"]*")*)>|[^<]+|</g)) {
    if (!TAGS.test(tag)) open.at(-1).append(decode(whole));
    else if (closing) open.length = Math.max(1, open.findLastIndex((one) => one.localName === tag));
    else {
      const element = document.createElement(tag);
      const { href, start } = Object.fromEntries([...attributes.matchAll(/ ([a-z]+)="([^"]*)"/g)].map((one) => one.slice(1)));
      if (tag === "a" && /^(https?:|mailto:)/i.test(href)) {
        Object.assign(element, { href: decode(href), target: "_blank", rel: "noopener noreferrer nofollow" });
      }
      if (tag === "ol" && start) element.start = start;
      open.at(-1).append(element);
      if (!/^[bh]r$/.test(tag)) open.push(element);
    }
  }
  return fragment;
}
