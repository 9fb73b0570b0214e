// The chat's loader: <script src="https://chat.example.com/widget.js" data-site="shop" async></script>
(() => {
  const tags = 'script[src*="/widget"][data-site]';
  const script = /** @type {HTMLScriptElement} */ (document.currentScript ?? document.querySelector(tags));
  const base = new URL("widget/", script.src);
  const names = ("site position theme accent button-text button-shape icon-url show-button header-text welcome-messages starter-questions " +
    "user-id user-name persistent-session persistent-session-expire allow-full-screen allow-attachments language translations-url " +
    "typing-indicator-text new-chat-confirmation-message disabled banner-message banner-style banner-position mode " +
    "consent-text feedback sound background-stream").split(" ");
  const style = new CSSStyleSheet();
  style.replaceSync(`
:host {
  all: initial; position: fixed !important; display: block !important; inset: auto 20px 20px auto; z-index: var(--chat-z-index, 2147483000);
  transform: none !important; filter: none !important; overflow: visible !important; color-scheme: light dark;
  --brand: var(--accent, #2457d6); --on: color(from var(--brand) xyz-d65 clamp(0, (.18 - y) * 1e5, .95) clamp(0, (.18 - y) * 1e5, 1) clamp(0, (.18 - y) * 1e5, 1.089))
}
:host([position=left]) { inset: auto auto 20px 20px }
:host([position=center]) { inset: auto 0 20px; width: fit-content; margin: auto }
:host([mode=kiosk]) { position: absolute !important; inset: 0; width: auto; margin: 0 }
:host([theme=light]) { color-scheme: light }
:host([theme=dark]) { color-scheme: dark }
:host([hidden]), [hidden] { display: none !important }
.launcher {
  all: unset; display: flex; align-items: center; gap: 10px; box-sizing: border-box; min-width: 58px; height: 58px;
  padding: 0 16px; border: 1px solid var(--button-border-color, #0000); border-radius: 29px; cursor: pointer; touch-action: none;
  background: var(--button-background-color, var(--brand)); color: var(--button-text-color, var(--on));
  font: 600 var(--button-font-size, 15px)/1.5 system-ui, sans-serif; box-shadow: 0 8px 24px #0004
}
.launcher:hover {
  border-color: var(--button-border-color-hover, #0000); color: var(--button-text-color-hover, var(--on));
  background: var(--button-background-color-hover, var(--button-background-color, var(--brand)))
}
:host([button-shape=square]) .launcher { border-radius: 12px }
.launcher:focus-visible { outline: 3px solid var(--brand); outline-offset: 3px }
.launcher > * { width: var(--button-icon-size, 26px); height: var(--button-icon-size, 26px) }
svg { fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
.launcher[data-unread]::after {
  content: attr(data-unread); position: absolute; top: -6px; right: -6px; min-width: 12px; padding: 0 6px; border-radius: 12px;
  background: #b42318; color: #fff; font-size: 13px; text-align: center
}
@media print { :host { display: none !important } }`);

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
    static observedAttributes = [...names, "visible"];
    #root = this.attachShadow({ mode: "open" });
    #launcher = document.createElement("button");
    #key; #panel; #module; #dragged;
    #failures = 0;

    connectedCallback() {
      for (const name of [...names.map(camel), "visible"]) {
        // Set before this script had come.
        if (!Object.hasOwn(this, name)) continue;
        const value = this[name];
        delete this[name];
        this[name] = value;
      }
      const launcher = this.#launcher;
      launcher.part = launcher.className = "launcher";
      launcher.ariaHasPopup = "dialog";
      launcher.onclick = () => this.#dragged || this.open();
      launcher.onpointerenter = launcher.onfocus = () => this.#load().catch(() => {});
      launcher.onpointerdown = (event) => this.#drag(event);
      this.#root.adoptedStyleSheets = [style];
      this.#root.replaceChildren(launcher);
      this.#key = `chat-widget:open:${base.origin}:${this.getAttribute("site")}`;
      this.#draw();
      try {
        if (!this.is("mode", "kiosk")) {
          this.popover = "manual";
          this.showPopover();
        }
      } catch { /* older browsers have the z-index alone */ }
      if (this.is("visible") || this.is("mode", "kiosk") || storage("getItem", this.#key)) this.open(false);
    }

    disconnectedCallback() { this.#panel = this.#panel?.destroy(); }

    attributeChangedCallback(name, before, value) {
      if (!this.isConnected || before === value) return;
      if (name === "visible") return this.is(name) ? this.open() : this.close();
      this.#draw();
      this.#panel?.update();
    }

    #draw() {
      const launcher = this.#launcher, text = this.getAttribute("button-text") ?? "", image = this.getAttribute("icon-url");
      launcher.replaceChildren(image ? Object.assign(new Image(), { src: image, alt: "" })
        : icon("M20 12a8 8 0 0 1-8 8H4l2-3A8 8 0 1 1 20 12zM9 12h0M12 12h0M15 12h0"), text);
      this.style.setProperty("--accent", this.getAttribute("accent"));
      launcher.ariaLabel = text || "Chat";
      launcher.hidden = this.opened || !this.is("show-button", true) || this.is("mode", "kiosk");
    }

    is(name, otherwise) {
      const value = this.getAttribute(name);
      return value === null ? otherwise === true : typeof otherwise === "string" ? value === otherwise : !/^(false|off)$/.test(value);
    }

    get opened() { return !!this.#panel?.opened; }
    get visible() { return this.opened; }
    set visible(visible) { visible ? this.open() : this.close(); }

    open(focus = true) {
      return this.#with(async (panel) => {
        await panel.open(focus);
        this.#launcher.hidden = true;
        if (!this.is("mode", "kiosk")) storage("setItem", this.#key, 1);
      });
    }

    close() {
      if (!this.opened) return;
      this.#panel.close();
      storage("removeItem", this.#key);
      this.#draw();
      if (document.activeElement === this || document.activeElement === document.body) this.#launcher.focus();
    }

    toggle() { return this.opened ? this.close() : this.open(); }

    send(text, context) { return this.#with((panel) => panel.say(text, context)); }

    newChat() { return this.#with((panel) => panel.renew()); }

    async #with(act) {
      try {
        const { Panel } = await this.#load();
        if (!this.isConnected) return;
        this.#panel ??= new Panel(this, this.#root, this.#launcher, base.origin, icon);
        return await act(this.#panel);
      } catch (/** @type {any} */ error) {
        const detail = `${error.message}. A Content-Security-Policy has to name ${base.origin} in script-src and connect-src.`;
        console.warn(`chat-widget: ${detail}`);
        this.dispatchEvent(new CustomEvent("ocs:error", { bubbles: true, composed: true, detail: { code: "blocked", detail } }));
      }
    }

    #drag({ clientX, clientY, pointerId }) {
      const launcher = this.#launcher, { left, top, width, height } = launcher.getBoundingClientRect();
      const within = (place, most) => `${Math.max(0, Math.min(place, most))}px`;
      this.#dragged = false;
      launcher.onpointermove = (event) => {
        const x = event.clientX - clientX, y = event.clientY - clientY;
        if (!this.#dragged && Math.hypot(x, y) < 8) return;
        this.#dragged = true;
        launcher.setPointerCapture(pointerId);
        this.style.inset = `${within(top + y, innerHeight - height)} auto auto ${within(left + x, innerWidth - width)}`;
      };
      launcher.onpointerup = launcher.onpointercancel = () => { launcher.onpointermove = null; };
    }

    #load() {
      // A failure may be kept under its address.
      return this.#module ??= import(base + "panel.js" + "?".repeat(this.#failures)).catch((error) => {
        this.#module = null;
        this.#failures++;
        throw error;
      });
    }
  }

  const camel = (name) => name.replace(/-./g, (found) => found[1].toUpperCase());
  for (const name of names) {
    Object.defineProperty(ChatWidget.prototype, camel(name), {
      get() { return this.getAttribute(name); },
      set(value) {
        if (value == null) this.removeAttribute(name);
        else this.setAttribute(name, typeof value === "object" ? JSON.stringify(value) : value);
      },
    });
  }

  /** @param {any} tag */
  const place = ({ attributes, dataset: { site } }) => {
    if (!site || document.querySelector(`chat-widget[site="${CSS.escape(site)}"]`)) return;
    const element = document.createElement("chat-widget");
    for (const { name, value } of attributes) {
      if (name.startsWith("data-")) element.setAttribute(name.slice(5), value);
    }
    document.body.append(element);
  };
  const begin = () => [script, ...document.querySelectorAll(tags)].forEach(place);

  if (!customElements.get("chat-widget")) {
    customElements.define("chat-widget", ChatWidget);
    document.addEventListener("click", (/** @type {any} */ event) => {
      const asked = event.target.closest?.("[data-chat-ask]"), widget = /** @type {any} */ (document.querySelector("chat-widget"));
      if (!asked || !widget) return;
      const { chatAsk, chatContext } = asked.dataset;
      event.preventDefault();
      widget.open();
      widget.send(chatAsk, chatContext);
    });
  }
  if (document.body) begin();
  else document.addEventListener("DOMContentLoaded", begin);
})();
