/* The live page. It shows what the run sends in its stream, and fetches nothing from elsewhere.
   Text gets into the page as text only, never as HTML. */
"use strict";

const STALE_S = 5; // without news for so long, the page says so
const AGAIN_MS = 2000; // between two attempts to connect
const SURE_MS = 5000; // a second click on Stop within this time stops
const POINTS_MAX = 600;
const SECONDS = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600]; // between two times below a chart

const STATES = {
  starting: "Starting",
  sending: "Sending",
  waiting: "Waiting",
  paused: "Paused",
  draining: "Stopping: requests on the wire may finish",
};

const LIMITS = {
  rate: "the rate of the command line",
  schedule: "the schedule",
  earlier_429: "an earlier 429",
  earlier_failures: "earlier failures",
  "slow-while": "the URL of --slow-while, which is slow",
  concurrency: "the concurrency",
};
const CHANGED = "the rate that was set meanwhile";

const PLAN = {
  rows: "rows of the export",
  ids: "ids to send",
  duplicate: "duplicates",
  invalid: "invalid rows",
  rate: "requests a second",
  concurrency: "requests in flight, at most",
  chunk_size: "ids in a request",
  backup: "with a backup",
  max_refused: "refused ids, at most",
  patience_s: "patience, seconds",
};

const OUTCOMES = ["done", "already", "absent", "refused", "unknown", "left_out", "remaining"];

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

let source = null;
let newsAt = Date.now();
let lost = false;
let ended = false;
let canControl = false;
let signedInAs = null;
let locked = false; // nothing is shown without the token
let status = null;
let points = [];
let sure = null;

/* ---- words ---- */

