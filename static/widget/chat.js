// The conversation, without its looks. What and why: docs/widget.md, "Inside".

import { Transcript } from "./transcript.js";

const OVER = { session_ended: "ended", session_expired: "expired", handle_invalid: "expired" };

export class Chat {
  transcript = new Transcript();
  awaited = new Map();
  connection = "";
  notice = "";
  over = "";
  #handle; #cursor; #stream; #open;
  #queue = Promise.resolve();

  constructor(origin, site, context, onchange) {
    this.site = `${origin}/v1/sites/${site}`;
    this.api = `${origin}/v1/session/`;
    this.storage = `chat-widget:${origin}:${site}`;
    this.context = context;
    this.onchange = onchange;
    const { handle, sends = [] } = this.#kept();
    this.#handle = handle;
    for (const own of sends) {
      if (own.state === "sending") own.state = "unknown";
      if (own.state === "sent") this.awaited.set(own.task, "");
      this.transcript.addOwn(own);
    }
  }

  #kept() {
    try { return JSON.parse(localStorage[this.storage]) ?? {}; } catch { return {}; }
  }

  get begun() { return this.#handle || this.transcript.items.length; }

  about() { return this.#ask(this.site).then((response) => response.json()); }

  listen(open) {
    this.#open = open;
    this.#follow();
  }

  send(content) { this.#deliver(this.transcript.addOwn({ id: crypto.getRandomValues(new Uint32Array(4)).join("-"), content })); }

  retry(item) {
    if (item.state === "not_sent") return this.#deliver(Object.assign(item, { state: "sending" }));
    if (item.state === "unknown") this.transcript.remove(item);
    item.retried = true;
    return this.send(item.content);
  }

  renew() {
    this.suspend();
    this.#handle = this.#cursor = this.over = this.notice = this.connection = "";
    this.transcript = new Transcript();
    this.awaited = new Map();
    this.#changed();
  }

  suspend() { this.#stream = this.#stream?.abort(); }

  #deliver(item) {
    this.#changed({ own: item });
    this.#queue = this.#queue.then(() => this.#post(item, this.transcript));
  }

  async #post(item, transcript) {
    let begun;
    try {
      const page_context = this.context();
      this.#handle ||= this.#kept().handle;
      if (!this.#handle) {
        const { handle, task } = await this.#ask(`${this.site}/sessions`, { page_context });
        this.#handle = handle;
        if (task) this.awaited.set(task, "");
      }
      begun = true;
      const { task, accepted_at: time } = await this.#ask(`${this.api}messages`, { message: item.content, page_context }, { "Idempotency-Key": item.id });
      if (transcript !== this.transcript) return;
      Object.assign(item, { state: "sent", task, time });
      this.awaited.set(task, "");
      this.notice = "";
    } catch (error) {
      const unknown = begun && error.fate !== "not_sent" && !(error.status < 500);
      Object.assign(item, { state: unknown ? "unknown" : "not_sent", detail: error.detail });
      this.#refused(error);
    }
    this.#follow();
    this.#changed();
  }

  async #ask(url, body, headers, signal) {
    const response = await fetch(url, {
      signal, credentials: "omit", method: body ? "POST" : "GET", body: body && JSON.stringify(body),
      headers: {
        ...(url.startsWith(this.api) && { Authorization: `Bearer ${this.#handle}` }),
        ...(body && { "Content-Type": "application/json" }), ...headers,
      },
    });
    if (response.ok) return body ? response.json() : response;
    const wait = response.headers.get("Retry-After") * 1000;
    throw Object.assign(new Error(), { status: response.status, wait }, await response.json().catch(() => {}));
  }

  #refused({ code, detail }) {
    if (OVER[code]) this.#end(OVER[code]);
    else this.notice = detail ?? this.notice;
    if (detail) console.warn(`chat-widget: ${code}: ${detail}`);
  }

  #end(status) {
    this.over = status;
    if (status === "expired") this.awaited.clear();
  }

  #follow() {
    const wanted = this.#handle && (this.awaited.size || (this.#open && !this.over));
    if (!wanted) this.suspend();
    else if (!this.#stream) this.#run(this.#stream = new AbortController());
  }

  async #run(stream) {
    const { signal } = stream;
    for (let failures = 0, retry = 1000; ; failures++) {
      let wait;
      try {
        const tasks = [...this.awaited.keys()].map((task) => `&task=${task}`).join("");
        const response = await this.#ask(`${this.api}events?${tasks}`, null, this.#cursor && { "Last-Event-ID": this.#cursor }, signal);
        failures = 0;
        this.connection = "";
        this.#changed();
        await read(response, (event) => signal.aborted || this.#take(event), (told) => { retry = told; });
        wait = retry;
      } catch (error) {
        if (error.status < 500 && error.status !== 429) {
          this.#refused(error);
          break;
        }
        wait = Math.max(Math.min(30_000, retry * 2 ** failures) * (1 + 3 * Math.random()) / 4, error.wait || 0);
      }
      if (signal.aborted) return;
      this.connection = navigator.onLine ? failures && "retrying" : "offline";
      this.#changed();
      await this.#pause(wait, signal);
      if (signal.aborted) return;
    }
    this.#stream = null;
    this.#changed();
  }

  #pause(milliseconds, signal) {
    return new Promise((resolve) => {
      const over = new AbortController(), finish = () => resolve(over.abort());
      for (const [target, type] of [[window, "online"], [document, "visibilitychange"], [signal, "abort"]]) {
        target.addEventListener(type, finish, over);
      }
      setTimeout(finish, milliseconds);
    });
  }

  #take({ event, data, id }) {
    const news = JSON.parse(data), { task } = news;
    let message;
    if (id) this.#cursor = id;
    if (event === "message" && this.transcript.add(news)) message = news;
    if (event === "progress" && this.awaited.has(task)) this.awaited.set(task, news.content);
    if (event === "done") {
      this.awaited.delete(task);
      this.transcript.done(news);
    }
    if (event === "session" && news.status !== "active") this.#end(news.status);
    if (event === "notice") this.notice = news.code === "restored" ? "" : news.detail;
    this.#changed({ message });
    this.#follow();
  }

  #changed(news = {}) {
    const sends = this.transcript.items.filter((item) => item.own && (!item.key || item.state !== "sent" || this.awaited.has(item.task)));
    try {
      if (this.#handle != null) localStorage[this.storage] = JSON.stringify({ handle: this.#handle, sends: sends.slice(-20) });
    } catch { /* blocked or full */ }
    this.onchange(news);
  }
}

// Server-Sent Events
export function parser(onevent, onretry) {
  let rest = "", event = {};
  return (text) => {
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?(.*)/.exec(line);
      if (!line) {
        if ("data" in event) onevent({ event: "message", ...event });
        event = {};
      } else if (field === "retry") onretry(+value);
      else event[field] = field === "data" && "data" in event ? `${event.data}\n${value}` : value;
    }
  };
}

async function read(response, onevent, onretry) {
  const reader = response.body.getReader(), decoder = new TextDecoder(), feed = parser(onevent, onretry);
  for (;;) {
    const silence = setTimeout(() => reader.cancel(), 40_000);
    const { done, value } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    feed(decoder.decode(value, { stream: true }));
  }
}
