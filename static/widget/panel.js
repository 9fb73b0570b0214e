// What the visitor sees of a Chat.

import { Chat } from "./chat.js";
import { build } from "./html.js";
import { pageContext } from "./page-context.js";

const MARK = "● ";

export const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.part = element.className;
  element.append(...children);
  return element;
};

const parse = (text, otherwise) => {
  try { return JSON.parse(text); } catch { return otherwise; }
};

// A JSON array, or as Open Chat Studio's documentation writes it: ['One', 'Two'].
const list = (text) => text && parse(text, [...text.matchAll(/'(.*?)'\s*(?=[,\]])/gs)].map(([, item]) => item));

const filled = (texts) => Object.entries(texts ?? {}).filter(([, text]) => text != null && text.length !== 0);

export class Panel {
  opened = false;
  #host; #root; #launcher; #chat; #icon; #frame; #site; #language; #files; #shown; #slow; #day;
  #texts = {};
  #missed = 0;
  #nodes = new Map();
  #leave = new AbortController();
  #narrow = matchMedia("(max-width: 480px)");

  constructor(host, root, launcher, origin, icon) {
    this.#host = host;
    this.#root = root;
    this.#launcher = launcher;
    this.#icon = icon;
    const set = (name) => host.getAttribute(name);
    this.#chat = new Chat({
      origin, site: set("site"), user: set("user-id"), name: set("user-name"),
      keep: set("persistent-session"), minutes: +(set("persistent-session-expire") ?? 1440),
      context: (own) => pageContext(document, set("page-context"), { ...host.pageContext, ...own }, this.limits.page_context_bytes ?? 8192),
      onchange: (news) => this.#changed(news),
      emit: (type, detail) => this.#emit(type, detail),
      background: () => set("background-stream") === "on",
    });
  }

  get limits() { return this.#site?.limits ?? {}; }

  async open(focus) {
    await this.#ready();
    if (this.opened) return focus && this.input.focus();
    this.opened = true;
    this.#show();
    this.#chat.listen(true);
    this.#render();
    this.#toEnd();
    this.#seen();
    if (focus) this.input.focus();
    this.#emit("open");
  }

  close() {
    this.opened = false;
    this.#frame.close();
    document.documentElement.style.overflow = "";
    this.#chat.listen(false);
    this.#emit("close");
  }

  destroy() {
    this.#leave.abort();
    this.#seen();
    this.#chat.leave();
    this.#frame?.remove();
  }

  async say(text, context) {
    await this.#ready();
    this.#send(text, parse(context, context));
  }

  async renew() {
    await this.#ready();
    this.#chat.renew();
    this.#files?.clear();
  }

  async update() {
    if (!this.#frame) return;
    await this.#words();
    this.#frame.remove();
    this.#nodes.clear();
    this.#draw();
    this.#changed({});
    if (this.opened) this.#show();
  }

  #emit(type, detail) {
    const sessionId = this.#chat.session;
    this.#host.dispatchEvent(new CustomEvent(`ocs:${type}`, { bubbles: true, composed: true, detail: detail && { ...detail, sessionId } }));
  }

  #option(name) { return this.#host.getAttribute(name) ?? this.#site.look?.[name.replaceAll("-", "_")]; }

  #ready() {
    return this.#shown ??= this.#load().catch((error) => {
      this.#shown = null;
      throw error;
    });
  }

  async #load() {
    const css = fetch(new URL("panel.css", import.meta.url)).then((response) => response.text());
    const [styles, site] = await Promise.all([css, this.#chat.about().catch((fault) => ({ fault }))]);
    const sheet = new CSSStyleSheet();
    this.#site = site;
    if (site.look) this.#host.style.setProperty("--brand", `var(--accent, ${site.look.accent})`);
    await this.#words();
    sheet.replaceSync(styles);
    this.#root.adoptedStyleSheets = [this.#root.adoptedStyleSheets[0], sheet];
    if (site.fault) {
      const { code, detail, message } = site.fault;
      this.#chat.notice = code === "chatbot_unavailable" ? detail : this.#t("status.unavailable");
      console.warn(`chat-widget: ${detail ?? message}. Do the site's allowed_origins name ${location.origin}?`);
      this.#emit("error", { code, detail });
    }
    const on = (target, types, listener) => types.split(" ").forEach((type) => target?.addEventListener(type, listener, this.#leave));
    on(this.#narrow, "change", () => this.opened && this.#show());
    on(self.visualViewport, "resize scroll", () => this.#fit());
    on(document, "visibilitychange", () => this.opened && !document.hidden && this.#seen());
    this.#draw();
  }

  async #words() {
    const own = this.#host.getAttribute("language"), url = this.#host.getAttribute("translations-url");
    const wanted = own === "auto" ? document.documentElement.lang || navigator.language : own || "en";
    const read = (address) => fetch(new URL(address, import.meta.url)).then((response) => response.json());
    const file = (language) => read(`languages/${language.split("-")[0].toLowerCase()}.json`).then((texts) => {
      this.#language = language;
      return texts;
    });
    const attributes = {
      "branding.headerText": this.#option("header-text") ?? this.#site.title,
      "branding.buttonText": this.#option("button-text"),
      "status.typing": this.#option("typing-indicator-text"),
      "modal.newChatBody": this.#option("new-chat-confirmation-message"),
      "content.welcomeMessages": list(this.#option("welcome-messages")) ?? this.#site.texts?.welcome_messages,
      "content.starterQuestions": list(this.#option("starter-questions")) ?? this.#site.texts?.starter_questions,
      "composer.placeholder": this.#site.texts?.placeholder,
    };
    const built = await file(wanted).catch(() => file("en"));
    const custom = url && await read(new URL(url, document.baseURI)).catch((error) => console.warn(`chat-widget: ${url}: ${error.message}`));
    this.#texts = Object.fromEntries([own ? attributes : built, own ? built : attributes, custom].flatMap(filled));
  }

  #t(key, n) {
    const text = this.#texts[key] ?? "";
    if (n === undefined) return text;
    return (text[new Intl.PluralRules(this.#language).select(n)] ?? text.other ?? text).replace("{n}", n.toLocaleString(this.#language));
  }

  #time(options, when) { return new Intl.DateTimeFormat(this.#language, options).format(when); }

  #draw() {
    const t = (key) => this.#t(key), icon = this.#icon, host = this.#host;
    const on = (target, type, listener) => (target.addEventListener(type, listener), target);
    const button = (className, label, click, ...children) =>
      on(make("button", { type: "button", className, ariaLabel: label, title: label }, ...children), "click", click);
    const plain = (className, label, click) => on(make("button", { type: "button", className }, label), "click", click);
    const kiosk = host.is("mode", "kiosk");
    const ask = (shown) => {
      this.ask.hidden = !shown;
      (shown ? this.ask.lastChild : this.input).focus();
    };
    const renew = () => {
      this.renew();
      ask(false);
    };
    const agree = () => {
      this.#chat.agree();
      this.#render();
      this.input.focus();
    };
    const banner = make("p", { className: "banner", hidden: !this.#option("banner-message") }, this.#option("banner-message") ?? "");
    const below = this.#option("banner-position") === "bottom";
    banner.dataset.style = this.#option("banner-style") ?? "";

    this.fresh = button("icon", t("window.newChat"), () => ask(true), icon("M12 20h8M16 5a2 2 0 0 1 3 3L8 19l-4 1 1-4z"));
    this.large = button("icon large", t("window.fullscreen"), () => this.#show(!this.#frame.matches(".full")), icon("M14 4h6v6M10 20H4v-6M20 4l-7 7M4 20l7-7"));
    this.large.hidden = !host.is("allow-full-screen", true);
    this.ask = make("div", { className: "bar ask", hidden: true }, make("b", {}, t("modal.newChatTitle")), t("modal.newChatBody"),
      plain("plain", t("modal.cancel"), () => ask(false)), plain("solid", t("modal.confirm"), renew));
    this.items = make("div", { role: "log", className: "items", ariaLabel: t("log.label") });
    this.progress = make("span");
    this.typing = make("div", { className: "typing" }, make("i"), make("i"), make("i"), this.progress);
    this.starters = make("div", { className: "starters" },
      ...(this.#texts["content.starterQuestions"] ?? []).map((question) => plain("starter", question, () => this.#send(question))));
    this.log = on(make("div", { className: "messages", tabIndex: 0 },
      ...(this.#texts["content.welcomeMessages"] ?? []).map((text) => make("div", { className: "bot" }, text)),
      this.items, this.typing, this.starters), "scroll", () => this.#isAtEnd() && this.#seen());
    this.pill = plain("pill", "", () => this.#toEnd());
    this.status = make("p", { className: "status", role: "status" });
    this.input = make("textarea", { className: "input", rows: 1, placeholder: t("composer.placeholder"), ariaLabel: t("composer.placeholder") });
    this.input.value = this.#draft();
    on(this.input, "input", () => this.#typed());
    on(this.input, "keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.form.requestSubmit();
    });
    this.button = make("button", { className: "send", ariaLabel: t("composer.send"), title: t("composer.send") }, icon("M4 12l16-8-6 16-3-6z"));
    this.form = on(make("form", { className: "composer" }, this.input, this.button), "submit", (event) => {
      event.preventDefault();
      this.#send(this.input.value);
    });
    this.over = make("div", { className: "bar" }, make("span"), plain("solid", t("modal.confirm"), renew));
    this.consent = make("div", { className: "bar" }, this.#option("consent-text") ?? "", plain("solid", t("consent.agree"), agree));
    this.#frame = make("dialog", { className: "panel", ariaLabel: t("branding.headerText") || t("window.title"), lang: this.#language, dir: /^(ar|fa|he|ur)/.test(this.#language) ? "rtl" : "ltr" },
      make("header", { className: "header", hidden: kiosk }, make("h2", {}, t("branding.headerText") || t("window.title")), this.fresh, this.large,
        button("icon", t("window.close"), () => host.close(), icon("M6 9l6 6 6-6"))),
      this.ask, below ? "" : banner, this.log, this.pill, this.status, below ? banner : "", this.consent, this.form, this.over);
    on(this.#frame, "keydown", (event) => {
      event.stopPropagation();
      if (event.key !== "Escape") return;
      event.preventDefault();
      if (!this.ask.hidden) ask(false);
      else if (this.#frame.matches(".full")) this.#show();
      else if (!kiosk) host.close();
    });
    on(this.#frame, "cancel", (event) => {
      event.preventDefault();
      host.close();
    });
    this.#root.append(this.#frame);
    this.#launcher.ariaLabel = this.#launcher.textContent || t("branding.buttonText") || t("launcher.open");
    this.#attachments(button, t);
    this.#toEnd();
    this.#typed();
  }

  async #attachments(...how) {
    if (!this.#host.is("allow-attachments", true) || !this.limits.attachments) return;
    const { Files } = await import("./files.js");
    this.#files ??= new Files(this, this.#chat, this.#icon);
    this.#files.draw(...how);
  }

  // Over the page as a window; over all of it on a phone and in full screen, where the browser keeps the focus inside.
  #show(full) {
    const frame = this.#frame, focused = this.#root.activeElement, modal = full || (this.#narrow.matches && !this.#host.is("mode", "kiosk"));
    frame.close();
    frame.classList.toggle("full", !!full);
    if (modal) frame.showModal();
    else frame.setAttribute("open", ""); // show() would take the focus
    document.documentElement.style.overflow = modal ? "hidden" : "";
    const label = this.#t(full ? "window.exitFullscreen" : "window.fullscreen");
    Object.assign(this.large, { ariaLabel: label, title: label });
    this.#fit();
    this.#typed();
    focused?.focus();
  }

  // The keyboard of a phone covers the page; what is left of it is the visual viewport.
  #fit() {
    const { height, offsetTop } = self.visualViewport ?? {}, { style } = this.#frame;
    style.setProperty("--height", `${height}px`);
    style.setProperty("--top", `${offsetTop}px`);
    if (this.#isAtEnd()) this.#toEnd();
  }

  #send(text, context) {
    const files = this.#files?.ready ?? [];
    text = text.trim();
    if (this.#host.is("disabled") || this.#excess(text) > 0 || !(text || files.length)) return;
    this.input.value = "";
    this.#typed();
    this.#chat.send(text, context, files);
    this.#files?.clear();
    this.input.focus();
  }

  #excess(text) { return [...text.trim()].length - (this.limits.message_characters ?? 4000); }

  #typed() {
    const { input } = this, excess = this.#excess(input.value), off = this.#host.is("disabled");
    this.#draft(input.value);
    input.disabled = off;
    this.button.disabled = off || excess > 0 || !!this.#files?.busy || !(input.value.trim() || this.#files?.ready.length);
    this.status.textContent = excess > 0 ? this.#t("error.tooLong", excess) : "";
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight + 2}px`;
  }

  typed() { this.#typed(); }

  #draft(text) {
    const key = `${this.#chat.key}?draft`;
    try {
      if (text === undefined) return sessionStorage[key] ?? "";
      sessionStorage[key] = text;
    } catch { /* blocked */ }
    return "";
  }

  #toEnd() { this.log.scrollTop = this.log.scrollHeight; }

  #isAtEnd() { return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60; }

  #seen() { this.#count(0); }

  #count(missed) {
    const launcher = this.#launcher, { title } = document;
    this.#missed = missed;
    if (missed) launcher.dataset.unread = missed;
    else delete launcher.dataset.unread;
    launcher.classList.toggle("unread", missed > 0);
    if (!launcher.hidden && this.#language) launcher.ariaLabel = missed ? this.#t("launcher.unread", missed) : launcher.textContent || this.#t("launcher.open");
    if (title.startsWith(MARK) !== !!missed) document.title = missed ? MARK + title : title.slice(MARK.length);
    if (!this.pill) return;
    this.pill.hidden = !missed || !this.opened;
    this.pill.textContent = this.#t("log.new", missed);
  }

  /** @param {Change} news */
  #changed({ own, message, live }) {
    if (!this.#frame) return;
    const atEnd = this.#isAtEnd(); // who reads further up is left there
    this.#render();
    if (own || atEnd) this.#toEnd();
    if (!message || !live || message.role === "user") return;
    if (!this.opened || document.hidden || !atEnd) this.#count(this.#missed + 1);
    if (this.#host.is("sound") && (!this.opened || document.hidden)) beep();
    const { role, content } = message;
    this.#emit("message:received", { message: { role, content } });
  }

  #render() {
    const chat = this.#chat, { items } = chat.transcript, nodes = this.#nodes, off = this.#host.is("disabled");
    this.#day = "";
    for (const [item, node] of nodes) {
      if (items.includes(item)) continue;
      nodes.delete(item);
      node.remove();
    }
    items.forEach((item, position) => {
      const node = nodes.get(item) ?? this.#node(item);
      nodes.set(item, node);
      if (this.items.children[position] !== node) this.items.insertBefore(node, this.items.children[position]);
      this.#stamp(item, node);
      if (item.own) this.#fate(item, node.lastChild);
    });
    const waits = [...chat.awaited.values()];
    if (!waits.length) this.#slow = clearTimeout(this.#slow);
    else if (!this.#slow) this.#slow = setTimeout(() => { this.progress.textContent = this.#t("status.slow"); }, 10_000);
    const agreed = !this.#option("consent-text") || chat.agreed;
    this.typing.hidden = !waits.length;
    this.progress.textContent = waits.join(" ") || this.#t("status.typing");
    this.starters.hidden = chat.begun || off || !agreed;
    this.fresh.hidden = !chat.begun;
    this.consent.hidden = agreed || chat.begun;
    this.form.hidden = chat.over || !this.consent.hidden;
    this.over.hidden = !chat.over;
    this.over.firstChild.textContent = this.#t({ ended: "status.chatEnded", expired: "error.sessionExpired" }[chat.over]);
    this.status.textContent = this.#t({ offline: "status.offline", retrying: "status.reconnecting" }[chat.connection]) || chat.notice;
  }

  #stamp({ time }, node) {
    const when = new Date(time === "~" ? Date.now() : time), day = when.toDateString();
    node.dataset.day = day === this.#day ? "" : this.#time({ weekday: "long", day: "numeric", month: "long" }, when);
    node.querySelector("time").textContent = this.#time({ timeStyle: "short" }, when);
    this.#day = day;
  }

  /** @param {Item} item */
  #node({ own, key, role, content, html, attachments = [] }) {
    const mine = role === "user", bubble = make("div", { className: mine ? "mine" : role === "system" ? "bot system" : "bot", dir: "auto" }, mine ? content : build(html));
    for (const pre of bubble.querySelectorAll("pre")) {
      const copy = make("button", { type: "button", className: "copy" }, this.#t("message.copy"));
      copy.onclick = () => navigator.clipboard?.writeText(pre.firstChild.textContent).then(() => { copy.textContent = this.#t("message.copied"); });
      pre.append(copy);
    }
    const rate = (rating, label, text) => {
      const thumb = make("button", { type: "button", className: "thumb", ariaLabel: label, title: label, ariaPressed: "false" }, text);
      thumb.onclick = () => {
        for (const one of thumb.parentNode.children) one.ariaPressed = one === thumb;
        this.#emit("feedback", { message: { key, role, content }, rating });
      };
      return thumb;
    };
    const thumbs = !mine && this.#host.is("feedback") ? [make("div", { className: "thumbs" },
      rate("helpful", this.#t("message.helpful"), "👍"), rate("not_helpful", this.#t("message.notHelpful"), "👎"))] : [];
    return make("div", { className: "item" },
      make("span", { className: "who" }, this.#t(mine ? "log.you" : "log.assistant")), bubble,
      ...attachments.map(({ name }) => make("div", { className: "file" }, name)), ...thumbs,
      make("time", { className: mine ? "time own" : "time" }),
      ...(own ? [make("div", { className: "fate" })] : []));
  }

  /** @param {Item} item */
  #fate(item, line) {
    const { state, retried, detail } = item, chat = this.#chat, replied = chat.transcript.hasOutcome(item), checking = state === "unknown" && chat.checking(item);
    const told = {
      not_sent: detail ?? this.#t("message.notSent"), unknown: this.#t(checking ? "message.checking" : "message.unknown"),
      failed: !replied && detail, timeout: !replied && detail,
    }[state];
    line.replaceChildren(told || "");
    if (retried || chat.over || checking || !(told || state === "failed")) return;
    const retry = make("button", { type: "button", className: "retry" }, this.#t(state === "unknown" ? "message.sendAgain" : "message.retry"));
    retry.onclick = () => chat.retry(item);
    line.append(" ", retry);
  }
}

function beep() {
  const audio = new AudioContext(), tone = audio.createOscillator(), volume = audio.createGain();
  volume.gain.setValueAtTime(.08, 0);
  volume.gain.linearRampToValueAtTime(0, audio.currentTime + .25);
  tone.connect(volume).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + .25);
}
