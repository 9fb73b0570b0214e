// The transcript: read from the stream, put in order, made into elements.

export function Transcript() {
  /** @type {Item[]} */
  const items = [], known = new Set();

  const own = (id) => items.find((item) => item.id === id);
  const asks = (task) => (item) => item.own && item.task === task;

  function insert(item, live) {
    let place = items.length;
    while (place && items[place - 1].time > item.time) place--;
    items.splice(place, 0, item);
    return pair(item, live);
  }

  // An answer stands behind its question, whatever the clocks say; if no question has its task yet, behind the one on its way.
  function pair(item, live) {
    const { task } = item, overtakes = live && !items.some(asks(task));
    const question = items.findIndex(overtakes ? (one) => one.state === "sending" : asks(task));
    const answer = items.findIndex((one) => !one.own && one.task === task);
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

    add(message, live) {
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
        return insert({ ...message, time }, live);
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

// Server-sent events

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

// Sanitised HTML

const TAGS = /^(p|[bh]r|h[1-6]|strong|em|s|code|pre|blockquote|[uo]l|li|t(able|head|body|[rhd])|a|img)$/;

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
    if (!TAGS.test(tag)) open.at(-1).append(decode(whole));
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
