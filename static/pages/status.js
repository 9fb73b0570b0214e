// The status page: figures of `/status.json`, every few seconds, as numbers, small charts and tables.

const EVERY_MS = 3000;
const KEPT_MS = 300_000;
const SVG = "http://www.w3.org/2000/svg";
const PREFIX = "widget_proxy_";

/** @type {(selector: string) => any} */
const find = (selector) => document.querySelector(selector);

/** What was read, oldest first: `at` in ms, `samples` by name. @type {any[]} */
const seen = [];
/** @type {ReturnType<typeof setTimeout> | undefined} */
let next;

const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
const seconds = (/** @type {number | null} */ value) => (value === null ? "–" : value < 1 ? `${number(value * 1000, value < 0.01 ? 1 : 0)} ms` : `${number(value, value < 10 ? 1 : 0)} s`);
const percent = (value) => (value === null ? "–" : `${number(value * 100)} %`);
const bytes = (value) => `${number(value / 1048576)} MiB`;
const ago = (value) => (!value ? "never" : value < 90 ? `${number(value)} s ago` : value < 5400 ? `${number(value / 60)} min ago` : `${number(value / 3600)} h ago`);

const fits = (labels, wanted) => Object.entries(wanted).every(([name, value]) => labels[name] === value);

/** The samples of this name with these labels, as `[labels, value]`. */
const rows = (read, name, wanted = {}) => (read.samples[PREFIX + name] ?? []).filter(([labels]) => fits(labels, wanted));
const sum = (read, name, wanted = {}) => rows(read, name, wanted).reduce((total, [, value]) => total + value, 0);

/** How much a count grew from one reading to another. `serve` may have begun anew: then it is what there is since. */
function grown(from, to, name, wanted = {}) {
  const before = sum(from, name, wanted), after = sum(to, name, wanted);
  return after < before ? after : after - before;
}

/** A minute, from the reading before. */
const perMinute = (name, wanted = {}) => (read, before) =>
  before ? (grown(before, read, name, wanted) / (read.at - before.at)) * 60_000 : null;

/** What so many of a histogram's values did not exceed, between two readings; null where there were none. */
function quantile(share, from, to, name) {
  const counts = new Map();
  for (const [sign, read] of [[-1, from], [1, to]])
    for (const [{ le }, value] of read ? rows(read, `${name}_bucket`) : []) {
      const bound = le === "+Inf" ? Infinity : Number(le);
      counts.set(bound, (counts.get(bound) ?? 0) + sign * value);
    }
  const buckets = [...counts].sort(([a], [b]) => a - b);
  const all = buckets.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  let lower = 0, below = 0;
  for (const [bound, count] of buckets) {
    if (count >= share * all) return bound === Infinity ? lower : lower + ((bound - lower) * (share * all - below)) / Math.max(count - below, 1e-9);
    lower = bound;
    below = count;
  }
  return lower;
}

/** Of the last minute or so, so that the charts show when it was; the first reading has what there is since the start. */
const recent = (share, name) => (read) => {
  const from = read === seen[0] ? null : seen.findLast((one) => one.at <= read.at - 60_000) ?? seen[0];
  return quantile(share, from, read, name);
};

const notOk = (read) => sum(read, "upstream_requests_total") - sum(read, "upstream_requests_total", { outcome: "ok" });

/** Titles; the value drawn, of a reading and the one before; how it is written; what is said below it. @type {any[]} */
const TILES = [
  ["Streams open", (read) => sum(read, "streams_open"), number, (read) => `of ${number(sum(read, "streams_allowed"))}`],
  ["Sessions followed", (read) => sum(read, "sessions_followed"), number],
  ["Answers awaited", (read) => sum(read, "answers_awaited"), number, (read) => `${number(sum(read, "uploads_running"))} files on their way`],
  ["Messages a minute", perMinute("messages_sent_total"), number],
  ["Time to answer", recent(0.5, "answer_seconds"), seconds, (read) => `nine in ten: ${seconds(recent(0.9, "answer_seconds")(read))}`],
  ["Delay of replies", recent(0.5, "reply_delay_seconds"), seconds, (read) => `nine in ten: ${seconds(recent(0.9, "reply_delay_seconds")(read))}`],
  ["Budget left", (read) => Math.min(1, ...rows(read, "budget_level").map(([, value]) => value)), percent],
  ["Requests to upstream a minute", perMinute("upstream_requests_total"), number, (read, before) => `${number(notOk(read) - notOk(before))} not ok just now`],
  ["Event loop late by", recent(0.99, "event_loop_lag_seconds"), seconds, () => "99 in 100"],
  ["Broker answers in", recent(0.99, "broker_seconds"), seconds, (read) => (sum(read, "broker_up") ? "reached" : "not reached")],
  ["Memory", (read) => sum(read, "process_memory_bytes"), bytes, (read) => `${number(sum(read, "workers"))} ${sum(read, "workers") === 1 ? "worker" : "workers"}`],
  ["CPU", (read, before) => (before ? (grown(before, read, "process_cpu_seconds_total") / (read.at - before.at)) * 1000 : null), percent, (read) => `${number(sum(read, "process_open_files"))} files open`],
];

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** A line over what was seen, of the last minutes; gaps where there was nothing. */
function chart(points, now) {
  const span = Math.max(1, now - points[0][0]);
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", "0 0 300 44");
  drawn.setAttribute("preserveAspectRatio", "none");
  drawn.setAttribute("aria-hidden", "true");
  const most = Math.max(1e-9, ...points.map(([, value]) => value ?? 0));
  let line = "", area = "", begun = "", last = "";
  for (const [at, value] of points) {
    if (value === null) {
      if (begun) area += `L${last},44L${begun},44Z`;
      begun = "";
      continue;
    }
    const x = (300 - ((now - at) / span) * 300).toFixed(1), y = (42 - (value / most) * 40).toFixed(1);
    line += `${begun ? "L" : "M"}${x},${y}`;
    area += `${begun ? "L" : "M"}${x},${y}`;
    begun ||= x;
    last = x;
  }
  if (begun) area += `L${last},44L${begun},44Z`;
  for (const [path, kind] of [[area, "area"], [line, "line"]]) {
    const shape = document.createElementNS(SVG, "path");
    shape.setAttribute("d", path);
    shape.setAttribute("class", kind);
    drawn.append(shape);
  }
  return drawn;
}

