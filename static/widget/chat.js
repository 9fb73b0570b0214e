// The conversation, without its looks. What and why: docs/widget.md, "Inside".

import { Tabs, locks, storage } from "./tabs.js";
import { Transcript } from "./transcript.js";

const OVER = { session_ended: "ended", session_expired: "expired", handle_invalid: "expired" };
const PATIENCE = 40_000;

export class Chat {
  transcript = new Transcript();
  awaited = new Map();
  #handle; #cursor; #open; #away; #grace; #tabs; #attempt; #heard; #skip; #linked;
  #told = new Map();
  #sending = new Set();
  #queue = Promise.resolve();
  #leave = Object.assign(new AbortController(), { capture: true });

  constructor(origin, site, context, onchange, background) {
    this.site = `${origin}/v1/sites/${site}`;
    this.api = `${origin}/v1/session/`;
    this.name = `chat-widget:${origin}:${site}`;
    this.context = context;
    this.onchange = onchange;
    this.background = background;
    this.#begin();
    this.#recall(true);
    const on = (types, listener) => types.split(" ").forEach((type) => addEventListener(type, listener, this.#leave));
    on("pageshow resume online visibilitychange", () => this.#wake());
    on("pagehide freeze", () => this.#suspend());
    on("storage", ({ key }) => key?.startsWith(this.name) && this.#recall());
  }

  get begun() { return this.#handle || this.transcript.items.length; }

  // Looked for means: for so long, with a stream that would have brought it.
  checking({ since }) { return !this.over && !(this.#linked && Date.now() - Math.max(since, this.#linked) > PATIENCE); }

  about() { return this.#ask(this.site).then((response) => response.json()); }

  listen(open) {
    this.#open = open;
    this.#wake();
    this.#follow();
  }

  send(content) {
    this.#deliver(this.transcript.addOwn({
      id: `${Date.now()}-${Math.random()}`, content, again: 0, after: this.transcript.newest,
    }));
  }

  /** @param {Item} item */
  retry(item) {
    if (item.state === "not_sent") return this.#deliver(item);
    if (item.state === "unknown") {
      item.again++;
      return this.#deliver(item);
    }
    item.retried = true;
    this.#keep(item);
    this.send(item.content);
  }

  renew() {
    this.#kept().forEach((key) => this.#store(key));
    this.#store(this.name, { handle: "" });
    this.#begin();
  }

  leave() {
    this.onchange = () => {};
    this.#leave.abort();
    this.#suspend();
    this.#begin();
  }

  #begin(handle) {
    this.#tabs = this.#tabs?.close();
    this.#handle = handle;
    this.#cursor = this.#linked = null;
    this.over = this.notice = this.connection = "";
    this.transcript = new Transcript();
    this.awaited = new Map();
    this.#told = new Map();
    this.#sending = new Set();
    this.#changed();
  }

  #stored(key) {
    try { return JSON.parse(storage[key]); } catch { return {}; }
  }

  #store(key, value) {
    try {
      if (value) storage[key] = JSON.stringify(value);
      else delete storage[key];
    } catch { /* full */ }
  }

  #kept() { return Object.keys(storage).filter((key) => key.startsWith(`${this.name}:`)).sort(); }

  #keep(item, state = item.state) {
    item.since = Date.now();
    this.#store(`${this.name}:${item.id}`, { ...item, state });
  }

  #recall(first) {
    const { handle, over } = this.#stored(this.name);
    if (this.#handle && handle != null && handle !== this.#handle) this.#begin(handle);
    this.#handle ||= handle;
    if (over && this.#cursor) this.over = over;
    for (const key of this.#kept()) {
      const own = this.#stored(key);
      if (this.#sending.has(this.transcript.own(own.id))) continue;
      if (first && own.state === "sending") own.state = "unknown";
      this.transcript.addOwn(own);
      if (own.state === "sent") this.#await(own.task);
    }
    this.#follow();
    this.#changed();
  }

  #await(task) {
    const { event, news } = this.#told.get(task) ?? {};
    if (event === "done") this.transcript.done(news);
    else this.awaited.set(task, news?.content ?? "");
  }

  /** @param {Item} item */
  #deliver(item) {
    const { transcript } = this, post = () => this.#post(item, transcript);
    item.state = "sending";
    this.#sending.add(item);
    this.#keep(item);
    this.#changed({ own: item });
    this.#queue = this.#queue.then(() => this.#handle || !locks ? post() : locks.request(this.name, post));
  }

  async #post(item, transcript) {
    let begun, fate;
    if (transcript !== this.transcript) return;
    try {
      const page_context = this.context();
      this.#handle ||= this.#stored(this.name).handle;
      if (!this.#handle) {
        const { handle, task } = await this.#ask(`${this.site}/sessions`, { page_context });
        if (transcript !== this.transcript) return;
        this.#store(this.name, { handle: this.#handle = handle });
        if (task) this.#await(task);
      }
      begun = true;
      const { task, accepted_at: time } = await this.#ask(`${this.api}messages`, { message: item.content, page_context }, { "Idempotency-Key": `${item.id}-${item.again}` });
      if (transcript !== this.transcript) return;
      fate = { state: "sent", task, time };
      this.#await(task);
      this.notice = "";
    } catch (/** @type {any} */ error) {
      if (transcript !== this.transcript) return;
      const unknown = begun && error.fate !== "not_sent" && !(error.status < 500);
      fate = { state: unknown ? "unknown" : "not_sent", detail: error.detail };
      if (!unknown) this.#refused(error);
    }
    this.#sending.delete(item);
    this.#keep(this.transcript.addOwn({ ...item, ...fate }));
    this.#recall();
  }

  async #ask(url, body, headers, signal) {
    const response = await fetch(url, {
      signal: signal ?? AbortSignal.timeout(30_000), credentials: "omit", method: body ? "POST" : "GET", body: body && JSON.stringify(body),
      headers: {
        ...(url.startsWith(this.api) && { Authorization: `Bearer ${this.#handle}` }),
        ...(body && { "Content-Type": "application/json" }), ...headers,
      },
    });
    if (response.ok) return body ? response.json() : response;
    const wait = Number(response.headers.get("Retry-After")) * 1000;
    throw Object.assign(new Error(), { status: response.status, wait }, await response.json().catch(() => {}));
  }

