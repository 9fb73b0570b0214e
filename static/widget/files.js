// Files on their way: chosen, dropped or pasted, checked, uploaded one by one.

import { make } from "./panel.js";

export class Files {
  #panel; #chat; #icon; #list; #t;
  #files = [];

  constructor(panel, chat, icon) {
    this.#panel = panel;
    this.#chat = chat;
    this.#icon = icon;
  }

  get ready() { return this.#files.filter((file) => file.id).map(({ id, name }) => ({ id, name })); }

  get busy() { return this.#files.some((file) => file.sending); }

  clear() {
    this.#files.forEach((file) => file.cancel?.());
    this.#files = [];
    this.#changed();
  }

  draw(button, t) {
    const { form, limits } = this.#panel;
    const chosen = make("input", { type: "file", multiple: true, hidden: true, accept: `${limits.attachments.extensions}` });
    this.#t = t;
    this.#list = make("div", { className: "files" });
    chosen.onchange = () => {
      this.add(chosen.files);
      chosen.value = "";
    };
    form.before(this.#list);
    form.prepend(chosen, button("icon attach", t("attach.add"), () => chosen.click(), this.#icon("M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.5 3.5 0 0 1 5 5l-8.500 8.500a2 2 0 0 1-3-3L14 7")));
    const frame = form.parentNode, over = (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      frame.classList.toggle("drop", event.type === "dragover");
      if (event.type === "drop") this.add(event.dataTransfer.files);
    };
    frame.ondragover = frame.ondragleave = frame.ondrop = over;
    form.onpaste = (event) => this.add(event.clipboardData.files);
    this.#changed();
  }

  add(files) {
    for (const file of files) {
      const entry = { file, name: file.name };
      this.#files.push(entry);
      this.#upload(entry);
    }
  }

  #wrong({ size, name }) {
    const { files, file_bytes, message_bytes, extensions } = this.#panel.limits.attachments;
    const good = this.#files.filter((one) => !one.wrong), total = good.reduce((sum, { file }) => sum + file.size, 0);
    if (size > file_bytes) return "error.fileTooLarge";
    if (good.length > files || total > message_bytes) return "error.totalTooLarge";
    if (!extensions.some((ending) => name.toLowerCase().endsWith(ending))) return "error.unsupportedType";
  }

  async #upload(entry) {
    const abort = new AbortController();
    entry.cancel = () => abort.abort();
    entry.wrong = this.#wrong(entry.file);
    if (!entry.wrong) {
      entry.sending = true;
      entry.detail = "";
      this.#changed();
      try {
        entry.id = await this.#chat.upload(entry.file, (share) => {
          entry.share = share;
          this.#changed();
        }, abort.signal);
      } catch (/** @type {any} */ error) {
        entry.detail = error.detail ?? this.#t("error.upload");
      }
      entry.sending = false;
    }
    this.#changed();
  }

  #changed() {
    const t = this.#t;
    this.#list.replaceChildren(...this.#files.map((entry) => {
      const { file, wrong, detail, sending, id, share = 0 } = entry, bad = wrong ? t(wrong) : detail;
      const button = (label, path, act) => {
        const made = make("button", { type: "button", className: "icon", ariaLabel: `${label}: ${file.name}`, title: label }, this.#icon(path));
        made.onclick = act;
        return made;
      };
      const remove = () => {
        entry.cancel();
        this.#files = this.#files.filter((one) => one !== entry);
        this.#changed();
      };
      return make("div", { className: `file${bad ? " bad" : id ? " done" : ""}` },
        make("span", {}, file.name), sending ? make("progress", { value: share, ariaLabel: t("status.uploading") }) : "",
        make("small", {}, bad || (id ? t("attach.success") : `${Math.ceil(file.size / 1024)} kB`)),
        detail ? button(t("attach.retry"), "M20 12a8 8 0 1 1-3-6l3 3V4", () => this.#upload(entry)) : "",
        button(t("attach.remove"), "M6 6l12 12M18 6L6 18", remove));
    }));
    this.#panel.typed();
  }
}
