// What passes between the widget's modules, for `tsc` alone: nothing of this is served.

/** A message as the stream brings it. */
interface Message {
  key: string;
  role: "user" | "assistant" | "system";
  content: string;
  html?: string;
  created_at: string;
  attachments?: { id?: string; name: string; url?: string | null }[];
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