function show(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function timeOf(ms) {
  return clock.format(new Date(ms));
}

function dayTimeOf(iso) {
  const at = new Date(iso);
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock.format(at) : at.toLocaleString("en-GB");
}

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function perSecond(rate) {
  return rate === null ? "no limit" : `${number.format(rate)}/s`;
}

function milliseconds(seconds) {
  if (seconds === null) return "–";
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

function count(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" ? number.format(value) : value;
}

/* ---- one status ---- */

function render(now) {
  status = now;
  const total = now.rows || 0;
  const share = total ? `${Math.floor((100 * now.settled) / total)} %` : "–";
  document.title = `${total ? `${share} · ` : ""}${now.job} · bulkdel`;
  show("job", now.job);
  show("pool", [now.pool && `pool ${now.pool}`, now.host].filter(Boolean).join(" · "));
  show("state", ended ? "Ended" : STATES[now.state] || now.state);
  show("why", ended ? "" : why(now));
  show("run-id", now.run_id || "–");
  show("at", `as of ${timeOf(Date.parse(now.at))}`);
  $("run-and-time").hidden = false;
  if (!now.counts) return; // nothing is sent yet
  show("settled", count(now.settled));
  show("share", share);
  show("rows", `of ${count(total)} rows`);
  show("left", ended ? "–" : span(now.left_s));
  show("speed", ended ? "–" : count(Math.round(now.per_s)));
  renderBar(now, total);
  table("requests", [
    ["sent", count(now.requests)],
    ["in flight, of at most", `${count(now.in_flight)} of ${count(now.concurrency)}`],
    ["sent again", count(now.retries)],
    ["answered 429", count(now.throttled)],
    ["circuit breaker", now.breaker],
    ...(now.until ? [["stops at", dayTimeOf(now.until)]] : []),
    ...(now.limit ? [["stops after ids", count(now.limit)]] : []),
  ]);
  const refused = Object.entries(now.refused).sort((a, b) => b[1] - a[1]);
  table("refused", refused.length ? refused.map(([code, rows]) => [code, count(rows)]) : [["none so far", ""]]);
  const plan = Object.entries(now.plan).filter(([, value]) => value !== null);
  table("plan", plan.map(([name, value]) => [PLAN[name] || name.replaceAll("_", " "), count(value)]));
  $("run").hidden = false;
  renderRuns(now.runs);
  renderControls();
}

/* The runs of a batch; one run has none. */
function renderRuns(runs) {
  $("of-runs").hidden = !runs;
  if (!runs) return;
  table("runs", runs.map((run) => [run.name, runText(run)]));
  show("how", "This page only shows. To steer the runs: bulkdel batch ctl.");
}

function runText(run) {
  const rows = run.rows ? ` · ${count(run.settled)} of ${count(run.rows)} rows` : "";
  const doing = run.waiting ? ` · ${run.waiting}` : run.per_s ? ` · ${count(Math.round(run.per_s))} ids/s` : "";
  return `${run.state}${rows}${doing}`;
}

function why(now) {
  const words = [];
  if (now.paused) {
    const by = now.paused.user ? ` by ${now.paused.user}` : "";
    words.push(`Paused${by} (${now.paused.source}) since ${timeOf(Date.parse(now.paused.since))}.`);
  }
  if (now.doing) words.push(`${now.doing}.`);
  if (now.waiting && !now.paused) words.push(`Waiting: ${now.waiting}.`);
  if (now.confirm) words.push(`To resume: ${now.confirm}`);
  if (now.state === "sending" && now.rate.binding) {
    words.push(`Limited by ${LIMITS[now.rate.binding] || CHANGED}.`);
  }
  return words.join(" ");
}

function renderBar(now, total) {
  const parts = Object.entries(now.counts)
    .filter(([, rows]) => rows)
    .map(([kind, rows]) => [OUTCOMES.includes(kind) ? kind : "done", now.names[kind] || kind, rows]);
  if (now.left_out) parts.push(["left_out", "left out", now.left_out]);
  if (total) parts.push(["remaining", "remaining", now.remaining]);
  const key = parts.map(([kind]) => kind).join();
  if ($("bar").dataset.key !== key) {
    $("bar").dataset.key = key;
    $("bar").replaceChildren(...parts.map(([kind]) => element("span", "", kind)));
    $("outcomes").replaceChildren(...parts.map(([kind]) => element("li", "", kind)));
  }
  parts.forEach(([, word, rows], index) => {
    $("bar").children[index].style.flexGrow = rows;
    const text = `${count(rows)} ${word}`;
    const item = $("outcomes").children[index];
    if (item.textContent !== text) item.textContent = text;
  });
  $("bar").setAttribute("aria-label", parts.map(([, word, rows]) => `${count(rows)} ${word}`).join(", "));
}

function element(tag, text, cls) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (cls) made.className = cls;
  return made;
}

function table(id, rows) {
  const body = $(id);
  while (body.children.length > rows.length) body.lastChild.remove();
  rows.forEach(([name, value], index) => {
    let row = body.children[index];
    if (!row) {
      row = document.createElement("tr");
      const head = element("th", "");
      head.scope = "row";
      row.append(head, element("td", ""));
      body.append(row);
    }
    if (row.children[0].textContent !== name) row.children[0].textContent = name;
    if (row.children[1].textContent !== value) row.children[1].textContent = value;
  });
}

/* ---- charts: points are [seconds, allowed, used, p50, p95] ---- */

function chart(id, caption, columns, words) {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const axis = () => ({ stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } });
  const series = columns.map(({ index, stroke, dash, name }) => ({
    label: name,
    stroke: colour(stroke),
    width: 2,
    dash,
    paths: index === 1 ? uPlot.paths.stepped({ align: 1 }) : undefined,
    points: { show: false },
    spanGaps: index !== 1,
  }));
  const at = (plot) => (plot.cursor.idx === null || plot.cursor.idx === undefined ? points.length - 1 : plot.cursor.idx);
  const tell = (plot) => {
    const point = points[at(plot)];
    if (!point) return;
    const hovered = plot.cursor.idx !== null && plot.cursor.idx !== undefined;
    const parts = columns.map(({ index, name, stroke }) => element("span", `${name} ${words(point[index])}`, stroke));
    const nodes = parts.flatMap((part) => [document.createTextNode(" · "), part]).slice(1);
    $(caption).replaceChildren(...(hovered ? [document.createTextNode(`${timeOf(point[0] * 1000)}: `)] : []), ...nodes);
  };
  const size = () => ({ width: Math.max(200, $(id).clientWidth), height: 180 });
  const make = () =>
    new uPlot(
      {
        ...size(),
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
        scales: { y: { range: (_, __, high) => [0, high ? high * 1.1 : 1] } },
        axes: [
          { ...axis(), values: (_, times) => timesOf(times), incrs: SECONDS, space: 80, size: 30 },
          { ...axis(), values: (_, values) => values.map((value) => words(value).replace("/s", "")), size: 58 },
        ],
        series: [{}, ...series],
        hooks: { setCursor: [tell], setData: [tell] },
      },
      rows(),
      $(id),
    );
  const rows = () => [points.map((point) => point[0]), ...columns.map(({ index }) => points.map((point) => point[index]))];
  let plot = make();
  new ResizeObserver(() => plot.setSize(size())).observe($(id));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    plot.destroy();
    plot = make();
  });
  return () => plot.setData(rows());
}

