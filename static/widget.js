// The chat's loader: <script src="https://chat.example.com/widget.js" data-site="shop" async></script>
// It draws the launcher, and fetches nothing else before the visitor wants to chat.
(() => {
  "use strict";
  const script = document.currentScript ?? document.querySelector('script[src$="/widget.js"][data-site]');
  const base = new URL("widget/", script.src);
  const style = new CSSStyleSheet();
  style.replaceSync(`
:host { all: initial; --accent: #2457d6; --edge: inset-inline-end; font: 15px/1.5 system-ui, sans-serif; color-scheme: light dark }
:host([hidden]) { display: none }
[hidden] { display: none !important }
.launcher {
  position: fixed; z-index: 2147483000; bottom: calc(20px + env(safe-area-inset-bottom)); right: 20px;
  display: flex; align-items: center; gap: 10px; min-width: 58px; height: 58px; padding: 0 16px;
  border: 0; border-radius: 29px; background: var(--accent); color: #fff; font: inherit; font-weight: 600;
  cursor: pointer; box-shadow: 0 8px 24px #0004
}
:host([position=left]) .launcher { right: auto; left: 20px }
.launcher:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px }
.launcher svg { width: 26px; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
.launcher.unread::after { content: ""; position: absolute; top: 0; right: 0; padding: 7px; border: 2px solid #fff; border-radius: 50%; background: #d92d20 }
@media print { :host { display: none } }`);

  const storage = (action, key, value) => {
    try { return sessionStorage[action](key, value); } catch { return null; } // storage may be blocked
  };

  class ChatWidget extends HTMLElement {
    #root = this.attachShadow({ mode: "open" });
    #launcher = document.createElement("button");
    #context; #panel; #module;
    #failures = 0;

    connectedCallback() {
      if (Object.hasOwn(this, "pageContext")) { // set before there was this class
        this.#context = this.pageContext;
        delete this.pageContext;
      }
      const launcher = this.#launcher, svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const path = document.createElementNS(svg.namespaceURI, "path");
      svg.setAttribute("viewBox", "0 0 24 24");
      path.setAttribute("d", "M20.5 12a8 8 0 0 1-8 8h-8l1.6-3.2A8 8 0 1 1 20.5 12zM9 12h0M12.5 12h0M16 12h0");
      svg.append(path);
      launcher.replaceChildren(svg, this.getAttribute("button-text") ?? "");
      launcher.ariaLabel = this.getAttribute("button-text") ?? "Chat with us";
      launcher.ariaExpanded = "false";
      launcher.className = "launcher";
      launcher.onclick = () => this.open();
      launcher.onpointerenter = launcher.onfocus = () => this.#load().catch(() => {}); // warm up
      this.#root.adoptedStyleSheets = [style];
      this.#root.replaceChildren(launcher);
      if (storage("getItem", this.#key)) this.open(false); // it was open on the page before
    }

    disconnectedCallback() {
      this.#panel?.destroy();
      this.#panel = null;
    }

    // What the page says of itself, beside what is found on it. The next message carries it.
    get pageContext() { return this.#context; }
    set pageContext(context) { this.#context = context; }

    get opened() { return !!this.#panel?.opened; }

    async open(focus = true) {
      try {
        const { Panel } = await this.#load();
        if (!this.isConnected) return;
        this.#panel ??= new Panel(this, this.#root, base.origin);
        await this.#panel.open(focus);
        this.unread = false;
        this.#launcher.hidden = true;
        storage("setItem", this.#key, "1");
      } catch (error) {
        console.warn(`chat-widget: not loaded from ${base.origin}: ${error.message}. If this page has a ` +
          "Content-Security-Policy, its script-src and its connect-src have to name that address.");
      }
    }

    close() {
      this.#launcher.hidden = false;
      if (this.#root.activeElement) this.#launcher.focus();
      this.#panel?.close();
      storage("removeItem", this.#key);
    }

    toggle() { return this.opened ? this.close() : this.open(); }

    set unread(unread) { this.#launcher.classList.toggle("unread", unread); }

    get #key() { return `chat-widget:open:${base.origin}:${this.getAttribute("site")}`; }

    #load() {
      // A browser may keep a module's failure under its address, so another try asks under another.
      this.#module ??= import(new URL(`panel.js${"?".repeat(this.#failures)}`, base)).catch((error) => {
        this.#module = null;
        this.#failures++;
        throw error;
      });
      return this.#module;
    }
  }

  if (!customElements.get("chat-widget")) customElements.define("chat-widget", ChatWidget);

  const place = () => { // the page's own element, or one made of the script's data attributes
    const { site } = script.dataset;
    if (!site || document.querySelector(`chat-widget[site="${CSS.escape(site)}"]`)) return;
    const element = document.createElement("chat-widget");
    for (const { name, value } of script.attributes) {
      if (name.startsWith("data-")) element.setAttribute(name.slice(5), value);
    }
    document.body.append(element);
  };
  if (document.body) place();
  else document.addEventListener("DOMContentLoaded", place);
})();
