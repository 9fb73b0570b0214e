// What passes between the widget's modules, for `tsc` alone: nothing of this is served.

/** A message as the stream brings it. */
interface Message {
  key: string;
  role: "user" | "assistant" | "system";
  content: string;
  html?: string;
  created_at: string;
  attachments?: { id?: string; name: string }[];
  task?: string;
}

type State = "sending" | "sent" | "not_sent" | "unknown" | "failed" | "timeout" | "complete";

/** A line of the transcript. The visitor's own ones have an id and a state, and a key once the history has them. */
interface Item extends Partial<Omit<Message, "content">> {
  content: string;
  time: string;
  own?: boolean;
  id: string;
  state: State;
  again: number;
  since: number;
  detail?: string;
  retried?: boolean;
  context?: object;
  after?: string;
}

/** What stands in an event of the stream, whichever it is. */
interface News extends Message {
  task: string;
  status: State | "active" | "ended" | "expired";
  detail: string;
  code: string;
}

/** One event of the stream, read. */
interface Came {
  event: "message" | "progress" | "done" | "session" | "notice" | "ready";
  news: News;
}

/** What the tab that reads the stream tells the others. */
interface Told {
  events: Came[];
  all?: boolean;
  cursor: string | null;
  connection: string;
}

/** An answer that is none: the problem's members, its status, and the milliseconds to wait. */
interface Fault {
  status: number;
  wait: number;
  code: string;
  detail?: string;
  fate?: "not_sent" | "unknown";
}

/** What is new, for whoever draws it. */
interface Change {
  own?: Item;
  message?: Message;
  live?: boolean;
}
