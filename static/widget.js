// The loader; what and why: docs/widget.md, "Inside".
(() => {
  const tags = 'script[src*="/widget"][data-site]';
  const script = Object(document.currentScript ?? document.querySelector(tags) ?? document.querySelector('[src*="/widget.js"]'));
  const base = new URL("widget/", script.src);
  const names = `site position theme accent button-text button-label button-shape icon-url show-button header-text welcome-messages starter-questions
    user-id user-name persistent-session persistent-session-expire allow-full-screen allow-attachments language translations-url
    typing-indicator-text new-chat-confirmation-message disabled banner-message banner-style banner-position mode consent-text feedback
    sound background-stream`.split(/\s+/);
  const style = new CSSStyleSheet();
  style.replaceSync(`
:host {
  all: initial; position: fixed !important; display: block !important; inset: auto 20px 20px auto; z-index: var(--chat-z-index, 2147483000);
  transform: none !important; filter: none !important; overflow: visible !important; color-scheme: light dark;
  --brand: var(--own, var(--accent, #2457d6));
  --on: color(
    from var(--brand) xyz-d65 clamp(0, (.18 - y) * 1e5, .95) clamp(0, (.18 - y) * 1e5, 1) clamp(0, (.18 - y) * 1e5, 1.089)
  )
}
:host([position=left]) { inset: auto auto 20px 20px }
:host([position=center]) { inset: auto 0 20px; width: fit-content; margin: auto }
:host([mode=kiosk]) { position: absolute !important; inset: 0; width: auto; margin: 0 }
:host([theme=light]) { color-scheme: light }
:host([theme=dark]) { color-scheme: dark }
:host([hidden]), [hidden], .launcher:has(~ [open]) { display: none !important }
.launcher {
  all: initial; color-scheme: inherit; display: flex; align-items: center; gap: 10px; box-sizing: border-box; min-width: 58px; height: 58px;
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
.launcher[aria-busy=true] { opacity: .6; cursor: progress }
.launcher > * { width: var(--button-icon-size, 26px); height: var(--button-icon-size, 26px) }
svg { fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
.unread::after {
  content: attr(data-unread); position: absolute; inset: -6px -6px auto auto; min-width: 12px; padding: 0 6px; border-radius: 12px;
  background: #b42318; color: #fff; font-size: 13px; text-align: center
}
@media print { :host { display: none !important } }`);

  function keep(action, key, value) {
    try { return sessionStorage[action](key, value); } catch { /* blocked */ }
  }

  function tell(host, type, detail) { host.dispatchEvent(new CustomEvent(`ocs:${type}`, { bubbles: true, composed: true, detail })); }

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.part = element.className;
    element.append(...children);
    return element;
  }

  function icon(d) {
    const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
    svg.setAttribute("viewBox", "0 0 24 24");
    path.setAttribute("d", d);
    svg.append(path);
    return svg;
  }

  class ChatWidget extends HTMLElement {
    static observedAttributes = [...names, "visible"];
    #panel; #loading; #dragged; #opener; #wanted;
    #failures = "";
    #root = this.attachShadow({ mode: "open" });
    #launcher = make("button", {
      className: "launcher", ariaHasPopup: "dialog",
      // A key's click has no detail.
      onclick: ({ detail }) => (detail && this.#dragged) || this.open(),
      onfocus: () => this.#load().catch(() => {}),
      onpointerenter: () => this.#load().catch(() => {}),
      onpointerdown: (event) => this.#drag(event),
    });

    connectedCallback() {
      const kiosk = this.matches("[mode=kiosk]");
      for (const [name, value] of Object.entries(this)) {
        delete this[name];
        this[name] = value;
      }
      const state = keep("getItem", `chat-widget:state:${base.origin}:${this.getAttribute("site")}`);
      this.#root.adoptedStyleSheets = [style];
      this.#root.replaceChildren(this.#launcher);
      this.#draw();
      try {
        if (!kiosk) {
          this.popover = "manual";
          this.showPopover();
        }
      } catch { /* the z-index alone */ }
      if (kiosk || this.is("visible") || state === "open") this.open(false);
      else if (state) this.#with(() => {});
    }

    disconnectedCallback() { this.#panel = this.#panel?.destroy(); }

    attributeChangedCallback(name, before, value) {
      if (!this.isConnected || before === value) return;
      if (name === "visible") return this.visible = this.is(name);
      this.#draw();
      this.#panel?.update(name);
    }

    #draw() {
      const launcher = this.#launcher, text = this.getAttribute("button-text") ?? "", src = this.getAttribute("icon-url");
      const bubble = icon("M20 12a8 8 0 0 1-8 8H4l2-3A8 8 0 1 1 20 12zM9 12h0M12 12h0M15 12h0");
      launcher.replaceChildren(src ? make("img", { src, alt: "" }) : bubble, text);
      launcher.ariaLabel = text || this.getAttribute("button-label") || "Chat";
      launcher.hidden = !this.is("show-button", "on") || this.matches("[mode=kiosk]");
      this.style.setProperty("--own", this.getAttribute("accent"));
    }

    is(name, otherwise = "off") { return !/^(false|off)$/.test(this.getAttribute(name) ?? otherwise); }

    get opened() { return !!this.#panel?.opened; }
    get visible() { return this.opened; }
    set visible(visible) { visible ? this.open() : this.close(); }

    toggle() { return this.opened ? this.close() : this.open(); }

    open(focus = true) {
      this.#wanted = true;
      if (focus && !this.opened) this.#opener = document.activeElement;
      return this.#with((panel) => this.#wanted && panel.open(focus));
    }

    close() {
      this.#wanted = false;
      if (!this.opened) return;
      this.#panel.close();
      if (document.activeElement !== this && document.activeElement !== document.body) return;
      this.#launcher.focus();
      Object(this.#opener).focus?.();
    }

    send(text, context) { return this.#with((panel) => panel.say(text, context)); }

    newChat() { return this.#with((panel) => panel.renew()); }

    async #with(act) {
      try {
        this.#launcher.ariaBusy = "true";
        const { Panel } = await this.#load();
        if (!this.isConnected) return;
        const panel = this.#panel ??= Panel(this, { origin: base.origin, make, icon, tell, keep });
        await panel.ready();
        if (panel === this.#panel) return act(panel);
      } catch (error) {
        const detail = `${error.message}. A Content-Security-Policy has to name ${base.origin} in script-src and connect-src.`;
        console.warn(`chat-widget: ${detail}`);
        tell(this, "error", { code: "blocked", detail });
      } finally {
        this.#launcher.ariaBusy = null;
      }
    }

    #load() {
      return this.#loading ??= import(`${base}panel.js${this.#failures}`).catch((error) => {
        this.#failures += "?";
        this.#loading = null;
        throw error;
      });
    }

    #drag({ clientX, clientY, pointerId }) {
      const launcher = this.#launcher, { left, top, width, height } = launcher.getBoundingClientRect();
      const within = (place, size) => `clamp(0px, ${place}px, 100% - ${size}px)`;
      this.#dragged = false;
      launcher.setPointerCapture(pointerId);
      launcher.onpointermove = (event) => {
        const x = event.clientX - clientX, y = event.clientY - clientY;
        if (!launcher.hasPointerCapture(pointerId) || (!this.#dragged && Math.hypot(x, y) < 8)) return;
        this.#dragged = true;
        launcher.style.position = "fixed";
        launcher.style.inset = `${within(top + y, height)} auto auto ${within(left + x, width)}`;
      };
    }
  }

  for (const name of names) {
    Object.defineProperty(ChatWidget.prototype, name.replace(/-./g, (found) => found[1].toUpperCase()), {
      get() { return this.getAttribute(name); },
      set(value) {
        if (value == null) this.removeAttribute(name);
        else this.setAttribute(name, typeof value === "object" ? JSON.stringify(value) : value);
      },
    });
  }

  function begin() {
    for (const { attributes, dataset: { site } } of [script, ...document.querySelectorAll(tags)]) {
      if (!site || document.querySelector(`chat-widget[site="${CSS.escape(site)}"]`)) continue;
      const element = document.createElement("chat-widget");
      for (const { name, value } of attributes) {
        if (name.startsWith("data-")) element.setAttribute(name.slice(5), value);
      }
      document.body.append(element);
    }
  }

  if (!customElements.get("chat-widget")) {
    customElements.define("chat-widget", ChatWidget);
    document.addEventListener("click", (event) => {
      const asked = Object(event.target).closest?.("[data-chat-ask]"), widget = Object(document.querySelector("chat-widget"));
      if (!asked || !widget.open) return;
      event.preventDefault();
      widget.open();
      widget.send(asked.dataset.chatAsk, asked.dataset.chatContext);
    });
  }
  if (document.body) begin();
  else document.addEventListener("DOMContentLoaded", begin);
})();
