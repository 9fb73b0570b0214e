// The chat's loader: <script src="https://chat.example.com/widget.js" data-site="shop" async></script>
(() => {
  const script = /** @type {HTMLScriptElement} */ (document.currentScript ?? document.querySelector('script[src*="/widget"][data-site]'));
  const base = new URL("widget/", script.src);
  const style = new CSSStyleSheet();
  style.replaceSync(`
:host { all: initial; --accent: #2457d6; font: 15px/1.5 system-ui, sans-serif; color-scheme: light dark }
:host([hidden]), [hidden] { display: none !important }
.launcher {
  position: fixed; z-index: 2147483000; bottom: 20px; right: 20px; display: flex; align-items: center; gap: 10px;
  min-width: 58px; height: 58px; padding: 0 16px; border: 0; border-radius: 29px; background: var(--accent); color: #fff;
  font: inherit; font-weight: 600; cursor: pointer; box-shadow: 0 8px 24px #0004
}
:host([position=left]) .launcher { right: auto; left: 20px }
.launcher:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px }
svg { width: 26px; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
.unread { box-shadow: 0 0 0 3px #fff, 0 0 0 7px #d92d20 }
@media print { :host { display: none } }`);

  const storage = (action, key, value) => {
    try { return sessionStorage[action](key, value); } catch { /* blocked */ }
  };

  const icon = (d) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS(svg.namespaceURI, "path");
    svg.setAttribute("viewBox", "0 0 24 24");
    path.setAttribute("d", d);
    svg.append(path);
    return svg;
  };

  class ChatWidget extends HTMLElement {
    #root = this.attachShadow({ mode: "open" });
    #launcher = document.createElement("button");
    #key; #panel; #module;
    #failures = 0;

    connectedCallback() {
      const launcher = this.#launcher, label = this.getAttribute("button-text");
      this.style.setProperty("--accent", this.getAttribute("accent"));
      launcher.replaceChildren(icon("M20 12a8 8 0 0 1-8 8H4l2-3A8 8 0 1 1 20 12zM9 12h0M12 12h0M15 12h0"), label ?? "");
      launcher.ariaLabel = label ?? "Chat with us";
      launcher.ariaHasPopup = "dialog";
      launcher.className = "launcher";
      launcher.onclick = () => this.open();
      launcher.onpointerenter = launcher.onfocus = () => this.#load().catch(() => {});
      this.#root.adoptedStyleSheets = [style];
      this.#root.replaceChildren(launcher);
      this.#key = `chat-widget:open:${base.origin}:${this.getAttribute("site")}`;
      if (storage("getItem", this.#key)) this.open(false);
    }

    disconnectedCallback() { this.#panel = this.#panel?.destroy(); }

    get opened() { return !!this.#panel?.opened; }

    async open(focus = true) {
      try {
        const { Panel } = await this.#load();
        if (!this.isConnected) return;
        this.#panel ??= new Panel(this, this.#root, base.origin, icon);
        await this.#panel.open(focus);
        this.unread = false;
        this.#launcher.hidden = true;
        storage("setItem", this.#key, 1);
      } catch (/** @type {any} */ error) {
        console.warn(`chat-widget: ${error.message}. A Content-Security-Policy has to name ${base.origin} in script-src and connect-src.`);
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

    #load() {
      // A failure may be kept under its address.
      return this.#module ??= import(base + "panel.js" + "?".repeat(this.#failures)).catch((error) => {
        this.#module = null;
        this.#failures++;
        throw error;
      });
    }
  }

  if (!customElements.get("chat-widget")) customElements.define("chat-widget", ChatWidget);

  const place = () => {
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
