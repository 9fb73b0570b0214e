// What is shown, and in which order: docs/widget.md, "Inside".

export function Transcript() {
  /** @type {Item[]} */
  const items = [], known = new Set();

  const own = (id) => items.find((item) => item.id === id);
  const asks = (task) => (item) => item.own && item.task === task;

  function insert(item) {
    let place = items.length;
    while (place && items[place - 1].time > item.time) place--;
    items.splice(place, 0, item);
    return pair(item);
  }

  // An answer stands behind its question, whatever the clocks say and whichever is known first.
  function pair(item) {
    const { task } = item, question = items.findIndex(asks(task)), answer = items.findIndex((one) => !one.own && one.task === task);
    if (task && answer >= 0 && answer < question) items.splice(answer, 0, ...items.splice(question, 1));
    return item;
  }

  return {
    items, own, awaited: new Map(), over: "", notice: "", connection: "",

    addOwn(item) {
      const one = own(item.id);
      if (one) return pair(Object.assign(one, item, one.key && item.state === "unknown" && { state: "sent" }));
      if (item.key) known.add(item.key);
      return insert({ own: true, role: "user", state: "sending", time: "~", ...item });
    },

    add(message) {
      const { key, role, content, created_at: time, task = key } = message, mine = role === "user";
      if (known.has(key) || (!mine && known.has(task))) return;
      known.add(key);
      const one = mine && items.find((item) => item.own && !item.key && item.state !== "not_sent"
        && !(time <= (item.after ?? "")) && item.content.trim() === content.trim());
      if (one) {
        items.splice(items.indexOf(one), 1);
        insert(Object.assign(one, { key, time, state: one.state === "unknown" ? "sent" : one.state }));
      } else {
        if (!mine) known.add(task);
        return insert({ ...message, time });
      }
    },

    done({ task, status = "complete", detail }) {
      const one = items.find(asks(task));
      if (one?.state === "sent") return Object.assign(one, { state: status, detail });
    },

    hasOutcome(item) {
      const next = items[items.indexOf(item) + 1];
      return known.has(item.task) || (next && next.role !== "user");
    },
  };
}
