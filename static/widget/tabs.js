// One stream a browser: the tab that holds a lock reads it, and tells the others on a channel.

export class Tabs {
  #turn; #channel; #timer;

  constructor(name, chat) {
    this.name = name;
    this.chat = chat;
    if (!chat.locks) return;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => data ? this.#heard(data) : this.#turn?.leads && chat.recap();
  }

  want(wanted) {
    if (!wanted) this.#turn = this.#turn?.abort();
    else if (!this.#turn) this.#queue();
  }

  tell(message) { this.#channel?.postMessage(message); }

  // A leader that gives no answer hangs, and loses the lock.
  hello() {
    this.tell();
    this.#wait(10_000, () => this.#queue({ steal: true }));
  }

  close() {
    this.want();
    clearTimeout(this.#timer);
    this.#channel?.close();
  }

  async #queue(how) {
    this.#turn?.abort();
    const turn = this.#turn = Object.assign(new AbortController(), { leads: false }), { signal } = turn;
    const lead = () => {
      if (signal.aborted) return;
      turn.leads = true;
      return this.chat.lead(signal);
    };
    if (!how) this.hello();
    try {
      await (this.chat.locks ? this.chat.locks.request(this.name, how ?? { signal }, lead) : lead());
    } catch {
      if (!turn.leads) await lead();
    }
    turn.abort();
    if (this.#turn === turn) this.#turn = null;
  }

  #heard(told) {
    this.#wait(30_000 + 9000 * Math.random(), () => this.hello());
    this.chat.hear(told);
  }

  #wait(time, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#turn && !this.#turn.leads && then(), time);
  }
}
