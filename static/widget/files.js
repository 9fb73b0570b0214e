// The visitor's files.

export function Files({ chat, make, div, press, t, typed, closed }) {
  let files = [], list;

  function draw(form, frame) {
    const choose = make("input", { type: "file", multiple: true, hidden: true, accept: `${chat.limits.attachments.extensions}`, onchange: () => {
      add(choose.files);
      choose.value = "";
    } });
    list = div("files");
    form.before(list);
    form.prepend(choose, press("icon attach", t("attach.add"), () => choose.click(), "M7 13V7a5 5 0 0 1 10 0v10a3 3 0 0 1-6 0V8"));
    form.onpaste = (event) => add(event.clipboardData.files);
    frame.ondragover = frame.ondragleave = frame.ondrop = (event) => {
      const { type, dataTransfer } = event;
      if (!dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      frame.classList.toggle("drop", type === "dragover" && !closed());
      if (type === "drop") add(dataTransfer.files);
    };
    show();
  }

  function add(more) {
    if (closed()) return;
    for (const file of more) {
      const entry = { file, name: file.name };
      files.push(entry);
      upload(entry);
      preview(entry);
    }
  }

  function clear(kept = []) {
    files.forEach((file) => kept.includes(file) || file.cancel());
    files = kept;
    show();
  }

  function wrong({ size, name }) {
    const most = chat.limits.attachments, good = files.filter((one) => !one.wrong);
    if (size > most.file_bytes) return "error.fileTooLarge";
    if (good.length > most.files) return "error.tooManyFiles";
    if (good.reduce((sum, one) => sum + one.file.size, 0) > most.message_bytes) return "error.totalTooLarge";
    if (!most.extensions.some((ending) => name.toLowerCase().endsWith(ending))) return "error.unsupportedType";
  }

  async function upload(entry) {
    const abort = new AbortController();
    entry.cancel = () => abort.abort();
    entry.wrong = wrong(entry.file);
    entry.sending = !entry.wrong;
    entry.detail = "";
    show();
    try {
      if (entry.sending) entry.id = await send(entry, abort.signal);
    } catch (error) {
      entry.detail = error?.detail ?? t("error.upload");
    }
    entry.sending = false;
    show();
  }

  async function send(entry, signal) {
    const [url, authorization] = await chat.door();
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest(), body = new FormData();
      body.append("files", entry.file);
      signal.onabort = () => request.abort();
      request.upload.onprogress = ({ loaded, total }) => {
        entry.share = loaded / total;
        show();
      };
      request.onloadend = () => {
        const { status, response } = request;
        status === 201 ? resolve(response.files[0].id) : reject(response ?? {});
      };
      request.open("POST", url);
      request.setRequestHeader("Authorization", authorization);
      request.responseType = "json";
      request.send(body);
    });
  }

  async function preview(entry) {
    if (!entry.file.type.startsWith("image/")) return;
    try {
      const bitmap = await createImageBitmap(entry.file, { resizeHeight: 64 }), { width, height } = bitmap;
      entry.preview = make("canvas", { width, height });
      entry.preview.getContext("2d").drawImage(bitmap, 0, 0);
      show();
    } catch { /* none that this browser can read */ }
  }

  function show() {
    list?.replaceChildren(...files.map((entry) => {
      const { file, detail, sending, id, share = 0 } = entry, bad = entry.wrong ? t(entry.wrong) : detail;
      function act(key, path, onclick) {
        const made = press("icon", t(key), onclick, path);
        made.ariaLabel += `: ${file.name}`;
        return made;
      }
      return div(`file${bad ? " bad" : id ? " done" : ""}`, entry.preview ?? "", make("span", {}, file.name),
        sending ? make("progress", { value: share, ariaLabel: t("status.uploading") }) : "",
        make("small", {}, bad || (id ? t("attach.success") : `${Math.ceil(file.size / 1024)} kB`)),
        detail ? act("attach.retry", "M20 12a8 8 0 1 1-3-6l3 3V4", () => upload(entry)) : "",
        act("attach.remove", "M6 6l12 12M18 6L6 18", () => clear(files.filter((one) => one !== entry))));
    }));
    typed();
  }

  return {
    draw, clear,
    sent: () => clear(files.filter((file) => file.sending)),
    get busy() { return files.some((file) => file.sending); },
    get ready() { return files.filter((file) => file.id).map(({ id, name }) => ({ id, name })); },
  };
}
