// What the bot learns of the page: docs/page-context.md.

export function pageContext(page, declared, given, longest) {
  if (declared === "off") return;
  const { origin, pathname } = new URL(page.URL);
  const found = declared !== "explicit" && {
    page_url: origin + pathname, page_title: text(page.title.replace("● ", "")), page_language: text(page.documentElement.lang), ...product(page),
  };
  let own;
  try {
    own = /^(auto|explicit)?$/.test(declared ?? "") ? {} : Object(JSON.parse(declared));
  } catch { console.warn("chat-widget: page-context is no JSON object."); }
  const context = { ...found, ...own, ...given };
  if (new Blob([JSON.stringify(context)]).size > longest) delete context.description;
  return context;
}

const text = (value) => Object(value) === value ? undefined : `${value ?? ""}`.trim().slice(0, 300) || undefined;

const first = (value) => [value].flat()[0];

const named = (value) => text(first(value)?.name ?? first(value));

function product(page) {
  const meta = (name) => page.querySelector(`meta[property$="${name}"]`)?.content;
  let found;
  for (const { textContent } of page.querySelectorAll('script[type="application/ld+json"]')) {
    try { found ??= find(JSON.parse(textContent), 5); } catch { /* broken */ }
  }
  found ??= microdata(page.querySelector('[itemtype$="schema.org/Product"]')) ?? (meta("price:amount") && {
    sku: meta("retailer_item_id"), name: meta("og:title"), brand: meta("brand"), description: meta("og:description"),
    offers: { price: meta("price:amount"), priceCurrency: meta("price:currency"), availability: meta("availability") },
  });
  if (!found) return;
  const { sku, productID, mpn, name, brand, category, description } = found, offer = first(found.offers) ?? {};
  const availability = text(offer.availability)?.split("/").pop();
  return {
    product_id: text(sku ?? productID ?? mpn), product_name: text(name), brand: named(brand), category: named(category),
    description: text(description), price: text(offer.price ?? offer.lowPrice), currency: text(offer.priceCurrency), availability,
    in_stock: availability && /^(in.?st|online|limited)/i.test(availability),
  };
}

function find(data, depth) {
  if (!data || !depth) return;
  if ([data["@type"]].flat().some((type) => /^(.*\/)?Product(Group)?$/.test(type))) return data;
  for (const inner of Array.isArray(data) ? data : [data["@graph"], data.mainEntity]) {
    const found = find(inner, depth - 1);
    if (found) return found;
  }
}

function microdata(scope) {
  if (!scope) return;
  const data = {};
  for (const one of scope.querySelectorAll("[itemprop]")) {
    const { href, src, textContent } = one;
    data[one.getAttribute("itemprop")] ??= one.matches("[itemscope]") ? textContent : one.getAttribute("content") ?? href ?? src ?? textContent;
  }
  return { ...data, offers: data };
}
