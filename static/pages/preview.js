// The preview's page: puts the real widget where the builder says, and answers in the server's place.

const about = JSON.parse(document.getElementById("about")?.textContent ?? "");
const answer = "This is a preview, and nothing was sent. On your website, **your assistant** answers here.";
const html = "<p>This is a preview, and nothing was sent. On your website, <strong>your assistant</strong> answers here.</p>";
const load = fetch;
let element, tell, number = 0;

self.fetch = async (/** @type {any} */ address, options = {}) => {
  const { pathname } = new URL(address, location.href);
  if (!pathname.startsWith("/v1/")) return load(address, options);
  const now = new Date().toISOString();
  if (pathname.endsWith("/sessions")) {
    return Response.json({ handle: `preview-${now}`, expires_at: now, chatbot: { name: about.title }, participant: {} }, { status: 201 });
  }
  if (pathname.endsWith("/messages")) {
    const task = `preview-${++number}`;
    setTimeout(() => {
      tell?.("message", { key: task, role: "assistant", content: answer, html, created_at: new Date().toISOString(), attachments: [], task });
      tell?.("done", { task, status: "complete" });
    }, 900);
    return Response.json({ task, accepted_at: now }, { status: 202 });
  }
  if (pathname.endsWith("/events")) return new Response(stream(options.signal));
  if (pathname.startsWith("/v1/sites/")) return Response.json(about);
  return Response.json({ code: "not_found", detail: "Not in the preview." }, { status: 404 });
};

function stream(signal) {
  return new ReadableStream({
    start(controller) {
      const encoder = new TextEncoder();
      tell = (event, data) => controller.enqueue(encoder.encode(`event: ${event}\ndata: ${JSON.stringify(data)}\nid: preview\n\n`));
      tell("ready", { cursor: "preview" });
      signal?.addEventListener("abort", () => {
        tell = null;
        try { controller.error(new DOMException("Aborted", "AbortError")); } catch { /* closed */ }
      });
    },
  });
}

addEventListener("message", async ({ source, data: { attributes, open } }) => {
  if (source !== parent) return;
  const fresh = /** @type {any} */ (document.createElement("chat-widget"));
  for (const [name, value] of Object.entries(attributes)) fresh.setAttribute(name, value);
  element?.remove();
  element = fresh;
  document.body.append(fresh);
  await customElements.whenDefined("chat-widget");
  if (open && fresh === element) fresh.open(false);
});

parent.postMessage("ready", "*");
