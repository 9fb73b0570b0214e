// What the bot learns of the page: found, declared, set; later ones win.

const text = (value) => (value || value === 0) && typeof value !== "object" ? `${value}`.trim().slice(0, 300) : undefined;
const first = (value) => [value].flat()[0];
const named = (value) => text(first(value)?.name ?? first(value));

export function pageContext(page, declared, given, longest) {
  if (declared === "off") return;
  const { origin, pathname } = new URL(page.URL), found = {};
  let own = {};
  try { if (!/^(auto|explicit)?$/.test(declared ?? "")) own = Object(JSON.parse(declared)); } catch { console.warn("chat-widget: page-context is no JSON object."); }
  if (declared !== "explicit") {
    Object.assign(found, {
      page_url: origin + pathname, page_title: text(page.title.replace(/^● /, "")), page_language: text(page.documentElement.lang), ...product(page),
    });
  }
  const context = { ...found, ...own, ...given };
  if (new Blob([JSON.stringify(context)]).size > longest) delete context.description;
  return context;
}

function product(page) {
  const meta = (name) => page.querySelector(`meta[property$="${name}"]`)?.content;
  let found;
  for (const { textContent } of page.querySelectorAll('script[type="application/ld+json"]')) {
    try { found ??= find(JSON.parse(textContent), 5); } catch { /* not ours to mend */ }
  }
  found ??= microdata(page.querySelector('[itemtype$="schema.org/Product"]'));
  if (!found && meta("price:amount")) {
    found = {
      sku: meta("retailer_item_id"), name: meta("og:title"), brand: meta("brand"), description: meta("og:description"),
      offers: { price: meta("price:amount"), priceCurrency: meta("price:currency"), availability: meta("availability") },
    };
  }
  if (!found) return;
  const offer = first(found.offers) ?? {}, availability = text(offer.availability)?.split("/").pop();
  return {
    product_id: text(found.sku ?? found.productID ?? found.mpn), product_name: text(found.name), brand: named(found.brand),
    category: named(found.category), description: text(found.description), price: text(offer.price ?? offer.lowPrice),
    currency: text(offer.priceCurrency), availability, in_stock: availability && /^(in.?st|online|limited)/i.test(availability),
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
    const value = one.content ?? one.getAttribute("href") ?? one.getAttribute("src") ?? one.textContent;
    data[one.getAttribute("itemprop")] ??= one.hasAttribute("itemscope") ? one.textContent : value;
  }
  return { ...data, offers: data };
}