function table(selector, all) {
  find(`${selector} tbody`).replaceChildren(...all.map((cells) => {
    const row = element("tr");
    row.append(...cells.map((cell) => element("td", cell)));
    return row;
  }));
  find(selector).hidden = !all.length;
}

function show() {
  const read = seen.at(-1), before = seen.at(-2);
  const state = find("#state");
  state.textContent = read.reasons.length ? "Visitors should go elsewhere" : "Ready for visitors";
  state.classList.toggle("wrong", read.reasons.length > 0);
  find("#version").textContent = `version ${read.version}`;
  find("#reasons").replaceChildren(...read.reasons.map((reason) => element("li", reason)));
  find("#tiles").replaceChildren(...TILES.map(([title, value, written, below]) => {
    const tile = element("section", "", "tile"), now = value(read, before);
    const points = seen.map((one, place) => [one.at, value(one, seen[place - 1])]);
    tile.append(element("h2", title), element("strong", now === null ? "–" : written(now)),
      element("small", below && before ? below(read, before) : ""), chart(points, read.at));
    return tile;
  }));
  table("#upstreams", rows(read, "upstream_last_answer_timestamp_seconds").map(([{ upstream: host }, answered]) => {
    const failed = sum(read, "upstream_last_failure_timestamp_seconds", { upstream: host });
    const level = rows(read, "budget_level", { upstream: host })[0]?.[1] ?? 1;
    const asked = sum(read, "upstream_requests_total", { upstream: host });
    const ok = sum(read, "upstream_requests_total", { upstream: host, outcome: "ok" });
    return [host, percent(level), ago(answered && read.now - answered), ago(failed && read.now - failed), `${number(asked - ok)} of ${number(asked)}`];
  }));
  const sites = [...new Set(rows(read, "answers_total").map(([{ site }]) => site))].sort();
  table("#sites", sites.map((site) => [
    site, number(sum(read, "sessions_started_total", { site })), number(sum(read, "messages_sent_total", { site })),
    ...["complete", "failed", "timeout"].map((status) => number(sum(read, "answers_total", { site, status }))),
  ]));
  const refused = rows(read, "refusals_total").filter(([, value]) => value).sort(([, a], [, b]) => b - a);
  table("#refusals", refused.slice(0, 12).map(([{ call, reason }, value]) => [call, reason, number(value)]));
  find("#none-refused").hidden = refused.length > 0;
}

function ask(refused = false) {
  clearTimeout(next);
  seen.length = 0;
  sessionStorage.removeItem("token");
  find("#figures").hidden = true;
  find("#enter").hidden = false;
  find("#refused").hidden = !refused;
  find("#token").focus();
}

async function look() {
  clearTimeout(next);
  const token = sessionStorage.getItem("token");
  if (!token) return ask();
  try {
    const answer = await fetch("/status.json", { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" });
    if (answer.status === 401) return ask(true);
    if (!answer.ok) throw new Error(`${answer.status}`);
    const read = await answer.json();
    read.at = read.now * 1000;
    // Another worker's clock, or a second look at once: a chart goes one way.
    if (!seen.length || read.at > seen.at(-1).at) seen.push(read);
    while (seen[0].at < read.at - KEPT_MS) seen.shift();
    find("#enter").hidden = true;
    find("#figures").hidden = false;
    show();
  } catch {
    find("#figures").hidden = false;
    find("#state").textContent = "The proxy does not answer. Trying again.";
    find("#state").classList.add("wrong");
  }
  if (!document.hidden) next = setTimeout(look, EVERY_MS);
}

find("#enter").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", find("#token").value.trim());
  find("#token").value = "";
  look();
});
find("#leave").addEventListener("click", () => ask());
document.addEventListener("visibilitychange", () => document.hidden || look());
look();

export {};
