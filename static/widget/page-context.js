// What the bot learns of the page: found on it, declared by it, set by its scripts; later ones win.

const text = (value, longest = 300) => (value || value === 0) && typeof value !== "object" ? String(value).trim().slice(0, longest) : undefined;
const first = (value) => [value].flat()[0];
const stocked = (word) => word && /^(in.?st|online|limited)/i.test(word);

export function pageContext(page, declared, given, longest) {
  let own = {};
  try { own = Object(JSON.parse(declared)); } catch { console.warn("chat-widget: data-page-context is no JSON object."); }
  const { origin, pathname } = new URL(page.URL);
  const context = {
    page_url: origin + pathname, page_title: text(page.title), page_language: text(page.documentElement.lang),
    ...(fromJsonLd(page) ?? fromMeta(page)), ...own, ...given,
  };
  // Rather a page without its description than no page at all.
  if (new TextEncoder().encode(JSON.stringify(context)).length > longest) delete context.description;
  return context;
}

function fromJsonLd(page) {
  for (const { textContent } of page.querySelectorAll('script[type="application/ld+json"]')) {
    let product;
    try { product = find(JSON.parse(textContent), 5); } catch { /* not ours to mend */ }
    if (!product) continue;
    const { brand, category } = product, offer = first(product.offers) ?? {};
    const availability = text(offer.availability)?.split("/").pop();
    return {
      product_id: text(product.sku ?? product.productID ?? product.mpn), product_name: text(product.name),
      brand: text(first(brand)?.name ?? first(brand)), category: text(first(category)?.name ?? first(category)),
      description: text(product.description), price: text(offer.price ?? offer.lowPrice),
      currency: text(offer.priceCurrency), availability, in_stock: stocked(availability),
    };
  }
}

// The first Product anywhere in it: alone, in an array, in a @graph, as the main entity of its page.
function find(data, depth) {
  if (!data || typeof data !== "object" || !depth) return undefined;
  if ([data["@type"]].flat().some((type) => /(^|\/)Product(Group)?$/.test(type))) return data;
  for (const inner of Array.isArray(data) ? data : [data["@graph"], data.mainEntity]) {
    const found = find(inner, depth - 1);
    if (found) return found;
  }
}

function fromMeta(page) {
  const meta = (name) => text(page.querySelector(`meta[property$="${name}"]`)?.content);
  const price = meta("price:amount");
  if (!price && !/product/.test(meta("og:type"))) return {};
  const availability = meta("availability");
  return {
    product_id: meta("retailer_item_id"), product_name: meta("og:title"), brand: meta("product:brand"),
    category: meta("product:category"), description: meta("og:description"), price, currency: meta("price:currency"),
    availability, in_stock: stocked(availability),
  };
}