/* Seconds are shown only where the minutes alone would repeat. */
function timesOf(times) {
  const digits = times.length > 1 && times[1] - times[0] < 60 ? 8 : 5;
  return times.map((time) => timeOf(time * 1000).slice(0, digits));
}

let draw = null;

function renderCharts() {
  if (!points.length || $("run").hidden) return;
  if (!draw) {
    const charts = [
      chart(
        "rate-chart",
        "rate-now",
        [
          { index: 1, name: "allowed", stroke: "allowed", dash: [6, 4] },
          { index: 2, name: "used", stroke: "used" },
        ],
        perSecond,
      ),
      chart(
        "latency-chart",
        "latency-now",
        [
          { index: 3, name: "half under", stroke: "used" },
          { index: 4, name: "95 % under", stroke: "allowed", dash: [6, 4] },
        ],
        milliseconds,
      ),
    ];
    draw = () => charts.forEach((each) => each());
  }
  draw();
}

function addPoint(point) {
  if (points.length && point[0] <= points[points.length - 1][0]) return;
  points.push(point);
  if (points.length > POINTS_MAX) points = points.slice(-POINTS_MAX);
}

/* ---- the stream ---- */

function connect() {
  if (source) source.close();
  source = new EventSource("events");
  source.addEventListener("hello", (event) => {
    const hello = JSON.parse(event.data);
    canControl = hello.control;
    signedInAs = hello.name;
    locked = false;
    const first = hello.points.length ? hello.points[0][0] : Infinity;
    points = [...points.filter((point) => point[0] < first), ...hello.points].slice(-POINTS_MAX);
    ended = false;
    askToSignIn(hello.sign_in, "To steer the run: the token of `control`.");
    show("how", signedInAs ? `Signed in as ${signedInAs}${canControl ? "" : ", to read"}.`
      : hello.sign_in ? ""
      : "This page only shows. To steer: bulkdel ctl, for a batch bulkdel batch ctl, or a token ([listen] of the config).");
    news();
  });
  source.addEventListener("status", (event) => take(event));
  source.addEventListener("ended", (event) => {
    ended = true;
    take(event);
  });
  source.onerror = () => {
    if (!lost) lose();
    if (source.readyState === EventSource.CLOSED) askWhy();
  };
}

function take(event) {
  const { status: now, point } = JSON.parse(event.data);
  news();
  if (point) addPoint(point);
  render(now);
  renderCharts();
}

function news() {
  newsAt = Date.now();
  lost = false;
  $("banner").hidden = true;
  document.body.classList.remove("stale");
}

