// The conversation: started by the first message, followed on a stream, alive across pages. No DOM.

import { pause, read } from "./stream.js";
import { Transcript } from "./transcript.js";

const OVER = { session_ended: "ended", session_expired: "expired", handle_invalid: "expired" };

export class Chat {
  transcript = new Transcript();
  awaited = new Map(); // task -> what the bot says of its work
  connection = ""; // or "offline", "retrying"
  notice = ""; // a sentence about trouble
  over = ""; // or "ended", "expired": nothing more can be sent
  #handle; #cursor; #stream; #open;
  #queue = Promise.resolve();

  /** `context` answers the page context of this moment; `onchange` is told {own} or {message} where there is one. */
  constructor(origin, site, context, onchange) {
    this.site = `${origin}/v1/sites/${encodeURIComponent(site)}`;
    this.api = `${origin}/v1/session`;
    this.storage = `chat-widget:${origin}:${site}`;
    this.context = context;
    this.onchange = onchange;
    let kept;
    try { kept = JSON.parse(localStorage[this.storage]); } catch { /* nothing kept, or storage blocked */ }
    this.#handle = kept?.handle;
    for (const own of kept?.sends ?? []) {
      // Cut off in the middle of being sent: nobody knows whether it arrived.
      if (own.state === "sending") own.state = "unknown";
      if (own.state === "sent") this.awaited.set(own.task, "");
      this.transcript.addOwn(own);
    }
  }

  get begun() { return this.#handle || this.transcript.items.length; }

  about() { return this.#ask(this.site).then((response) => response.json()); }

  /** Follow the conversation while the panel is open; an awaited answer is followed in any case. */
  listen(open) {
    this.#open = open;
    this.#follow();
  }

  send(content) { this.#deliver(this.transcript.addOwn({ id: crypto.getRandomValues(new Uint32Array(4)).join("-"), content })); }

  /** Once more: the same message where it was certainly not sent, else a new one of the same text. */
  retry(item) {
    if (item.state === "not_sent") return this.#deliver(Object.assign(item, { state: "sending" }));
    if (item.state === "unknown") this.transcript.remove(item);
    item.retried = true;
    return this.send(item.content);
  }

  /** Forget this conversation; the next message starts another. */
  renew() {
    this.suspend();
    this.#handle = this.#cursor = null;
    this.over = this.notice = this.connection = "";
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
    try {
      const page_context = this.context();
      if (!this.#handle) {
        const { handle, task } = await this.#ask(`${this.site}/sessions`, { page_context });
        this.#handle = handle;
        if (task) this.awaited.set(task, "");
      }
      const sent = await this.#ask(`${this.api}/messages`, { message: item.content, page_context }, { "Idempotency-Key": item.id });
      if (transcript !== this.transcript) return; // a new chat was begun meanwhile
      Object.assign(item, { state: "sent", task: sent.task, time: sent.accepted_at });
      this.awaited.set(sent.task, "");
      this.notice = "";
    } catch (error) {
      // Where no answer came to a message under way, it may have arrived all the same.
      const unknown = error.status ? error.fate === "unknown" : this.#handle;
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
    throw Object.assign(new Error(), { status: response.status, wait }, await response.json().catch(() => ({})));
  }

  #refused({ code, detail }) {
    if (OVER[code]) this.#end(OVER[code]);
    else this.notice = detail ?? this.notice;
    if (/origin|misconf|unknown_site/.test(code)) console.warn(`chat-widget: ${code}: ${detail} See the proxy's settings and log.`);
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
    for (let failures = 0, retry = 1000; !signal.aborted; failures++) {
      let wait;
      try {
        const tasks = [...this.awaited.keys()].map((task) => `&task=${task}`).join("");
        const headers = this.#cursor && { "Last-Event-ID": this.#cursor };
        const response = await this.#ask(`${this.api}/events?${tasks}`, null, headers, signal);
        failures = 0;
        this.connection = "";
        this.#changed();
        await read(response, (event) => signal.aborted || this.#take(event), (told) => { retry = told; });
        wait = retry;
      } catch (error) {
        if (signal.aborted) return;
        if (error.status < 500 && error.status !== 429) {
          this.#refused(error);
          break;
        }
        // Clamped first, then jittered, so that not everybody returns at once.
        wait = Math.max(Math.min(30_000, retry * 2 ** failures) * (1 + 3 * Math.random()) / 4, error.wait || 0);
      }
      if (signal.aborted) return;
      this.connection = navigator.onLine ? failures && "retrying" : "offline";
      this.#changed();
      await pause(wait, signal);
    }
    if (this.#stream === stream) this.#stream = null;
    this.#changed();
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

  // The handle outlives the page, and so do the visitor's own messages until the history has them.
  #changed(news = {}) {
    const sends = this.transcript.items.filter((item) => item.own && (!item.key || item.state !== "sent" || this.awaited.has(item.task)));
    try {
      if (this.#handle) localStorage[this.storage] = JSON.stringify({ handle: this.#handle, sends: sends.slice(-20) });
      else delete localStorage[this.storage];
    } catch { /* storage blocked or full */ }
    this.onchange(news);
  }
}
