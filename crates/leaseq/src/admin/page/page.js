"use strict";
// Fetches /api/status every two seconds and shows it. Rates are differences of two answers. Whatever comes from outside
// is set as text, never as markup.

const EVERY_MS = 2000;
const HISTORY = 90;
const NOTICEABLE_MS = 1000;

const $ = (id) => document.getElementById(id);
let paused = false;
let listAll = false;
let shown = null; // the last status, with the time it came
let before = null; // the one before
let failed = null;
let timer = 0;
const history = new Map();

/** An element: tag, text or children, class. */
function el(tag, content, className) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...(Array.isArray(content) ? content : [content === undefined || content === null ? "" : String(content)]));
  return element;
}

const cell = (content, className) => el("td", content, className);
const number = (content, className) => el("td", content, className ? "n " + className : "n");
const rowHead = (content) => {
  const head = el("th", content);
  head.scope = "row";
  return head;
};
const chip = (text, tone) => el("span", text, tone ? "chip " + tone : "chip");

// --- words for numbers

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const count = (value) => whole.format(value);

function scaled(value, units, base) {
  let unit = 0;
  while (value >= base && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  const digits = value >= 100 || (unit === 0 && Number.isInteger(value)) ? 0 : value >= 10 ? 1 : 2;
  return value.toFixed(digits) + units[unit];
}

const short = (value) => (value < 100000 ? count(value) : scaled(value, ["", " k", " M", " G"], 1000));
const octets = (value) => scaled(value, [" B", " kB", " MB", " GB", " TB"], 1000);
const rate = (value) => (value === null ? "–" : value > 0 && value < 10 ? value.toFixed(1) : short(value));

function span(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return Math.round(ms) + " ms";
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return (ms / 1000).toFixed(seconds < 10 ? 1 : 0) + " s";
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = parts.findIndex(([size]) => seconds >= size);
  const [size, unit] = parts[at];
  const rest = parts[at + 1] ? Math.floor((seconds % size) / parts[at + 1][0]) : 0;
  return Math.floor(seconds / size) + " " + unit + (rest ? " " + rest + " " + parts[at + 1][1] : "");
}

// --- rates

const sum = (value) =>
  value === undefined ? 0 : typeof value === "number" ? value : Object.values(value).reduce((all, one) => all + one, 0);
const traffic = (status, name) => sum(status.traffic.v4[name]) + sum(status.traffic.v6[name]);

/** How much a number has grown in a second; none without an answer before, or after a restart. */
function perSecond(read) {
  if (!before || !before.status.store || !shown.status.store) return null;
  const seconds = (shown.at - before.at) / 1000;
  const grown = read(shown.status) - read(before.status);
  return seconds > 0 && grown >= 0 ? grown / seconds : null;
}

function remember(name, value) {
  const values = history.get(name) || [];
  if (value !== null) values.push(value);
  while (values.length > HISTORY) values.shift();
  history.set(name, values);
  return values;
}

function sparkline(values) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${HISTORY - 1} 20`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const most = Math.max(...values, 1e-9);
  const line = document.createElementNS(space, "polyline");
  const first = HISTORY - values.length;
  line.setAttribute("points", values.map((value, at) => `${first + at},${(19 - (value / most) * 18).toFixed(2)}`).join(" "));
  svg.append(line);
  return svg;
}

// --- parts of the page

function tiles(status) {
  const { v4, v6 } = status.connections;
  const kinds = (name) => v4.kinds[name] + v6.kinds[name];
  const active = (of) => of.states.active || 0;
  const streams = kinds("active");
  const lagging = v4.lagging + v6.lagging;
  const catching = v4.catching_up + v6.catching_up;
  const blocked = v4.blocked + v6.blocked;
  const queries = perSecond((one) => traffic(one, "queries") + traffic(one, "udp_queries"));
  const messages = perSecond((one) => traffic(one, "sent_messages") + traffic(one, "udp_answers"));
  const sent = perSecond((one) => traffic(one, "sent_octets"));
  const changes = perSecond((one) => one.store.sequence);
  const told = [
    ["Active bindings", short(active(status.store.v4) + active(status.store.v6)),
      `${short(active(status.store.v4))} v4, ${short(active(status.store.v6))} v6`, null],
    ["Queries/s", rate(queries), `${short(traffic(status, "queries") + traffic(status, "udp_queries"))} in all`, queries],
    ["Messages/s", rate(messages), `${short(traffic(status, "bindings_sent"))} bindings told`, messages],
    ["Octets/s", sent === null ? "–" : octets(sent), `${octets(traffic(status, "sent_octets"))} sent`, sent],
    ["Changes/s", rate(changes), `${short(status.store.sequence)} records`, changes],
    ["Connections", count(status.connections.total),
      `${short(kinds("bulk"))} bulk, ${short(kinds("idle"))} idle, ${short(v4.tls + v6.tls)} on TLS`, status.connections.total,
      blocked && `${short(blocked)} blocked`],
    ["Streams", count(streams),
      streams === 0 ? "none" : catching ? `${short(catching)} catching up` : lagging ? "" : "all at the tail", streams,
      lagging && `${short(lagging)} lagging`],
  ];
  $("tiles").replaceChildren(...told.map(([name, value, sub, point, trouble]) => {
    const tile = el("div", [el("dt", name), el("dd", value), el("dd", sub, "sub")]);
    if (trouble) tile.append(el("dd", trouble, "sub warn-text"));
    const values = remember(name, point);
    if (point !== null || values.length) tile.append(sparkline(values));
    return tile;
  }));
}

const PHASES = { starting: "warn", loading: "warn", following: "good", waiting: "bad", stopped: "" };

function feeds(status) {
  const rows = [];
  for (const feed of status.feeds) {
    const events = perSecond((one) => (one.feeds.find((other) => other.name === feed.name) || feed).events);
    const phase = cell([chip(feed.phase, PHASES[feed.phase])]);
    phase.append(el("span", " " + span(status.now_ms - feed.since * 1000), "quiet"));
    if (feed.loaded === null) phase.append(el("span", " not loaded yet", "warn-text"));
    rows.push(el("tr", [
      rowHead([feed.name, el("span", " " + feed.kind + (feed.family ? " v" + feed.family : ""), "quiet")]),
      phase,
      number(span(feed.lag_ms), feed.lag_ms > 30000 ? "warn-text" : ""),
      number(rate(events)),
      number(short(feed.events)),
      number(short(feed.changed)),
      number(short(feed.rejected), feed.rejected ? "warn-text" : "zero"),
      number(short(feed.troubles), feed.troubles ? "warn-text" : "zero"),
      number(feed.backlog_octets ? octets(feed.backlog_octets) : "0", feed.backlog_octets ? "" : "zero"),
      cell(feed.source + (feed.writers === null ? "" : ` (${feed.writers} connected)`), "source"),
    ]));
    const notes = [];
    if (feed.remark) notes.push(feed.remark);
    if (feed.last_trouble) {
      notes.push(`last trouble, ${span(status.now_ms - feed.last_trouble.at * 1000)} ago: ${feed.last_trouble.text}`);
    }
    for (const text of notes) {
      const note = cell([el("div", text)], "note");
      note.colSpan = 10;
      rows.push(el("tr", [note], "note"));
    }
  }
  if (!rows.length) {
    const none = cell("No feed is configured: bindings change only by import and by their end.", "quiet");
    none.colSpan = 10;
    rows.push(el("tr", [none]));
  }
  $("feeds").replaceChildren(...rows);
}

/** What a connection does, and how that is to be seen. */
function doing(one) {
  if (one.state === "closing") return ["closing", ""];
  if (one.blocked_ms !== null) return ["blocked", "bad"];
  if (one.stream) {
    if (one.stream.catching_up) return ["catching up", "warn"];
    return one.stream.behind_ms >= NOTICEABLE_MS ? ["lagging", "warn"] : ["following", "good"];
  }
  if (one.kind === "bulk") return [one.queries_running > 1 ? `answering ${one.queries_running}` : "answering", "good"];
  return ["idle", ""];
}

function connections(status) {
  const { list, total, v4, v6 } = status.connections;
  const wanted = $("filter").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const sentBefore = new Map();
  if (before && before.status.connections) {
    for (const one of before.status.connections.list) sentBefore.set(one.id, one.sent_octets);
  }
  const seconds = before ? (shown.at - before.at) / 1000 : 0;
  const rows = [];
  for (const one of list) {
    const [state, tone] = doing(one);
    const kind = one.kind + (one.tls ? " TLS" : "");
    const words = `${one.peer} dhcpv${one.family} ${kind} ${state}`.toLowerCase();
    if (!wanted.every((word) => words.includes(word))) continue;
    const earlier = sentBefore.get(one.id);
    const speed = earlier === undefined || seconds <= 0 ? null : Math.max(0, one.sent_octets - earlier) / seconds;
    const behind = one.stream ? one.stream.behind_ms : null;
    const records = one.stream ? one.stream.behind_records : null;
    rows.push(el("tr", [
      rowHead(one.peer),
      cell("DHCPv" + one.family),
      cell(kind),
      cell([chip(state, tone)]),
      number(behind === null ? "" : behind < NOTICEABLE_MS ? "0" : span(behind), behind >= NOTICEABLE_MS ? "warn-text" : "zero"),
      number(records === null ? "" : short(records), records ? "" : "zero"),
      number(one.blocked_ms === null ? "" : span(one.blocked_ms), one.blocked_ms === null ? "" : "bad-text"),
      number(one.queries_asked),
      number(octets(one.sent_octets)),
      number(speed === null ? "–" : speed === 0 ? "0" : octets(speed) + "/s", speed ? "" : "zero"),
      number(span(status.now_ms - one.since * 1000)),
    ]));
  }
  const matching = rows.length;
  if (!matching) {
    const none = cell(total ? "None of them matches." : "Nobody is connected.", "quiet");
    none.colSpan = 11;
    rows.push(el("tr", [none]));
  }
  $("connections").replaceChildren(...rows);
  const sumOf = (name) => v4[name] + v6[name];
  $("overview").textContent = [
    `${count(total)} connected`,
    sumOf("blocked") && `${count(sumOf("blocked"))} blocked, for up to ${span(Math.max(v4.longest_blocked_ms, v6.longest_blocked_ms))}`,
    sumOf("lagging") && `${count(sumOf("lagging"))} lagging, by up to ${span(Math.max(v4.most_behind_ms, v6.most_behind_ms))}`,
    sumOf("catching_up") && `${count(sumOf("catching_up"))} catching up`,
  ].filter(Boolean).join("; ");
  const left = total - list.length;
  $("listed").textContent = left > 0
    ? `${count(list.length)} of ${count(total)} are listed, those blocked or behind first${wanted.length ? `; ${count(matching)} of them match` : ""}.`
    : wanted.length ? `${count(matching)} of ${count(total)} match.` : "";
  $("all").hidden = left <= 0 && !listAll;
  $("all").textContent = listAll ? "Show few" : "Show all";
}

const pairRow = (name, value, tone) => el("tr", [rowHead(name), number(value, tone)]);

function bindings(status) {
  const { v4, v6 } = status.store;
  const names = Object.keys(v4.states).filter((name) => v4.states[name] || v6.states[name]);
  const row = (name, four, six, className) => {
    const line = el("tr", [rowHead(name), number(count(four), four ? "" : "zero"), number(count(six), six ? "" : "zero")]);
    if (className) line.className = className;
    return line;
  };
  $("bindings").replaceChildren(
    ...names.map((name) => row(name, v4.states[name], v6.states[name])),
    row("all", v4.bindings, v6.bindings, "sum"),
    row("clients", v4.clients, v6.clients),
  );
}

function store(status) {
  const { store: told, recovered_ms: recovered } = status;
  const commits = perSecond((one) => one.store.batches);
  const batches = before && before.status.store ? told.batches - before.status.store.batches : 0;
  const took = batches > 0 ? (told.commit_micros - before.status.store.commit_micros) / batches / 1000 : null;
  const dead = told.log_octets ? Math.round((100 * told.dead_octets) / told.log_octets) : 0;
  const rows = [
    ["Last commit", told.stamp_ms ? span(told.now_ms - told.stamp_ms) + " ago" : "none yet"],
    ["Commits/s", rate(commits)],
    ["A commit takes", took === null ? "–" : took.toFixed(took < 10 ? 2 : 0) + " ms"],
    ["Records", count(told.sequence)],
    ["Log", `${octets(told.log_octets)} in ${count(told.segments)} ${told.segments === 1 ? "segment" : "segments"}`],
    ["Superseded", `${count(told.dead_records)} records, ${octets(told.dead_octets)} (${dead} %)`],
    ["Indexes", octets(told.index_octets)],
    ["Held leases", count(told.held), told.held ? "warn-text" : "zero"],
    ["Failed commits", count(told.failed_batches), told.failed_batches ? "bad-text" : "zero"],
    ["Clock steps", count(told.clock_steps), told.clock_steps ? "warn-text" : "zero"],
    ["Opened in", `${span(recovered)}, from ${told.from_checkpoint ? "checkpoint" : "log"}`],
  ];
  if (status.process) {
    rows.push(["Memory", octets(status.process.resident_octets)]);
    const cpu = perSecond((one) => (one.process ? one.process.cpu_ms : NaN));
    rows.push(["Processor", cpu === null ? "–" : (cpu / 10).toFixed(0) + " %"]);
  }
  $("store").replaceChildren(...rows.map(([name, value, tone]) => pairRow(name, value, tone)));
}

function limits(status) {
  $("limits").replaceChildren(...status.limits.map((one) => {
    const part = one.limit ? one.used / one.limit : 1;
    const tone = part >= 0.95 ? "bad" : part >= 0.8 ? "warn" : "";
    const say = one.unit === "octets" ? octets : count;
    const bar = el("div", [], tone);
    bar.style.width = Math.min(100, part * 100).toFixed(1) + "%";
    const track = el("div", [bar], "track");
    const figure = el("span", `${say(one.used)} of ${say(one.limit)}`, tone ? tone + "-text" : "quiet");
    const content = cell([el("div", [el("span", one.name), figure], "pair"), track]);
    if (one.note) content.title = one.note;
    return el("tr", [content]);
  }));
}

const ENDS = [
  ["connections_opened", "connections opened"], ["connections_refused", "refused"], ["connections_closed", "closed"],
  ["queries_ended", "query"], ["discarded", "not answered"], ["udp_answers", "UDP"], ["udp_discarded", "UDP not answered"],
  ["streams_data_missing", "streams: data missing"], ["streams_lagged", "streams: fell behind"], ["queries_delayed", "queries delayed"],
];

function ends(status) {
  const { v4, v6 } = status.traffic;
  const rows = [];
  const add = (name, four, six) => {
    if (four || six) rows.push(el("tr", [rowHead(name), number(count(four || 0), four ? "" : "zero"), number(count(six || 0), six ? "" : "zero")]));
  };
  for (const [name, word] of ENDS) {
    if (typeof v4[name] === "number") add(word, v4[name], v6[name]);
    else for (const label of Object.keys(v4[name] || {})) add(`${word}: ${label}`, v4[name][label], v6[name][label]);
  }
  if (!rows.length) rows.push(el("tr", [cell("Nothing yet.", "quiet")]));
  $("ends").replaceChildren(...rows);
}

/** What should be looked at: each a text and whether it is bad. */
function warnings(status) {
  const told = status.unready_because.map((text) => [text, !status.recovering]);
  if (!status.store) return told;
  for (const one of status.limits) {
    const part = one.limit ? one.used / one.limit : 1;
    if (part >= 0.8) told.push([`${one.name}${one.note ? " (" + one.note + ")" : ""}: ${Math.floor(part * 100)} % taken`, part >= 0.95]);
  }
  for (const feed of status.feeds) {
    if (feed.phase === "waiting") {
      const why = feed.last_trouble ? ": " + feed.last_trouble.text : "";
      told.push([`feed ${feed.name} has waited for its source for ${span(status.now_ms - feed.since * 1000)}${why}`, false]);
    }
    if (feed.remark) told.push([`feed ${feed.name}: ${feed.remark}`, false]);
  }
  return told;
}

function head(status) {
  const recovering = status.recovering;
  const state = $("state");
  const word = failed ? "unreachable" : recovering ? "recovering" : status.ready ? "ready" : "not ready";
  if (state.textContent !== word) state.textContent = word;
  state.className = "chip " + (failed ? "bad" : status.ready ? "good" : recovering ? "warn" : "bad");
  document.title = (word === "ready" ? "" : word + " – ") + "leaseq";
  document.body.classList.toggle("stale", Boolean(failed));
  const parts = [`version ${status.version}`];
  if (status.process) parts.push(`up ${span(status.now_ms - status.process.started * 1000)}`);
  for (const [kind, addresses] of Object.entries(status.listening || {})) {
    if (addresses.length) parts.push(`${kind} ${addresses.join(", ")}`);
  }
  $("about").textContent = parts.join("  ·  ");
  const told = failed ? [[`No answer: ${failed}. What is shown is old.`, true]] : warnings(status);
  $("warnings").hidden = !told.length;
  $("warnings").replaceChildren(...told.map(([text, bad]) => el("li", text, bad ? "bad" : "")));
}

function show() {
  if (!shown) {
    $("state").textContent = failed ? "unreachable" : "connecting";
    $("state").className = failed ? "chip bad" : "chip";
    return;
  }
  const { status } = shown;
  head(status);
  document.querySelector("main").hidden = !status.store;
  if (!status.store) return;
  for (const part of [tiles, feeds, connections, bindings, store, limits, ends]) part(status);
}

function age() {
  $("age").textContent = !shown ? "" : paused ? "paused" : `${Math.max(0, Math.round((performance.now() - shown.at) / 1000))} s ago`;
}

async function look() {
  clearTimeout(timer);
  try {
    const answer = await fetch("/api/status" + (listAll ? "?connections=all" : ""), {
      cache: "no-store", signal: AbortSignal.timeout(10000),
    });
    if (!answer.ok) throw new Error("status " + answer.status);
    const status = await answer.json();
    if (shown && (!status.process || !shown.status.process || status.process.id === shown.status.process.id)) before = shown;
    else before = null;
    shown = { status, at: performance.now() };
    failed = null;
  } catch (error) {
    failed = error.message || String(error);
  }
  show();
  age();
  if (!paused) timer = setTimeout(look, EVERY_MS);
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
  if (paused) clearTimeout(timer);
  else look();
  age();
});
$("all").addEventListener("click", () => {
  listAll = !listAll;
  $("all").setAttribute("aria-pressed", String(listAll));
  look();
});
$("filter").addEventListener("input", () => shown && shown.status.store && connections(shown.status));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (!paused) look();
});
setInterval(age, 1000);
look();