function lose() {
  lost = true;
  document.body.classList.add("stale");
  show(
    "banner",
    ended
      ? `The run has ended at ${timeOf(newsAt)}. This is its last state; bulkdel status has the rest.`
      : `No connection since ${timeOf(newsAt)}. The figures are of that time. Connecting again…`,
  );
  $("banner").hidden = false;
  renderControls();
}

/* EventSource does not say why it was refused. */
async function askWhy() {
  try {
    const answer = await fetch("status.json", { cache: "no-store" });
    if (answer.status === 401) {
      news();
      locked = true;
      show("state", "Not signed in");
      askToSignIn(true, "This page is open to a network, so it asks for the token before it shows the run.");
      return;
    }
  } catch {
    // The run is gone, or the network is.
  }
  setTimeout(connect, AGAIN_MS);
}

setInterval(() => {
  if (!lost && !locked && Date.now() - newsAt > 1000 * STALE_S) lose();
}, 1000);

/* ---- control ---- */

function askToSignIn(due, reason) {
  $("sign-in").hidden = !due;
  show("sign-in-why", due ? reason : "");
}

function renderControls() {
  $("controls").hidden = !(canControl && signedInAs);
  const off = lost || ended || !status || status.state === "draining" || status.state === "starting";
  for (const control of document.querySelectorAll("#controls button, #controls input")) control.disabled = off;
  if (!status || !status.counts) return;
  show("pause", status.paused ? "Resume" : "Pause");
  const [, rate] = Object.entries(status.rate.limits).find(([name]) => name !== "schedule") || [];
  fill("rate", rate ?? 0);
  fill("concurrency", status.concurrency);
}

/* Shows the present value until a person types another one. */
function fill(id, value) {
  const input = $(id);
  if (document.activeElement !== input && !input.dataset.typed) input.value = value;
}

async function post(path, value) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(value),
  });
  const type = answer.headers.get("Content-Type") || "";
  const body = type.startsWith("application/json") ? await answer.json() : { text: (await answer.text()).trim() };
  return { ok: answer.ok, status: answer.status, text: body.text || "" };
}

async function steer(command) {
  show("answer", "…");
  try {
    const answer = await post("control", { command });
    show("answer", answer.ok ? answer.text || "Done." : `Refused: ${answer.text}`);
    if (answer.status === 401) connect();
  } catch {
    show("answer", "The command did not arrive: no connection.");
  }
}

$("pause").addEventListener("click", () => steer(status.paused ? "resume" : "pause"));

$("stop").addEventListener("click", () => {
  if (sure) {
    calm();
    steer("stop");
    return;
  }
  sure = setTimeout(calm, SURE_MS);
  $("stop").classList.add("sure");
  show("stop", "Stop? Click again");
});

function calm() {
  clearTimeout(sure);
  sure = null;
  $("stop").classList.remove("sure");
  show("stop", "Stop");
}

function onSet(id, command) {
  const input = $(id);
  input.addEventListener("input", () => {
    input.dataset.typed = "yes";
  });
  $(`set-${id}`).addEventListener("submit", async (event) => {
    event.preventDefault();
    await steer(command(input.value));
    delete input.dataset.typed;
  });
}

onSet("rate", (value) => `rate ${value}`);
onSet("concurrency", (value) => `concurrency ${value}`);
onSet("until", (value) => `until ${value}${zone()}`);

/* The zone of this browser, as in 18:00+02:00: the run may be in another one. */
function zone() {
  const minutes = -new Date().getTimezoneOffset();
  const two = (value) => String(Math.floor(Math.abs(value))).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  show("sign-in-answer", "");
  try {
    const answer = await post("login", { name: $("name").value, token: $("token").value });
    $("token").value = "";
    if (!answer.ok) {
      show("sign-in-answer", answer.text);
      return;
    }
    $("sign-in").hidden = true;
    newsAt = Date.now();
    connect();
  } catch {
    show("sign-in-answer", "No connection.");
  }
});

connect();
