// The looks: docs/widget.md, "Inside".

import { Chat } from "./chat.js";

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
  const set = (name) => host.getAttribute(name), kiosk = () => host.matches("[mode=kiosk]");
  let missed = 0, files = [], texts = {}, nodes, shown, site, language, slow;
  let frame, fresh, large, ask, log, items, progress, typing, starters, pill, status, input, button, form, over, consent, chosen;

  const chat = Chat(host, origin, tell, (news) => frame && changed(news));
  const draft = `${chat.key}?draft`;

  // Words

  async function load() {
    const [css, found] = await Promise.all([read("panel.css", "text"), chat.about().catch((fault) => ({ fault }))]);
    const sheet = new CSSStyleSheet(), { look, fault } = site = found;
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [root.adoptedStyleSheets[0], sheet];
    await words();
    if (look) host.style.setProperty("--brand", `var(--accent, ${look.accent})`);
    if (fault) {
      const { code, detail, message } = fault;
      chat.notice = code === "chatbot_unavailable" ? detail : t("status.unavailable");
      console.warn(`chat-widget: ${detail ?? message}. Do the site's allowed_origins name ${location.origin}?`);
      chat.emit("error", { code, detail });
    }
    chat.on(narrow, "change", () => frame.open && show());
    chat.on(self.visualViewport, "resize scroll", fit);
    chat.on(document, "visibilitychange", () => frame.open && !document.hidden && count(0));
    draw();
  }

  async function words() {
    const own = set("language"), url = set("translations-url"), more = site.texts ?? {};
    const file = (name) => read(`languages/${name.split("-")[0].toLowerCase()}.json`);
    const attributes = {
      "branding.headerText": set("header-text") ?? site.title,
      "branding.buttonText": set("button-text"),
      "status.typing": set("typing-indicator-text"),
      "modal.newChatBody": set("new-chat-confirmation-message"),
      "content.welcomeMessages": list(set("welcome-messages")) ?? more.welcome_messages,
      "content.starterQuestions": list(set("starter-questions")) ?? more.starter_questions,
      "composer.placeholder": more.placeholder,
    };
    language = own === "auto" ? document.documentElement.lang || navigator.language : own || "en";
    const built = await file(language).catch(() => file(language = "en"));
    const custom = url && await read(new URL(url, document.baseURI)).catch((error) => console.warn(`chat-widget: ${url}: ${error.message}`));
    texts = Object.fromEntries([...own ? [attributes, built] : [built, attributes], custom].flatMap(filled));
  }

  function t(key, n) {
    const text = texts[key] ?? "";
    return n === undefined ? text : (text[new Intl.PluralRules(language).select(n)] ?? text.other ?? text).replace("{n}", n.toLocaleString(language));
  }

  // Looks

  const div = (className, ...children) => make("div", { className }, ...children);

  const press = (className, label, onclick, path) =>
    make("button", { type: "button", className, onclick, ...(path && { ariaLabel: label, title: label }) }, path ? icon(path) : label);

  function draw() {
    const title = t("branding.headerText") || t("window.title"), hint = t("composer.placeholder"), text = set("banner-message") ?? "", renew = () => {
      panel.renew();
      asking(false);
    };
    function asking(wanted) {
      ask.hidden = !wanted;
      (wanted ? ask.lastChild : input).focus();
    }
    const banner = make("p", { className: "banner", hidden: !text }, text), below = set("banner-position") === "bottom";
    fresh = press("icon", t("window.newChat"), () => asking(true), "M12 20h8M16 5a2 2 0 0 1 3 3L8 19l-4 1 1-4z");
    large = press("icon large", t("window.fullscreen"), () => show(!frame.matches(".full")), "M14 4h6v6M10 20H4v-6M20 4l-7 7M4 20l7-7");
    large.hidden = !host.is("allow-full-screen", "on");
    ask = div("bar ask", make("b", {}, t("modal.newChatTitle")), t("modal.newChatBody"),
      press("plain", t("modal.cancel"), () => asking(false)), press("solid", t("modal.confirm"), renew));
    ask.hidden = true;
    items = make("div", { className: "items", role: "log", ariaLabel: t("log.label") });
    progress = make("span");
    typing = div("typing", make("i"), make("i"), make("i"), progress);
    starters = div("starters", ...[...t("content.starterQuestions")].map((one) => press("starter", one, () => send(one))));
    log = div("messages", ...[...t("content.welcomeMessages")].map((one) => div("bot", one)), items, typing, starters);
    log.tabIndex = 0;
    log.onscroll = () => atEnd() && count(0);
    pill = press("pill", "", toEnd);
    status = make("p", { className: "status", role: "status" });
    input = make("textarea", { className: "input", rows: 1, placeholder: hint, ariaLabel: hint, oninput: typed });
    input.value = keep("getItem", draft) ?? "";
    button = press("send", t("composer.send"), null, "M4 12l16-8-6 16-3-6z");
    button.type = "submit";
    form = make("form", { className: "composer" }, input, button);
    form.onsubmit = (event) => {
      event.preventDefault();
      send(input.value);
    };
    over = div("bar", make("span"), press("solid", t("modal.confirm"), renew));
    consent = div("bar", set("consent-text") ?? "", press("solid", t("consent.agree"), () => {
      chat.agree();
      render();
      input.focus();
    }));
    frame = make("dialog", { className: "panel", ariaLabel: title, lang: language, dir: /^(ar|fa|he|ur)/.test(language) ? "rtl" : "ltr" },
      make("header", { className: "header", hidden: kiosk() }, make("h2", {}, title), fresh, large, press("icon", t("window.close"), () => host.close(), "M6 9l6 6 6-6")),
      ask, below ? "" : banner, log, pill, status, below ? banner : "", consent, form, over);
    frame.oncancel = (event) => {
      event.preventDefault();
      host.close();
    };
    frame.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && event.target === input && !event.shiftKey && !event.isComposing) form.requestSubmit();
      else if (event.key !== "Escape") return;
      else if (!ask.hidden) asking(false);
      else if (frame.matches(".full")) show();
      else if (!kiosk()) host.close();
      event.preventDefault();
    };
    nodes = new Map();
    root.append(frame);
    if (chat.limits.attachments && host.is("allow-attachments", "on")) attach();
    toEnd();
    typed();
    count(missed);
  }

  function show(full) {
    const focused = root.activeElement, modal = full || (narrow.matches && !kiosk());
    frame.close();
    frame.classList.toggle("full", !!full);
    if (modal) frame.showModal();
    else frame.setAttribute("open", "");
    document.documentElement.style.overflow = modal ? "hidden" : "";
    large.ariaLabel = large.title = t(full ? "window.exitFullscreen" : "window.fullscreen");
    fit();
    typed();
    focused?.focus();
  }

  function fit() {
    const { height, offsetTop } = self.visualViewport ?? {};
    frame.style.cssText = `--height: ${height}px; --top: ${offsetTop}px`;
    if (atEnd()) toEnd();
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
    pill.textContent = t("log.new", n);
  }

  // What is said

  function changed({ own, message, live }) {
    const end = atEnd(), away = !frame.open || document.hidden;
    render();
    if (own || end) toEnd();
    if (!message || !live || message.role === "user") return;
    if (away || !end) count(missed + 1);
    if (away && host.is("sound")) beep();
    const { role, content } = message;
    chat.emit("message:received", { message: { role, content } });
  }

  function render() {
    const waits = [...chat.awaited.values()], agreed = !set("consent-text") || chat.agreed;
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
      node.querySelector("time").textContent = when.toLocaleString(language, { timeStyle: "short" });
      day = date;
      if (item.own) fate(item, node.lastChild);
    });
    if (!waits.length) slow = clearTimeout(slow);
    else slow ??= setTimeout(() => { progress.textContent = t("status.slow"); }, 10_000);
    typing.hidden = !waits.length;
    progress.textContent = waits.join(" ") || t("status.typing");
    starters.hidden = chat.begun || host.is("disabled") || !agreed;
    fresh.hidden = !chat.begun;
    consent.hidden = agreed || chat.begun;
    form.hidden = chat.over || !consent.hidden;
    over.hidden = !chat.over;
    over.firstChild.textContent = t(chat.over === "ended" ? "status.chatEnded" : "error.sessionExpired");
    status.textContent = t(`status.${chat.connection}`) || chat.notice;
  }

  function bubble({ own, key, role, content, html, attachments = [] }) {
    const mine = role === "user", said = div(mine ? "mine" : role === "system" ? "bot system" : "bot", mine ? content : build(html));
    said.dir = "auto";
    for (const pre of said.querySelectorAll("pre")) {
      const copy = press("copy", t("message.copy"), () =>
        navigator.clipboard?.writeText(pre.firstChild.textContent).then(() => { copy.textContent = t("message.copied"); }));
      pre.append(copy);
    }
    function rate(rating, label, text) {
      const thumb = press("thumb", text, () => {
        for (const one of thumb.parentNode.children) one.ariaPressed = one === thumb;
        chat.emit("feedback", { message: { key, role, content }, rating });
      });
      return Object.assign(thumb, { ariaLabel: label, title: label, ariaPressed: "false" });
    }
    return div("item", make("span", { className: "who" }, t(mine ? "log.you" : "log.assistant")), said, ...attachments.map(({ name }) => div("file", name)),
      !mine && host.is("feedback") ? div("thumbs", rate("helpful", t("message.helpful"), "👍"), rate("not_helpful", t("message.notHelpful"), "👎")) : "",
      make("time", { className: mine ? "time own" : "time" }), own ? div("fate") : "");
  }

  function fate(item, line) {
    const { state, retried, detail } = item, unknown = state === "unknown", checking = unknown && chat.checking(item);
    const told = unknown ? t(checking ? "message.checking" : "message.unknown") : state === "not_sent" ? detail ?? t("message.notSent")
      : /failed|timeout/.test(state) && !chat.hasOutcome(item) ? detail : "";
    line.replaceChildren(told ?? "");
    if (retried || chat.over || checking || !(told || state === "failed")) return;
    line.append(" ", press("retry", t(unknown ? "message.sendAgain" : "message.retry"), () => chat.retry(item)));
  }

  // What is written

  const excess = (text) => [...text.trim()].length - (chat.limits.message_characters ?? 4000);

  function send(text, context) {
    text = text.trim();
    if (host.is("disabled") || !text || excess(text) > 0) return;
    input.value = "";
    chat.send(text, context, files.filter((file) => file.id).map(({ id, name }) => ({ id, name })));
    clear();
    input.focus();
  }

  function typed() {
    const { value, style } = input, more = excess(value), off = host.is("disabled");
    keep("setItem", draft, value);
    input.disabled = off;
    button.disabled = off || !value.trim() || more > 0 || files.some((file) => file.sending);
    status.textContent = more > 0 ? t("error.tooLong", more) : "";
    style.height = "auto";
    style.height = `${input.scrollHeight + 2}px`;
  }

  // Files

  function attach() {
    const choose = make("input", { type: "file", multiple: true, hidden: true, accept: `${chat.limits.attachments.extensions}`, onchange: () => {
      add(choose.files);
      choose.value = "";
    } });
    chosen = div("files");
    form.before(chosen);
    form.prepend(choose, press("icon attach", t("attach.add"), () => choose.click(), "M7 13V7a5 5 0 0 1 10 0v10a3 3 0 0 1-6 0V8"));
    form.onpaste = (event) => add(event.clipboardData.files);
    frame.ondragover = frame.ondragleave = frame.ondrop = (event) => {
      const { type, dataTransfer } = event;
      if (!dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      frame.classList.toggle("drop", type === "dragover");
      if (type === "drop") add(dataTransfer.files);
    };
    progressed();
  }

  function add(more) {
    for (const file of more) {
      const entry = { file, name: file.name };
      files.push(entry);
      upload(entry);
    }
  }

  function clear(kept = []) {
    files.forEach((file) => kept.includes(file) || file.cancel());
    files = kept;
    progressed();
  }

  function wrong({ size, name }) {
    const most = chat.limits.attachments, good = files.filter((one) => !one.wrong);
    if (size > most.file_bytes) return "error.fileTooLarge";
    if (good.length > most.files || good.reduce((sum, one) => sum + one.file.size, 0) > most.message_bytes) return "error.totalTooLarge";
    if (!most.extensions.some((ending) => name.toLowerCase().endsWith(ending))) return "error.unsupportedType";
  }

  async function upload(entry) {
    const abort = new AbortController();
    entry.cancel = () => abort.abort();
    entry.wrong = wrong(entry.file);
    entry.sending = !entry.wrong;
    entry.detail = "";
    progressed();
    try {
      if (entry.sending) entry.id = await chat.upload(entry.file, (share) => {
        entry.share = share;
        progressed();
      }, abort.signal);
    } catch (error) {
      entry.detail = error.detail ?? t("error.upload");
    }
    entry.sending = false;
    progressed();
  }

  function progressed() {
    chosen?.replaceChildren(...files.map((entry) => {
      const { file, detail, sending, id, share = 0 } = entry, bad = entry.wrong ? t(entry.wrong) : detail;
      function act(key, path, onclick) {
        const made = press("icon", t(key), onclick, path);
        made.ariaLabel += `: ${file.name}`;
        return made;
      }
      return div(`file${bad ? " bad" : id ? " done" : ""}`, make("span", {}, file.name),
        sending ? make("progress", { value: share, ariaLabel: t("status.uploading") }) : "",
        make("small", {}, bad || (id ? t("attach.success") : `${Math.ceil(file.size / 1024)} kB`)),
        detail ? act("attach.retry", "M20 12a8 8 0 1 1-3-6l3 3V4", () => upload(entry)) : "",
        act("attach.remove", "M6 6l12 12M18 6L6 18", () => clear(files.filter((one) => one !== entry))));
    }));
    typed();
  }

  const panel = {
    get opened() { return frame?.open; },

    ready: () => shown ??= load().catch((error) => {
      shown = null;
      throw error;
    }),

    open(focus) {
      if (!frame.open) {
        show();
        chat.listen(true);
        render();
        toEnd();
        count(0);
        chat.emit("open");
      }
      if (focus) input.focus();
    },

    close() {
      frame.close();
      document.documentElement.style.overflow = "";
      chat.listen(false);
      chat.emit("close");
    },

    say: (text, context) => send(text, parse(context, context)),

    renew() {
      chat.renew();
      clear();
    },

    async update() {
      if (!frame) return;
      await words();
      const { open } = frame;
      frame.remove();
      draw();
      render();
      if (open) show();
    },

    destroy() {
      if (frame) count(0);
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
  tone.stop(audio.currentTime + .25);
}

// Sanitised HTML

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: "\u00a0" };

const decode = (text) => text.replace(/&(\w+);/g, (whole, name) => ENTITIES[name] ?? whole);

const GIVEN = {
  a: [/ (href)="((?:https?:|mailto:)[^"]*)/i, { target: "_blank", rel: "noopener noreferrer nofollow" }],
  img: [/ (src)="(https:[^"]*)/, { loading: "lazy", referrerPolicy: "no-referrer" }],
  ol: [/ (start)="(\d+)/],
};

export function build(html) {
  const open = [Object(document.createDocumentFragment())];
  for (const [whole, closing, tag, attributes] of html.matchAll(/<(\/?)(\w+)((?: [a-z]+="[^"]*")*)>|[^<]+|</g)) {
    if (!/^(p|[bh]r|h[1-6]|strong|em|s|code|pre|blockquote|[uo]l|li|t(able|head|body|[rhd])|a|img)$/.test(tag)) open.at(-1).append(decode(whole));
    else if (closing) open.length = Math.max(1, open.findLastIndex((one) => one.localName === tag));
    else {
      const element = document.createElement(tag), [pattern, more] = GIVEN[tag] ?? [], [, name, value] = pattern?.exec(attributes) ?? [];
      if (name) Object.assign(element, { [name]: decode(value) }, more);
      if (tag === "img") element.alt = decode(/ alt="([^"]*)/.exec(attributes)?.[1] ?? "");
      open.at(-1).append(element);
      if (!/^([bh]r|img)$/.test(tag)) open.push(element);
    }
  }
  return open[0];
}
