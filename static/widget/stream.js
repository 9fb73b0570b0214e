// Server-Sent Events over fetch, which unlike EventSource sends a handle and sees how it is answered.

const SILENCE = 40_000; // ms; the server sends something every 15 s

/** Feed the returned function text, cut anywhere; it calls `onevent({event, data, id})`, and `onretry(ms)`. */
export function parser(onevent, onretry) {
  let rest = "", event = {};
  return (text) => {
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (!line) {
        if ("data" in event) onevent({ event: "message", ...event });
        event = {};
      } else if (field === "data" && "data" in event) event.data += `\n${value}`;
      else if (field === "retry") onretry(+value);
      else event[field] = value;
    }
  };
}

/** Read a stream to its end, or until nothing comes any more. */
export async function read(response, onevent, onretry) {
  const reader = response.body.getReader(), decoder = new TextDecoder(), feed = parser(onevent, onretry);
  for (;;) {
    const silence = setTimeout(() => reader.cancel(), SILENCE);
    const { done, value } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    feed(decoder.decode(value, { stream: true }));
  }
}

/** Wait, but no longer than until the visitor or the network comes back, or the signal ends it. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const over = new AbortController();
    const finish = () => { over.abort(); clearTimeout(timer); resolve(); };
    const timer = setTimeout(finish, milliseconds);
    for (const [target, type] of [[window, "online"], [document, "visibilitychange"], [signal, "abort"]]) {
      target.addEventListener(type, finish, over);
    }
  });
}
