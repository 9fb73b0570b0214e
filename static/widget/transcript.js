// What is shown, in which order, and nothing twice.

export class Transcript {
  /** @type {Item[]} */ items = [];
  #known = new Set();

  // The server's moment of what is known; a message sent now cannot be older.
  get newest() { return this.items.findLast((item) => item.key)?.time; }

  own(id) { return this.items.find((item) => item.id === id); }

  addOwn(own) {
    const known = this.own(own.id);
    if (known) return Object.assign(known, own, known.key && own.state === "unknown" && { state: "sent" });
    if (own.key) this.#known.add(own.key);
    return this.#insert({ own: true, role: "user", state: "sending", time: "~", ...own });
  }

  remove(item) { this.items = this.items.filter((one) => one !== item); }

  /** @param {Message} message */
  add(message) {
    const { key, role, content, created_at: time, task = key } = message, mine = role === "user";
    if (this.#known.has(key) || (!mine && this.#known.has(task))) return false;
    this.#known.add(key);
    const own = mine && this.items.find((one) => one.own && !one.key && one.state !== "not_sent" && !(time <= (one.after ?? "")) && one.content.trim() === content.trim());
    if (own) {
      this.remove(own);
      this.#insert(Object.assign(own, { key, time, state: own.state === "unknown" ? "sent" : own.state }));
      return false;
    }
    if (!mine) this.#known.add(task);
    return this.#insert({ ...message, time });
  }

  /** @param {News} news */
  done({ task, status, detail }) {
    const own = this.items.find((one) => one.own && one.task === task);
    if (own && status !== "complete") return Object.assign(own, { state: status, detail });
  }

  /** @param {Item} item */
  hasOutcome(item) {
    const next = this.items[this.items.indexOf(item) + 1];
    return this.#known.has(item.task) || (next && next.role !== "user");
  }

  #insert(item) {
    const { items } = this;
    const floor = item.own || !item.task ? 0 : items.findIndex((one) => one.own && one.task === item.task) + 1;
    let place = items.length;
    while (place > floor && items[place - 1].time > item.time) place--;
    items.splice(place, 0, item);
    return item;
  }
}
