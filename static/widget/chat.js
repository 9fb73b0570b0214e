// The conversation.

import { pageContext } from "./page-context.js";
import { Transcript, parser } from "./transcript.js";

const OVER = { session_ended: "ended", session_expired: "expired", handle_invalid: "expired" };
const PATIENCE = 40_000;

export function Chat(host, origin, tell, changed) {
  const setting = (name) => host.getAttribute(name);
  const id = setting("user-id");
  const key = `chat-widget:${origin}:${setting("site")}${id ? `@${encodeURIComponent(id)}` : ""}`;
  const about = `${origin}/v1/sites/${setting("site")}`, api = `${origin}/v1/session/`;
  const leave = Object.assign(new AbortController(), { capture: true });
  let handle, away, awayTimer, sending, queue = Promise.resolve(), storage = {};
  // The stream: up to where and what it told, and its connection.
  let cursor, caughtUp, told, attempt, heardAt, linkedAt, tryNow;
  // The line of tabs: our turn, and the turn that leads where it is ours.
  let turn, leader, channel, silence, locks;
  try {
    if (setting("persistent-session") === "tab") storage = sessionStorage;
    else if (host.is("persistent-session", "on") && localStorage) {
      storage = localStorage;
      locks = self.BroadcastChannel && navigator.locks;
    }
  } catch { /* blocked */ }

  const chat = {
    ...Transcript(), key, wake, limits: Object(),

    get begun() { return handle || chat.items.length; },
    get agreed() { return stored(`${key}?agreed`); },
    agree() { store(`${key}?agreed`, true); },

    checking: ({ since }) => !chat.over && !(linkedAt && Date.now() - Math.max(since, linkedAt) > PATIENCE),
    emit(type, detail) { tell(host, type, detail && { ...detail, sessionId: handle?.slice(-16) }); },
    on(target, types, listener) { types.split(" ").forEach((type) => target?.addEventListener(type, listener, leave)); },

    about: () => ask(about),

    send(content, context, attachments = []) {
      const after = chat.items.findLast((item) => item.key)?.time;
      deliver(chat.addOwn({ id: `${Date.now()}-${Math.random()}`, content, context, attachments, again: 0, after }));
    },

    retry(item) {
      if (item.state === "unknown") item.again++;
      if (/not_sent|unknown/.test(item.state)) return deliver(item);
      item.retried = true;
      save(item);
      chat.send(item.content, item.context, item.attachments);
    },

    rate(body) { ask(`${api}feedback`, { body }).catch(() => {}); },

    // Where files go, and what opens the door.
    async door() {
      if (!handle) await inTurn(async () => start(await token()));
      return [`${api}files`, `Bearer ${handle}`];
    },

    renew() {
      kept().forEach((one) => store(one));
      store(key, { handle: "" });
      begin();
    },

    leave() {
      changed = () => {};
      leave.abort();
      suspend();
      begin();
    },
  };

  function begin(known) {
    stepOut();
    handle = known;
    told = new Map();
    sending = new Set();
    Object.assign(chat, Transcript());
    change();
  }

  function change(news = {}) {
    for (const item of chat.items) {
      if (item.own && item.key && /^(sent|complete)$/.test(item.state) && !chat.awaited.has(item.task)) store(`${key}:${item.id}`);
    }
    changed(news);
  }

  // What a reload must not lose

  function stored(one) { try { return JSON.parse(storage[one]); } catch { /* blocked */ } }

  function store(one, value) {
    try {
      if (value) storage[one] = JSON.stringify(value);
      else delete storage[one];
    } catch { /* blocked */ }
  }

  const note = (more) => store(key, { ...stored(key), handle, ...more });
  const touch = () => note({ at: Date.now() });
  const kept = () => Object.keys(storage).filter((one) => one.startsWith(`${key}:`)).sort();

  function save(item, state = item.state) {
    item.since = Date.now();
    store(`${key}:${item.id}`, { ...item, state });
  }

  function recall(first) {
    const minutes = +(setting("persistent-session-expire") ?? 1440);
    if (first && minutes && Date.now() - stored(key)?.at > minutes * 60_000) chat.renew();
    const { handle: known, over } = stored(key) ?? {};
    if (handle && known != null && known !== handle) begin(known);
    handle ||= known;
    if (over && cursor) chat.over = over;
    for (const one of kept()) {
      const own = stored(one) ?? {};
      if (sending.has(chat.own(own.id))) continue;
      if (first && own.state === "sending") own.state = "unknown";
      chat.addOwn(own);
      if (own.state === "sent") wait(own.task);
    }
    follow();
    change();
  }

  // Sending

  function deliver(item) {
    const { items } = chat;
    const post = async () => {
      let begun, fate;
      try {
        const { content: message, attachments } = item, visitor = await token();
        if (items !== chat.items) return;
        chat.emit("message:before-send", { message });
        const carried = await start(visitor, item.context);
        begun = true;
        const body = { message, ...carried, attachments: attachments?.map((file) => file.id) };
        const { task, accepted_at: time } = await ask(`${api}messages`, { body, headers: { "Idempotency-Key": `${item.id}-${item.again}` } });
        fate = { state: "sent", task, time };
        chat.emit("message:sent", { message });
        touch();
        wait(task);
        chat.notice = "";
      } catch (thrown) {
        if (items !== chat.items) return;
        const error = Object(thrown);
        const unknown = begun && error.fate !== "not_sent" && !/^4/.test(error.status);
        fate = { state: unknown ? "unknown" : "not_sent", detail: error.detail };
        if (!unknown) refused(error);
      }
      sending.delete(item);
      save(chat.addOwn({ ...item, ...fate }));
      recall();
    };
    item.state = "sending";
    sending.add(item);
    save(item);
    change({ own: item });
    inTurn(post);
  }

  function inTurn(act) {
    const done = queue.then(() => handle || !locks ? act() : locks.request(key, act));
    queue = done.catch(() => {});
    return done;
  }

  async function token() {
    const { visitorToken } = host, late = new Promise((_, reject) => setTimeout(reject, 10_000));
    return await Promise.race([visitorToken?.call?.() ?? visitorToken ?? setting("visitor-token"), late]) || undefined;
  }

  async function start(visitor_token, own) {
    const name = setting("user-name"), given = { ...host.pageContext, ...own };
    const page_context = pageContext(document, setting("page-context"), given, chat.limits.page_context_bytes ?? 8192);
    const carried = { page_context, visitor_token };
    handle ||= stored(key)?.handle;
    if (!handle) {
      const begun = await ask(`${about}/sessions`, { body: { ...carried, participant: id || name ? { id, name } : undefined } });
      handle = begun.handle;
      touch();
      if (begun.task) wait(begun.task);
      chat.emit("session:started", {});
    }
    return carried;
  }

  function wait(task) {
    const { event, news } = told.get(task) ?? {};
    if (event === "done") settle(news);
    else chat.awaited.set(task, news?.content ?? "");
  }

  function settle(news) {
    const own = chat.done(news);
    if (own) save(own);
  }

  async function ask(url, { body, signal, headers: more } = Object()) {
    const { items } = chat;
    const response = await fetch(url, {
      signal: signal ?? AbortSignal.timeout(30_000), credentials: "omit", method: body && "POST", body: body && JSON.stringify(body),
      headers: {
        ...(url.startsWith(api) && { Authorization: `Bearer ${handle}` }),
        ...(body && { "Content-Type": "application/json" }), ...more,
      },
    });
    const { ok, status, headers } = response;
    if (ok && signal) return response;
    const answer = await response.json().catch(() => {});
    if (ok && answer && !(body && items !== chat.items)) return answer;
    throw Object.assign(new Error(), { status, wait: Number(headers.get("Retry-After")) * 1000 }, answer);
  }

  function refused({ code, detail }) {
    if (OVER[code]) end(OVER[code]);
    else chat.notice = detail ?? chat.notice;
    if (detail) console.warn(`chat-widget: ${code}: ${detail}`);
    chat.emit("error", { code, detail });
  }

  function end(over) {
    if (chat.over !== over) chat.emit("session:ended", {});
    chat.over = over;
    if (over === "expired") chat.awaited.clear();
    note({ over });
  }

  // Coming and going

  function wake() {
    clearTimeout(awayTimer);
    if (document.hidden) return awayTimer = setTimeout(() => {
      away = true;
      follow();
    }, 60_000);
    away = false;
    recall();
    hello();
    hurry();
  }

  function suspend() {
    stepOut();
    sending.forEach((item) => save(item, "unknown"));
  }

  function follow() {
    const wanted = handle && (chat.awaited.size || (host.opened && !chat.over && (!away || host.is("background-stream"))));
    if (!wanted) turn = turn?.abort();
    else if (!turn) join();
  }

  // One stream a browser

  async function join(how) {
    const line = key + handle.slice(-16), own = new AbortController(), { signal } = own;
    const leads = () => signal.aborted || lead(leader = own);
    turn?.abort();
    turn = own;
    if (locks && !channel) {
      channel = new BroadcastChannel(line);
      channel.onmessage = ({ data }) => data ? hear(data) : turn && turn === leader && recap();
    }
    if (!how) hello();
    try {
      await (locks ? locks.request(line, how ?? { signal }, leads) : leads());
    } catch {
      if (own !== leader) await leads();
    }
    own.abort();
    if (turn === own) turn = null;
  }

  function hello() {
    channel?.postMessage(0);
    unlessHeard(10_000, () => join({ steal: true }));
  }

  function unlessHeard(time, act) {
    clearTimeout(silence);
    silence = setTimeout(() => turn && turn !== leader && act(), time);
  }

  function stepOut() {
    clearTimeout(silence);
    turn = turn?.abort();
    channel = channel?.close();
    cursor = caughtUp = linkedAt = null;
  }

  function hear(news) {
    unlessHeard(30_000 + 9000 * Math.random(), hello);
    if (news.all || cursor != null) cursor = news.cursor ?? "";
    setConnection(news.connection);
    news.events.forEach((event) => take(event, !news.all));
    follow();
    change();
  }

  function share(events, all) {
    channel?.postMessage({ events, all, cursor, connection: chat.connection });
    change();
  }

  function recap() {
    hurry();
    share([...told.values()], true);
  }

  // The stream

  function setConnection(connection) {
    chat.connection = connection;
    linkedAt = connection ? 0 : linkedAt || Date.now();
  }

  const check = () => Date.now() - heardAt > PATIENCE && attempt.abort();

  function hurry() {
    check();
    tryNow?.();
  }

  async function lead({ signal }) {
    const watch = setInterval(() => {
      check();
      if (chat.items.some((item) => item.state === "unknown")) share([]);
    }, 5000);
    signal.onabort = () => {
      attempt.abort();
      tryNow?.();
    };
    recap();
    for (let failures = 0, retry = 1000, least = 0; !signal.aborted; failures++) {
      const own = attempt = new AbortController();
      heardAt = Date.now();
      try {
        const tasks = [...chat.awaited.keys()].slice(-20).map((task) => `&task=${task}`).join("");
        const response = await ask(`${api}events?${tasks}`, { signal: own.signal, headers: cursor && { "Last-Event-ID": cursor } });
        failures = least = 0;
        setConnection("");
        share([]);
        const feed = parser((event) => own.signal.aborted || received(event), (time) => { retry = time; });
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let read; !(read = await reader.read()).done; feed(read.value)) heardAt = Date.now();
      } catch (error) {
        least = error.wait || 0;
        if (OVER[error.code]) {
          refused(error);
          break;
        }
      }
      if (signal.aborted) break;
      setConnection(navigator.onLine ? failures && "reconnecting" : "offline");
      share([]);
      await new Promise((resolve) => {
        tryNow = resolve;
        setTimeout(tryNow, own.signal.aborted ? 0 : least + Math.random() * Math.min(30_000, retry * 2 ** failures));
      });
    }
    clearInterval(watch);
    change();
  }

  function received({ event, data, id: place }) {
    const news = { event, news: JSON.parse(data) };
    cursor = place || cursor;
    share([news]);
    take(news, caughtUp ||= event === "ready");
  }

  function take({ event, news }, now) {
    const { task, status } = news, waits = chat.awaited.has(task);
    const message = event === "message" && chat.add(news, now) && news;
    told.set(news.key ?? task ?? event, { event, news });
    if (news.role === "assistant") chat.notice = "";
    if (event === "progress" && waits) chat.awaited.set(task, news.content);
    if (event === "done") chat.awaited.delete(task);
    if (task && /message|done/.test(event)) settle(news);
    if (event === "session" && status !== "active") end(status);
    if (event === "notice") chat.notice = news.code === "restored" ? "" : news.detail;
    if (message && now) touch();
    change({ message, live: now || waits });
    follow();
  }

  begin();
  recall(true);
  chat.on(self, "pageshow resume online visibilitychange", wake);
  chat.on(self, "offline", () => attempt?.abort());
  chat.on(self, "pagehide freeze", suspend);
  chat.on(self, "storage", (event) => event.key?.startsWith(key) && recall());
  return chat;
}
