// An application of one page: the widget stays, and is told what the visitor sees now.

const products = {
  "?lamp": { name: "Aurora Desk Lamp", price: "89.00" },
  "?vase": { name: "Strand Vase", price: "42.50" },
};

function show() {
  const product = products[location.search];
  if (!product) return;
  document.title = `${product.name} – Nordlicht Living`;
  document.querySelector("h1").textContent = product.name;
  // Title and address are read when a message is sent; this is what they do not say. It may be set before the widget has loaded.
  customElements.whenDefined("chat-widget").then(() => {
    document.querySelector("chat-widget").pageContext = { product_name: product.name, price: product.price };
  });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-route]");
  if (!link) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  show();
});
addEventListener("popstate", show);
show();
