// What is shown of a conversation, in which order, and nothing twice. No DOM, no network.
//
// An item is a message of the stream, or the visitor's own as typed: {own, id, content, time, state, task, detail, key}
// with a state of sending, sent, not_sent, unknown, failed or timeout; the history's message adopts it by its text.

const LAST = "~"; // sorts behind every date

export class Transcript {
  items = [];
  #keys = new Set();
  #answered = new Set();

  addOwn(own) {
    const item = { own: true, role: "user", state: "sending", time: LAST, ...own };
    this.#keys.add(item.key);
    return this.#insert(item);
  }

  remove(item) { this.items = this.items.filter((one) => one !== item); }

  /** A message from the stream; whether it is news to the visitor. */
  add(message) {
    const { key, role, task, created_at: time = LAST } = message;
    if (this.#keys.has(key)) return false;
    this.#keys.add(key);
    if (role === "user") {
      const own = this.items.find((one) =>
        one.own && !one.key && one.state !== "not_sent" && one.content.trim() === message.content.trim());
      if (own) {
        this.remove(own);
        this.#insert(Object.assign(own, { key, time, state: own.state === "unknown" ? "sent" : own.state }));
        return false;
      }
    } else if (task) {
      // An answer stored nowhere has a new key each time it is asked for: its task tells that it is the same.
      if (this.#answered.has(task)) return false;
      this.#answered.add(task);
    }
    this.#insert({ ...message, time });
    return true;
  }

  /** An answer's end; a failure stays with the question. */
  done({ task, status, detail }) {
    const own = this.items.find((one) => one.own && one.task === task);
    if (own && status !== "complete") Object.assign(own, { state: status, detail });
  }

  /** Whether something came of it after all: then its failure is not shown as well. */
  hasOutcome(item) {
    const next = this.items[this.items.indexOf(item) + 1];
    return this.#answered.has(item.task) || (next && next.role !== "user");
  }

  // By time, and an answer never before its question, whatever the clocks say.
  #insert(item) {
    const { items } = this;
    const floor = item.own ? 0 : items.findIndex((one) => one.own && one.task && one.task === item.task) + 1;
    let place = items.length;
    while (place > floor && items[place - 1].time > item.time) place--;
    items.splice(place, 0, item);
    return item;
  }
}