  /** @param {Fault} fault */
  #refused({ code, detail }) {
    if (OVER[code]) this.#end(OVER[code]);
    else this.notice = detail ?? this.notice;
    if (detail) console.warn(`chat-widget: ${code}: ${detail}`);
  }

  #end(over) {
    this.over = over;
    if (over === "expired") this.awaited.clear();
    this.#store(this.name, { handle: this.#handle, over });
  }

  #wake() {
    clearTimeout(this.#grace);
    if (document.hidden) return this.#grace = setTimeout(() => {
      this.#away = true;
      this.#follow();
    }, 60_000);
    this.#away = false;
    this.#recall();
    this.#tabs?.hello();
    this.#hurry();
  }

  #suspend() {
    this.#cursor = this.#linked = null;
    this.#sending.forEach((item) => this.#keep(item, "unknown"));
    this.#tabs = this.#tabs?.close();
  }

  #follow() {
    const wanted = this.#handle && (this.awaited.size || (this.#open && !this.over && (!this.#away || this.background())));
    if (wanted) this.#tabs ??= new Tabs(this.name + this.#handle.slice(-16), this);
    this.#tabs?.want(wanted);
  }

  /** @param {Told} told */
  hear({ events, all, cursor, connection }) {
    if (all || this.#cursor != null) this.#cursor = cursor ?? "";
    this.#hold(connection);
    events.forEach((event) => this.#take(event));
    this.#follow();
    this.#changed();
  }

  recap() {
    this.#hurry();
    this.#tell([...this.#told.values()], true);
  }

  #tell(events, all) {
    this.#tabs?.tell({ events, all, cursor: this.#cursor, connection: this.connection });
    this.#changed();
  }

  #link(connection) {
    this.#hold(connection);
    this.#tell([]);
  }

  #hold(connection) {
    this.connection = connection;
    if (connection) this.#linked = 0;
    else if (!this.#linked) {
      this.#linked = Date.now();
      setTimeout(() => this.#changed(), PATIENCE + 100);
    }
  }

  #check() { if (Date.now() - this.#heard > PATIENCE) this.#attempt.abort(); }

  #hurry() {
    this.#check();
    this.#skip?.();
  }

  async lead(signal) {
    const watch = setInterval(() => this.#check(), 5000);
    signal.onabort = () => {
      this.#attempt.abort();
      this.#skip?.();
    };
    this.recap();
    for (let failures = 0, retry = 1000; !signal.aborted; failures++) {
      const { signal: attempt } = this.#attempt = new AbortController();
      let least = 0;
      this.#heard = Date.now();
      try {
        const tasks = [...this.awaited.keys()].slice(-20).map((task) => `&task=${task}`).join("");
        const response = await this.#ask(`${this.api}events?${tasks}`, null, this.#cursor && { "Last-Event-ID": this.#cursor }, attempt);
        failures = 0;
        this.#link("");
        const feed = parser((event) => attempt.aborted || this.#received(event), (told) => { retry = told; });
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let read; !(read = await reader.read()).done; feed(read.value)) this.#heard = Date.now();
      } catch (/** @type {any} */ error) {
        least = error.wait || 0;
        // Anything else may pass: a gateway in the middle of a deploy says what it likes.
        if (OVER[error.code]) {
          this.#refused(error);
          break;
        }
      }
      if (signal.aborted) break;
      this.#link(navigator.onLine ? failures && "retrying" : "offline");
      const wait = attempt.aborted ? 0 : least + Math.random() * Math.min(30_000, retry * 2 ** failures);
      await new Promise((resolve) => setTimeout(this.#skip = resolve, wait));
    }
    clearInterval(watch);
    this.#changed();
  }

  #received({ event, data, id }) {
    const came = { event, news: JSON.parse(data) };
    if (id) this.#cursor = id;
    this.#tell([came]);
    this.#take(came);
  }

  /** @param {Came} came */
  #take({ event, news }) {
    const { task, key = task ?? event } = news;
    let message;
    this.#told.set(key, { event, news });
    if (event === "message" && this.transcript.add(news)) message = news;
    if (news.role === "assistant" && this.notice) this.notice = "";
    if (event === "progress" && this.awaited.has(task)) this.awaited.set(task, news.content);
    if (event === "done") {
      this.awaited.delete(task);
      const own = this.transcript.done(news);
      if (own) this.#keep(own);
    }
    if (event === "session" && news.status !== "active") this.#end(news.status);
    if (event === "notice") this.notice = news.code === "restored" ? "" : news.detail;
    this.#changed({ message });
    this.#follow();
  }

  #changed(news = {}) {
    for (const { own, id, key, state, task } of this.transcript.items) {
      if (own && key && state === "sent" && !this.awaited.has(task)) this.#store(`${this.name}:${id}`);
    }
    this.onchange(news);
  }
}

export function parser(onevent, onretry) {
  let rest = "", event = {};
  return (text) => {
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?(.*)/.exec(line) ?? [];
      if (!line) {
        if ("data" in event) onevent({ event: "message", ...event });
        event = {};
      } else if (field === "retry") onretry(+value);
      else event[field] = field === "data" && "data" in event ? `${event.data}\n${value}` : value;
    }
  };
}
