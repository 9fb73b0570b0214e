// What the visitor sees of a Chat.

import { Chat } from "./chat.js";
import { build } from "./html.js";
import { pageContext } from "./page-context.js";

const TEXTS = {
  placeholder: "Write a message …", send: "Send", close: "Close chat", newChat: "New chat",
  newChatAsk: "Start a new conversation? This one is cleared here.", newChatYes: "Start new", newChatNo: "Keep",
  messages: "Conversation", you: "You", bot: "Assistant", typing: "The assistant is writing",
  notSent: "Not sent.", unknown: "Not sure this was delivered.", checking: "Checking whether it arrived …", retry: "Try again", sendAgain: "Send again",
  offline: "You are offline.", retrying: "Connection lost. Trying again …", unavailable: "Chat is unavailable just now.",
  expired: "This conversation has expired.", ended: "This conversation has ended.",
  tooLong: " characters too many",
};

const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

export class Panel {
  opened = false;
  #host; #root; #chat; #icon; #frame;
  #texts = { ...TEXTS };
  #limits = {};
  #nodes = new Map();
  #leave = new AbortController();

  /** @param {Host} host */
  constructor(host, root, origin, icon) {
    this.#host = host;
    this.#root = root;
    this.#icon = icon;
    this.#chat = new Chat(origin, host.getAttribute("site"), () => pageContext(
      document, host.getAttribute("page-context"), host.pageContext, this.#limits.page_context_bytes ?? 8192,
    ), (news) => this.#changed(news), () => host.getAttribute("background-stream") === "on");
  }

  async open(focus) {
    if (!this.#frame) await this.#load();
    this.opened = true;
    this.#frame.hidden = false;
    this.#chat.listen(true);
    this.#render();
    this.#toEnd();
    if (focus) this.input.focus();
  }

  close() {
    this.opened = false;
    this.#frame.hidden = true;
    this.#chat.listen(false);
  }

  destroy() {
    this.#leave.abort();
    this.#chat.leave();
    this.#frame?.remove();
  }

  async #load() {
    const css = fetch(new URL("panel.css", import.meta.url)).then((response) => response.text());
    const site = await this.#chat.about().catch((error) => error);
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(await css);
    this.#root.adoptedStyleSheets = [this.#root.adoptedStyleSheets[0], sheet];
    Object.assign(this.#texts, site.texts);
    Object.assign(this.#limits, site.limits);
    if (site.look) this.#host.style.setProperty("--accent", this.#host.getAttribute("accent") ?? site.look.accent);
    if (!site.limits) {
      this.#chat.notice = this.#texts.unavailable;
      console.warn(`chat-widget: ${site.detail ?? site.message}. Do the site's allowed_origins name ${location.origin}?`);
    }
    this.#draw(site);
  }

  /** @param {Site} site */
  #draw({ title = "Chat", texts: { welcome_messages = [], starter_questions = [] } = {} }) {
    const t = this.#texts, icon = this.#icon;
    const on = (target, type, listener) => (target.addEventListener(type, listener, this.#leave), target);
    const button = (className, label, click, child = label) =>
      on(make("button", { type: "button", className, ariaLabel: label }, child), "click", click);
    const close = () => this.#host.close();
    const ask = (shown) => {
      this.ask.hidden = !shown;
      (shown ? this.ask.lastChild : this.input).focus();
    };
    const renew = () => {
      this.#chat.renew();
      ask(false);
    };

    this.fresh = button("icon", t.newChat, () => ask(true), icon("M12 20h8M16 5a2 2 0 0 1 3 3L8 19l-4 1 1-4z"));
    this.ask = make("div", { className: "bar", hidden: true }, t.newChatAsk,
      button("plain", t.newChatNo, () => ask(false)), button("solid", t.newChatYes, renew));
    this.items = make("div", { role: "log", ariaLabel: t.messages });
    this.progress = make("span");
    this.typing = make("div", { className: "typing", ariaLabel: t.typing }, make("i"), make("i"), make("i"), this.progress);
    this.starters = make("div", { className: "starters" },
      ...starter_questions.map((question) => button("starter", question, () => this.#send(question))));
    this.log = make("div", { className: "messages", tabIndex: 0 },
      ...welcome_messages.map((text) => make("div", { className: "bot" }, text)),
      this.items, this.typing, this.starters);
    this.status = make("p", { className: "status", role: "status" });
    this.input = make("textarea", { className: "input", rows: 1, placeholder: t.placeholder, ariaLabel: t.placeholder });
    on(this.input, "input", () => this.#typed());
    on(this.input, "keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.form.requestSubmit();
    });
    this.button = make("button", { className: "send", ariaLabel: t.send }, icon("M4 12l16-8-6 16-3-6z"));
    this.form = on(make("form", { className: "composer" }, this.input, this.button), "submit", (event) => {
      event.preventDefault();
      this.#send(this.input.value);
    });
    this.over = make("div", { className: "bar" }, make("span"), button("solid", t.newChatYes, renew));
    this.#frame = on(make("section", { className: "panel", role: "dialog", ariaLabel: title },
      make("header", { className: "header" }, make("h2", {}, title), this.fresh, button("icon", t.close, close, icon("M6 9l6 6 6-6"))),
      this.ask, this.log, this.status, this.form, this.over), "keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") this.ask.hidden ? close() : ask(false);
    });
    this.#root.append(this.#frame);
    this.#toEnd();
    this.#typed();
  }

  #send(text) {
    if (!text.trim() || this.#excess(text) > 0) return;
    this.input.value = "";
    this.#typed();
    this.#chat.send(text.trim());
    this.input.focus();
  }

  #excess(text) { return text.trim().length - (this.#limits.message_characters ?? 4000); }

  #typed() {
    const { input } = this, excess = this.#excess(input.value);
    this.button.disabled = excess > 0 || !input.value.trim();
    this.status.textContent = excess > 0 ? excess + this.#texts.tooLong : "";
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight + 2}px`;
  }

  #toEnd() { this.log.scrollTop = this.log.scrollHeight; }

  /** @param {Change} news */
  #changed({ own, message }) {
    if (!this.#frame) return;
    const { scrollHeight, scrollTop, clientHeight } = this.log; // who reads further up is left there
    this.#render();
    if (own || scrollHeight - scrollTop - clientHeight < 60) this.#toEnd();
    if (message && !this.opened) this.#host.unread = true;
  }

  #render() {
    const chat = this.#chat, { items } = chat.transcript, nodes = this.#nodes;
    for (const [item, node] of nodes) {
      if (items.includes(item)) continue;
      nodes.delete(item);
      node.remove();
    }
    items.forEach((item, position) => {
      const node = nodes.get(item) ?? this.#node(item);
      nodes.set(item, node);
      if (this.items.children[position] !== node) this.items.insertBefore(node, this.items.children[position]);
      if (item.own) this.#fate(item, node.lastChild);
    });
    this.typing.hidden = !chat.awaited.size;
    this.progress.textContent = [...chat.awaited.values()].join(" ");
    this.starters.hidden = chat.begun;
    this.fresh.hidden = !chat.begun;
    this.form.hidden = chat.over;
    this.over.hidden = !chat.over;
    this.over.firstChild.textContent = this.#texts[chat.over];
    this.status.textContent = this.#texts[chat.connection] ?? chat.notice;
  }

  /** @param {Item} item */
  #node({ own, role, content, html, attachments = [] }) {
    const mine = role === "user";
    return make("div", { className: "item" },
      make("span", { className: "who" }, mine ? this.#texts.you : this.#texts.bot),
      make("div", { className: mine ? "mine" : "bot", dir: "auto" }, mine ? content : build(html)),
      ...attachments.map(({ name }) => make("div", { className: "fate" }, name)),
      ...(own ? [make("div", { className: "fate" })] : []));
  }

  /** @param {Item} item */
  #fate(item, line) {
    const { state, retried } = item, t = this.#texts, replied = this.#chat.transcript.hasOutcome(item), checking = state === "unknown" && this.#chat.checking(item);
    const told = { not_sent: item.detail ?? t.notSent, unknown: checking ? t.checking : t.unknown, failed: !replied && item.detail, timeout: !replied && item.detail }[state];
    const again = !retried && !this.#chat.over && !checking && (told || state === "failed");
    line.replaceChildren(told || "");
    if (!again) return;
    const retry = make("button", { type: "button", className: "retry" }, state === "unknown" ? t.sendAgain : t.retry);
    retry.onclick = () => this.#chat.retry(item);
    line.append(" ", retry);
  }
}
