// The looks.

import { Chat } from "./chat.js";
import { build } from "./transcript.js";
import "./page-context.js";

const MARK = "● ";

function parse(text, otherwise) {
  try { return JSON.parse(text); } catch { return otherwise; }
}

// JSON, or ['One', 'Two'].
const list = (text) => text && parse(text, [...text.matchAll(/'(.*?)'\s*(?=[,\]])/gs)].map(([, item]) => item));

const filled = (texts) => Object.entries(texts ?? {}).filter(([, text]) => text != null && text.length !== 0);

const read = (address, as = "json") => fetch(new URL(address, import.meta.url)).then((response) => response[as]());

export function Panel(host, { origin, make, icon, tell, keep }) {
  const root = host.shadowRoot, launcher = root.firstChild, narrow = matchMedia("(max-width: 480px)");
  const kiosk = () => host.matches("[mode=kiosk]");
  let missed = 0, texts = {}, nodes, loading, site, language, patience, slow, files, pageOverflow;
  let frame, fresh, large, ask, log, items, progress, typing, starters, pill, status, input, button, form, over, consent;

  const chat = Chat(host, origin, tell, (news) => frame && changed(news));
  const draft = `${chat.key}?draft`, tabState = `chat-widget:state:${origin}:${host.getAttribute("site")}`;

  // Settings

  const usual = (name) => site.look?.[name.replaceAll("-", "_")];
  const option = (name) => host.getAttribute(name) ?? usual(name);
  const is = (name, otherwise) => host.is(name, usual(name) ?? otherwise);

  // Words

  async function load() {
    const [css, found] = await Promise.all([read("panel.css", "text"), chat.about().catch((fault) => ({ fault }))]);
    const sheet = new CSSStyleSheet(), { look, fault } = site = found;
    Object.assign(chat.limits, found.limits);
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [root.adoptedStyleSheets[0], sheet];
    const [module] = await Promise.all([chat.limits.attachments && import("./files.js").catch(() => {}), words()]);
    files = module?.Files({ chat, make, div, press, t, typed, closed: () => form.hidden || input.disabled });
    if (!loading) return;
    if (look) {
      host.style.setProperty("--brand", `var(--own, var(--accent, ${look.accent}))`);
      host.style.setProperty("--scheme", look.theme ?? "");
    }
    if (fault) {
      const { code, detail, message } = fault;
      chat.notice = code === "chatbot_unavailable" ? detail : t("status.unavailable");
      console.warn(`chat-widget: ${detail ?? message}. Do the site's allowed_origins name ${location.origin}?`);
      chat.emit("error", { code, detail });
    }
    missed = chat.begun && +keep("getItem", tabState) || 0;
    chat.on(narrow, "change", () => frame.open && show());
    chat.on(self.visualViewport, "resize scroll", () => fit());
    chat.on(document, "visibilitychange", () => frame.open && !document.hidden && count(0));
    draw();
    remember();
    await new Promise((resolve) => setTimeout(resolve));
  }

  async function words() {
    const own = host.getAttribute("language"), wanted = option("language"), url = option("translations-url"), more = site.texts ?? {};
    const file = (name) => read(`languages/${name.split("-")[0].toLowerCase()}.json`);
    const attributes = {
      "branding.headerText": option("header-text") ?? site.title,
      "branding.buttonText": host.getAttribute("button-text"),
      "status.typing": option("typing-indicator-text"),
      "modal.newChatBody": option("new-chat-confirmation-message"),
      "content.welcomeMessages": list(option("welcome-messages")) ?? more.welcome_messages,
      "content.starterQuestions": list(option("starter-questions")) ?? more.starter_questions,
      "composer.placeholder": more.placeholder,
      "launcher.open": host.getAttribute("button-label") ?? more.launcher,
    };
    language = wanted === "auto" ? document.documentElement.lang || navigator.language : wanted || "en";
    const built = await file(language).catch(() => file(language = "en"));
    const custom = url && await read(new URL(url, document.baseURI))
      .catch((error) => console.warn(`chat-widget: ${url}: ${error.message}`));
    texts = Object.fromEntries([...own ? [attributes, built] : [built, attributes], custom].flatMap(filled));
  }

  function t(key, n) {
    const text = texts[key] ?? "";
    return n === undefined ? text : (text[new Intl.PluralRules(language).select(n)] ?? text.other ?? text).replace("{n}", n.toLocaleString(language));
  }

  // Looks

  const div = (className, ...children) => make("div", { className }, ...children);

  // With an icon's path or an emoji, the label is read out and shown as a hint.
  const press = (className, label, onclick, sign) =>
    make("button", { type: "button", className, onclick, ...(sign && { ariaLabel: label, title: label }) },
      sign?.startsWith("M") ? icon(sign) : sign ?? label);

  function draw() {
    const title = t("branding.headerText") || t("window.title"), hint = t("composer.placeholder"), notice = option("banner-message") ?? "";
    const renew = () => {
      panel.renew();
      asking(false);
    };
    function asking(wanted) {
      ask.hidden = !wanted;
      (wanted ? ask.lastChild : input).focus();
    }
    const banner = make("p", { className: "banner", hidden: !notice }, notice), below = option("banner-position") === "bottom";
    banner.dataset.style = option("banner-style") ?? "";
    fresh = press("icon", t("window.newChat"), () => asking(true), "M12 20h8M16 5a2 2 0 0 1 3 3L8 19l-4 1 1-4z");
    large = press("icon large", t("window.fullscreen"), () => show(!frame.matches(".full")), "M14 4h6v6M10 20H4v-6M20 4l-7 7M4 20l7-7");
    large.hidden = !is("allow-full-screen", "on");
    ask = div("bar ask", make("b", {}, t("modal.newChatTitle")), t("modal.newChatBody"),
      press("plain", t("modal.cancel"), () => asking(false)), press("solid", t("modal.confirm"), renew));
    ask.hidden = true;
    items = make("div", { className: "items", role: "log", ariaLabel: t("log.label") });
    progress = make("span");
    typing = div("typing", make("i"), make("i"), make("i"), progress);
    starters = div("starters", ...[...t("content.starterQuestions")].map((one) => press("starter", one, () => send(one))));
    log = div("messages", ...[...t("content.welcomeMessages")].map((one) => make("div", { className: "bot", dir: "auto" }, one)), items, typing, starters);
    log.tabIndex = 0;
    log.onscroll = () => atEnd() && count(0);
    pill = press("pill", "", toEnd);
    status = make("p", { className: "status", role: "status" });
    input ??= make("textarea", { className: "input", rows: 1, oninput: typed, value: keep("getItem", draft) ?? "" });
    input.placeholder = input.ariaLabel = hint;
    button = press("send", t("composer.send"), () => send(input.value), "M4 12l16-8-6 16-3-6z");
    form = make("form", { className: "composer" }, input, button);
    over = div("bar", make("span"), press("solid", t("modal.confirm"), renew));
    consent = div("bar", option("consent-text") ?? "", press("solid", t("consent.agree"), () => {
      chat.agree();
      render();
      input.focus();
    }));
    const header = make("header", { className: "header", hidden: kiosk() }, make("h2", {}, title), fresh, large,
      press("icon", t("window.close"), () => host.close(), "M6 9l6 6 6-6"));
    frame = make("dialog", { className: "panel", ariaLabel: title, lang: language, dir: /^ar/.test(language) ? "rtl" : "ltr" }, header,
      kiosk() ? fresh : "", ask, below ? "" : banner, log, pill, status, below ? banner : "", consent, form, over);
    // The file picker's own comes here, too.
    frame.oncancel = ({ target }) => target === frame && host.close();
    frame.onkeydown = (event) => {
      event.stopPropagation();
      // 229: Safari's Enter that ends a composition.
      const composing = event.isComposing || event.keyCode === 229;
      if (event.key === "Enter" && event.target === input && !event.shiftKey && !composing) button.click();
      else if (event.key !== "Escape") return;
      else if (!ask.hidden) asking(false);
      else if (frame.matches(".full")) show();
      else if (!kiosk()) host.close();
      event.preventDefault();
    };
    nodes = new Map();
    root.append(frame);
    if (is("allow-attachments", "on")) files?.draw(form, frame);
    typed();
    count(missed);
  }

  function show(full) {
    const focused = root.activeElement, end = atEnd(), modal = full || (narrow.matches && !kiosk());
    frame.close();
    frame.classList.toggle("full", !!full);
    if (modal) frame.showModal();
    else frame.setAttribute("open", "");
    lock(modal);
    large.ariaLabel = large.title = t(full ? "window.exitFullscreen" : "window.fullscreen");
    fit(end);
    typed();
    focused?.focus();
  }

  function lock(wanted) {
    const { style } = document.documentElement;
    if (wanted) pageOverflow ??= style.overflow;
    if (pageOverflow != null) style.overflow = wanted ? "hidden" : pageOverflow;
    if (!wanted) pageOverflow = null;
  }

  function fit(end = atEnd()) {
    const { height, offsetTop } = self.visualViewport ?? {};
    frame.style.cssText = `--height: ${height}px; --top: ${offsetTop}px`;
    if (end) toEnd();
  }

  const toEnd = () => { log.scrollTop = log.scrollHeight; };
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60;

  function count(n) {
    const { title } = document;
    missed = n;
    launcher.dataset.unread = n;
    launcher.classList.toggle("unread", n > 0);
    launcher.ariaLabel = n ? t("launcher.unread", n) : launcher.textContent || t("branding.buttonText") || t("launcher.open");
    if (title.startsWith(MARK) !== n > 0) document.title = n ? MARK + title : title.slice(MARK.length);
    pill.hidden = !n || !frame.open;
    pill.textContent = n && t("log.new", n);
  }

  // What is said

  function changed({ own, message, live }) {
    const end = atEnd(), away = !frame.open || document.hidden;
    render();
    if (own || end) toEnd();
    if (!message || !live || message.role === "user") return;
    if (away || !end) count(missed + 1);
    remember();
    if (away && is("sound")) beep();
    const { role, content } = message;
    chat.emit("message:received", { message: { role, content } });
  }

  function remember() {
    if (!kiosk()) keep("setItem", tabState, frame.open ? "open" : missed || chat.awaited.size ? missed : "");
  }

  function write(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  const undecided = () => option("consent-text") && !chat.agreed && !chat.begun;

  function render() {
    const waits = [...chat.awaited.values()];
    let day;
    for (const [item, node] of nodes) {
      if (chat.items.includes(item)) continue;
      nodes.delete(item);
      node.remove();
    }
    chat.items.forEach((item, place) => {
      const node = nodes.get(item) ?? bubble(item);
      nodes.set(item, node);
      if (items.children[place] !== node) items.insertBefore(node, items.children[place]);
      const when = new Date(item.time === "~" ? Date.now() : item.time), date = when.toDateString();
      node.dataset.day = date === day ? "" : when.toLocaleString(language, { weekday: "long", day: "numeric", month: "long" });
      write(node.querySelector("time"), when.toLocaleString(language, { timeStyle: "short" }));
      day = date;
      if (item.own) fate(item, node.lastChild);
    });
    if (!waits.length) patience = slow = clearTimeout(patience);
    else patience ??= setTimeout(() => {
      slow = true;
      render();
    }, 10_000);
    typing.hidden = !waits.length;
    write(progress, slow ? t("status.slow") : waits.join(" ") || t("status.typing"));
    starters.hidden = chat.begun || is("disabled") || undecided();
    fresh.hidden = !chat.begun;
    consent.hidden = !undecided();
    form.hidden = chat.over || undecided();
    over.hidden = !chat.over;
    write(over.firstChild, t(chat.over === "ended" ? "status.chatEnded" : "error.sessionExpired"));
    report();
    remember();
  }

  function report() {
    const more = excess(input.value);
    write(status, more > 0 ? t("error.tooLong", more) : t(`status.${chat.connection}`) || chat.notice);
  }

  function bubble({ own, key, role, content, html, attachments = [] }) {
    const mine = role === "user", said = div(mine ? "mine" : role === "system" ? "bot system" : "bot", mine ? content : build(html));
    said.dir = "auto";
    for (const pre of said.querySelectorAll("pre")) {
      const copy = press("copy", t("message.copy"), () =>
        navigator.clipboard?.writeText(pre.firstChild.textContent).then(() => { copy.textContent = t("message.copied"); }));
      pre.append(copy);
    }
    function rate(rating, label, sign) {
      const thumb = press("thumb", label, () => {
        for (const one of thumb.parentNode.children) one.ariaPressed = one === thumb;
        chat.emit("feedback", { message: { key, role, content }, rating });
        if (site.feedback) chat.rate({ key, value: rating === "helpful" ? "up" : "down" });
      }, sign);
      thumb.ariaPressed = "false";
      return thumb;
    }
    return div("item", make("span", { className: "who" }, t(mine ? "log.you" : "log.assistant")), said,
      ...attachments.map(({ name, url }) => div("file", url
        ? make("a", { href: new URL(url, origin).href, target: "_blank", rel: "noopener noreferrer" }, name) : name)),
      mine || !is("feedback") ? ""
        : div("thumbs", rate("helpful", t("message.helpful"), "👍"), rate("not_helpful", t("message.notHelpful"), "👎")),
      make("time", { className: mine ? "time own" : "time" }), own ? div("fate") : "");
  }

  function fate(item, line) {
    const { state, retried, detail } = item, unknown = state === "unknown", checking = unknown && chat.checking(item);
    const failed = /failed|timeout/.test(state) && !chat.hasOutcome(item);
    const told = (unknown ? t(checking ? "message.checking" : "message.unknown")
      : state === "not_sent" ? detail ?? t("message.notSent") : failed && detail) || "";
    const again = (told || state === "failed") && !(retried || chat.over || checking || is("disabled"))
      ? ` ${t(unknown ? "message.sendAgain" : "message.retry")}` : "";
    if (line.textContent === told + again) return;
    line.replaceChildren(told);
    if (again) line.append(" ", press("retry", again.trim(), () => chat.retry(item)));
  }

  // What is written

  const excess = (text) => [...text.trim()].length - (chat.limits.message_characters ?? 4000);

  function send(text, context) {
    text = `${text}`.trim();
    if (is("disabled") || !text || excess(text) > 0) return;
    if (undecided()) {
      input.value = text;
      typed();
      return host.open();
    }
    input.value = "";
    chat.send(text, context, files?.ready);
    files?.sent();
    typed();
    input.focus();
  }

  function typed() {
    const { value, style } = input, off = is("disabled");
    keep("setItem", draft, value);
    for (const control of form.elements) control.disabled = off;
    button.disabled = off || !value.trim() || excess(value) > 0 || files?.busy;
    report();
    style.height = "auto";
    style.height = `${input.scrollHeight + 2}px`;
  }

  const panel = {
    get opened() { return frame?.open; },

    ready: () => loading ??= load().catch((error) => {
      loading = null;
      throw error;
    }),

    open(focus) {
      if (!frame.open) {
        show();
        chat.wake();
        render();
        toEnd();
        count(0);
        chat.emit("open");
      }
      if (focus) for (const one of [input, consent.lastChild, over.lastChild]) one.focus();
    },

    close() {
      frame.close();
      lock();
      chat.wake();
      remember();
      chat.emit("close");
    },

    say: (text, context) => send(text, parse(context, context)),

    renew() {
      chat.renew();
      files?.clear();
    },

    async update(name) {
      if (/^(site|user-id|pers)/.test(name)) return host.replaceWith(host);
      if (!frame) return;
      await words();
      if (!loading) return;
      const { open } = frame, full = frame.matches(".full"), writing = root.activeElement === input;
      frame.remove();
      draw();
      render();
      if (open) show(full);
      if (writing) input.focus();
    },

    destroy() {
      loading = null;
      if (frame) count(0);
      lock();
      files?.clear();
      chat.leave();
      frame?.remove();
    },
  };
  return panel;
}

function beep() {
  const audio = new AudioContext(), tone = new OscillatorNode(audio), volume = new GainNode(audio, { gain: .08 });
  tone.connect(volume).connect(audio.destination);
  volume.gain.setTargetAtTime(0, 0, .1);
  tone.start();
  setTimeout(() => audio.close(), 250);
}
