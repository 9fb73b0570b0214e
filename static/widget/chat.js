// The conversation, without its looks. What and why: docs/widget.md, "Inside".

import { Tabs } from "./tabs.js";
import { Transcript } from "./transcript.js";

const OVER = { session_ended: "ended", session_expired: "expired", handle_invalid: "expired" };
const PATIENCE = 40_000;

export class Chat {
  context; onchange; emit; background; user; name; minutes;
  transcript = new Transcript();
  awaited = new Map();
  #handle; #cursor; #live; #open; #away; #grace; #tabs; #attempt; #heard; #skip; #linked;
  #storage = {};
  #told = new Map();
  #sending = new Set();
  #queue = Promise.resolve();
  #leave = Object.assign(new AbortController(), { capture: true });

  constructor(options) {
    const { origin, site, user, keep } = Object.assign(this, options);
    this.site = `${origin}/v1/sites/${site}`;
    this.api = `${origin}/v1/session/`;
    this.key = `chat-widget:${origin}:${site}${user ? `@${encodeURIComponent(user)}` : ""}`;
    try {
      if (keep === "tab") this.#storage = sessionStorage;
      else if (keep !== "false" && localStorage) {
        this.#storage = localStorage;
        this.locks = self.BroadcastChannel && navigator.locks;
      }
    } catch { /* blocked */ }
    this.#begin();
    this.#recall(true);
    const on = (types, listener) => types.split(" ").forEach((type) => addEventListener(type, listener, this.#leave));
    on("pageshow resume online visibilitychange", () => this.#wake());
    on("pagehide freeze", () => this.#suspend());
    on("storage", ({ key }) => key?.startsWith(this.key) && this.#recall());
  }

  get session() { return this.#handle?.slice(-16); }

  get agreed() { return this.#stored(`${this.key}?agreed`); }

  agree() { this.#store(`${this.key}?agreed`, true); }

  get begun() { return this.#handle || this.transcript.items.length; }

  // Looked for means: for so long, with a stream that would have brought it.
  checking({ since }) { return !this.over && !(this.#linked && Date.now() - Math.max(since, this.#linked) > PATIENCE); }

  about() { return this.#ask(this.site).then((response) => response.json()); }

  listen(open) {
    this.#open = open;
    this.#wake();
    this.#follow();
  }

  send(content, context, files = []) {
    this.#deliver(this.transcript.addOwn({
      id: `${Date.now()}-${Math.random()}`, content, context, attachments: files, again: 0, after: this.transcript.newest,
    }));
  }

  // With XMLHttpRequest, which tells how far an upload is.
  async upload(file, onprogress, signal) {
    await this.#start();
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest(), body = new FormData();
      body.append("files", file);
      signal.onabort = () => request.abort();
      request.upload.onprogress = ({ loaded, total }) => onprogress(loaded / total);
      request.responseType = "json";
      request.onloadend = () => {
        const { response } = request;
        if (request.status === 201) resolve(response.files[0].id);
        else reject(response ?? {});
      };
      request.open("POST", `${this.api}files`);
      request.setRequestHeader("Authorization", `Bearer ${this.#handle}`);
      request.send(body);
    });
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
    this.send(item.content, item.context);
  }

  renew() {
    this.#kept().forEach((key) => this.#store(key));
    this.#store(this.key, { handle: "" });
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
    this.#cursor = this.#live = this.#linked = null;
    this.over = this.notice = this.connection = "";
    this.transcript = new Transcript();
    this.awaited = new Map();
    this.#told = new Map();
    this.#sending = new Set();
    this.#changed();
  }

  #stored(key) {
    try { return JSON.parse(this.#storage[key]); } catch { /* none */ }
  }

  #store(key, value) {
    try {
      if (value) this.#storage[key] = JSON.stringify(value);
      else delete this.#storage[key];
    } catch { /* full */ }
  }

  #kept() { return Object.keys(this.#storage).filter((key) => key.startsWith(`${this.key}:`)).sort(); }

  #keep(item, state = item.state) {
    item.since = Date.now();
    this.#store(`${this.key}:${item.id}`, { ...item, state });
  }

  #recall(first) {
    let { handle, over, at } = this.#stored(this.key) ?? {};
    if (first && this.minutes && Date.now() - at > this.minutes * 60_000) {
      this.renew();
      handle = over = "";
    }
    if (this.#handle && handle != null && handle !== this.#handle) this.#begin(handle);
    this.#handle ||= handle;
    if (over && this.#cursor) this.over = over;
    for (const key of this.#kept()) {
      const own = this.#stored(key) ?? {};
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
    this.#queue = this.#queue.then(() => this.#handle || !this.locks ? post() : this.locks.request(this.key, post));
  }

  async #post(item, transcript) {
    let begun, fate;
    if (transcript !== this.transcript) return;
    try {
      const { content: message, context, attachments = [] } = item;
      this.emit("message:before-send", { message });
      const page_context = await this.#start(context);
      if (transcript !== this.transcript) return;
      begun = true;
      const { task, accepted_at: time } = await this.#ask(`${this.api}messages`, { message, page_context, attachments: attachments.map(({ id }) => id) }, { "Idempotency-Key": `${item.id}-${item.again}` });
      if (transcript !== this.transcript) return;
      fate = { state: "sent", task, time };
      this.emit("message:sent", { message });
      this.#touch();
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

  // The page's context now; with it a session, where there is none.
  async #start(own) {
    const page_context = this.context(own), { transcript, user: id, name } = this;
    this.#handle ||= this.#stored(this.key)?.handle;
    if (this.#handle) return page_context;
    const { handle, task } = await this.#ask(`${this.site}/sessions`, { page_context, participant: id || name ? { id, name } : undefined });
    if (transcript !== this.transcript) return;
    this.#handle = handle;
    this.#touch();
    if (task) this.#await(task);
    this.emit("session:started", {});
    return page_context;
  }

  #touch() { this.#store(this.key, { ...this.#stored(this.key), handle: this.#handle, at: Date.now() }); }

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
    this.emit("error", { code, detail });
  }

  #end(over) {
    if (this.over !== over) this.emit("session:ended", {});
    this.over = over;
    if (over === "expired") this.awaited.clear();
    this.#store(this.key, { ...this.#stored(this.key), handle: this.#handle, over });
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
    this.#cursor = this.#live = this.#linked = null;
    this.#sending.forEach((item) => this.#keep(item, "unknown"));
    this.#tabs = this.#tabs?.close();
  }

  #follow() {
    const wanted = this.#handle && (this.awaited.size || (this.#open && !this.over && (!this.#away || this.background())));
    if (wanted) this.#tabs ??= new Tabs(this.key + this.#handle.slice(-16), this);
    this.#tabs?.want(wanted);
  }

  /** @param {Told} told */
  hear({ events, all, cursor, connection }) {
    if (all || this.#cursor != null) this.#cursor = cursor ?? "";
    this.#hold(connection);
    events.forEach((event) => this.#take(event, !all));
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
    if (event === "ready") this.#live = true;
    this.#take(came, this.#live);
  }

  /** @param {Came} came @param {boolean} [live] */
  #take({ event, news }, live) {
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
    if (message && live) this.#touch();
    this.#changed({ message, live: live || this.awaited.has(task) });
    this.#follow();
  }

  #changed(news = {}) {
    for (const { own, id, key, state, task } of this.transcript.items) {
      if (own && key && state === "sent" && !this.awaited.has(task)) this.#store(`${this.key}:${id}`);
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
