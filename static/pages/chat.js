// The full-page chat: the widget opens by itself, and the page is there for nothing else, so the field has the focus.
const chat = /** @type {any} */ (document.querySelector("chat-widget"));
const main = /** @type {HTMLElement} */ (document.querySelector("main"));
main.style.setProperty("--accent", chat.getAttribute("accent"));

customElements.whenDefined("chat-widget").then(() => chat.open());
