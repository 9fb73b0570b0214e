// The front page: options to a tag, and to the preview. Attributes that say what the widget does anyway are left out.

/** @type {(selector: string) => any} */
const find = (selector) => document.querySelector(selector);
const form = find("#options"), view = find("#view"), frame = find("#preview"), told = find("#told"), shown = find("#tag code");
const { base, site, version, integrity } = form.dataset;
const standard = JSON.parse(form.dataset.standard);

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** What differs from the standard, as the attributes of the element. */
function chosen() {
  const values = new FormData(form), found = {};
  for (const [name, usual] of Object.entries(standard)) {
    const { disabled, validity } = form.elements[name];
    if (disabled || validity?.valid === false) continue;
    const value = `${values.get(name) ?? "false"}`;
    const now = Array.isArray(usual) ? JSON.stringify(lines(value)) : value.trim();
    if (now !== (Array.isArray(usual) ? JSON.stringify(usual) : usual)) found[name] = now;
  }
  return found;
}

/** An attribute as one writes it in HTML, in the quotes that need fewer escapes. */
function written(name, value) {
  const safe = value.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return safe.includes('"') ? `${name}='${safe.replaceAll("'", "&#39;")}'` : `${name}="${safe}"`;
}

function tag(attributes) {
  const pinned = form.elements.integrity.checked;
  const parts = [
    `<script ${written("src", base + (pinned ? `/widget@${version}.js` : "/widget.js"))}`,
    ...(pinned ? [`${written("integrity", integrity)} crossorigin`] : []),
    ...Object.entries(attributes).map(([name, value]) => written(`data-${name}`, value)),
  ];
  parts.splice(1, 0, written("data-site", site));
  const [first, second, ...others] = parts;
  return [`${first} ${second}`, ...others].join("\n        ") + " async></script>";
}

/** The tag at once, so that what is copied is what was chosen; the preview when typing pauses. */
let pause;
function show(wait = 0) {
  const attributes = chosen(), open = view.elements.view.value === "chat";
  shown.textContent = tag(attributes);
  find("#accent-code").textContent = form.elements.accent.value;
  clearTimeout(pause);
  const tried = { ...attributes, site };
  for (const name of ["translations-url", "visible"]) delete tried[name]; // the frame may not fetch the one, and opens by itself
  // The frame has no origin of its own that could be named.
  pause = setTimeout(() => frame.contentWindow.postMessage({ attributes: tried, open }, "*"), wait);
}

form.addEventListener("input", (/** @type {any} */ { target }) => {
  const side = target.closest("[data-view]")?.dataset.view;
  if (side) view.elements.view.value = side;
  told.textContent = "";
  show(150);
});
form.addEventListener("reset", () => setTimeout(show));
view.addEventListener("input", () => show());
for (const one of [form, view]) one.addEventListener("submit", (event) => event.preventDefault());

addEventListener("message", ({ source, data }) => {
  if (source === frame.contentWindow && data === "ready") show();
});
frame.src = frame.dataset.src;
shown.textContent = tag(chosen());

for (const option of form.querySelectorAll("[data-language]")) {
  const name = new Intl.DisplayNames([option.value], { type: "language" }).of(option.value) ?? option.value;
  option.textContent = name.charAt(0).toLocaleUpperCase(option.value) + name.slice(1);
  option.lang = option.value;
}

for (const button of /** @type {NodeListOf<any>} */ (document.querySelectorAll("[data-copies]"))) {
  const label = button.textContent, source = find(`#${button.dataset.copies}`);
  let back;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const copied = await copy(source);
    told.textContent = copied ? "Copied to the clipboard." : "Selected. Copy it with Ctrl+C, or ⌘C.";
    if (!copied) return;
    button.textContent = "Copied ✓";
    clearTimeout(back);
    back = setTimeout(() => { button.textContent = label; }, 2500);
  });
}

/** Browsers give the clipboard to pages over HTTPS and on this very machine; else the text is selected for it. */
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    getSelection()?.selectAllChildren(source);
    return document.execCommand("copy");
  }
}
