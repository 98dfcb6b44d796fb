/* The live page. It shows what the run sends in its stream, and fetches nothing from elsewhere.
   Text gets into the page as text only, never as HTML. */
"use strict";

const STALE_S = 5; // without news for so long, the page says so
const AGAIN_MS = 2000; // between two attempts to connect
const SURE_MS = 5000; // a second click on Stop within this time stops
const POINTS_MIN = 3; // fewer show nothing
const POINTS_MAX = 600;
const MARK = 10; // height of the mark of a 429
const SECONDS = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600]; // between two times below a chart

const STATES = { // the word, and the light
  starting: ["Starting", "work"],
  unconfirmed: ["Waiting for confirmation", "hold"],
  sending: ["Sending", "work"],
  waiting: ["Waiting", "hold"],
  paused: ["Paused", "hold"],
  draining: ["Draining", "hold"],
  complete: ["Complete", "fine"],
  incomplete: ["Incomplete", "hold"],
  stopped: ["Stopped", "hold"],
  halted: ["Halted", "bad"],
  interrupted: ["Interrupted", "bad"],
  refused: ["Refused", "bad"],
};
const BEFORE = ["starting", "unconfirmed"];
const LIVE = [...BEFORE, "sending", "waiting", "paused", "draining"];
const NOT_SENT = ["excluded", "duplicate", "invalid"];
const OUTCOMES = ["done", "already", "absent", "refused", "unknown", ...NOT_SENT, "remaining"];

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
  return rate === null ? "without a limit" : `${number.format(rate)}/s`;
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
  // A batch does not say how it has ended.
  const state = !ended || !LIVE.includes(now.state) ? now.state : now.remaining === 0 ? "complete" : "incomplete";
  const [word, light] = STATES[state] || [now.state, "work"];
  const left = (now.counts?.refused || 0) + (now.counts?.unknown || 0);
  const done = now.rows ? `${Math.floor((100 * now.settled) / now.rows)} % · ` : "";
  document.title = `${word} · ${done}${now.job}`;
  show("state", word);
  $("now").className = state === "complete" && left ? "hold" : light;
  show("why", why(now, state, left));
  show("job", now.job);
  show("pool", [now.pool && `pool ${now.pool}`, now.host].filter(Boolean).join(" · "));
  show("run-and-time", `${now.run_id ? `Run ${now.run_id} · ` : ""}as of ${timeOf(Date.parse(now.at))}`);
  if (ended) show("how", "");
  renderControls();
  if (!now.plan) return; // the export is read
  $("run").hidden = false;
  renderRows(now, state);
  renderAfter(now.next);
  renderRuns(now.runs);
  renderLimits(now.thresholds);
  renderPlan(now.facts, state);
  $("requests-box").hidden = !now.rate;
  if (!now.rate) return; // nothing is sent yet
  const refused = Object.entries(now.refused).sort((a, b) => b[1] - a[1]);
  table("requests", [
    ["sent", count(now.requests)],
    ...(ended ? [] : [["waiting for an answer", `${count(now.in_flight)} of at most ${count(now.concurrency)}`]]),
    ["sent again", count(now.retries)],
    ["answered 429: too many requests", count(now.throttled)],
    ...refused.map(([code, rows]) => [`rows refused with code ${code}`, count(rows)]),
    ...(now.until ? [["stops at", dayTimeOf(now.until)]] : []),
    ...(now.limit ? [["stops after ids", count(now.limit)]] : []),
  ]);
}

function sentence(text) {
  return text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "";
}

/* What the state means for the person who looks. */
function why(now, state, left) {
  switch (state) {
    case "unconfirmed":
      return "Nothing is sent yet. The terminal of the run asks for the confirmation of the plan below.";
    case "sending": {
      if (!now.rate) return "";
      const most = now.rate.allowed ? `At most ${number.format(now.rate.allowed)} requests a second` : "No limit of the rate";
      return `${most}${now.rate.bound ? ` (${now.rate.bound})` : ""}.`;
    }
    case "paused":
      return [sentence(now.waiting), "Requests on the wire may finish.", now.confirm && `To resume: ${now.confirm}`].filter(Boolean).join(" ");
    case "draining":
      return "Requests on the wire may finish. Then the run stops.";
    case "complete":
      return left ? `Every row has an outcome. To look at: ${count(left)} refused or unknown.` : "Every row has an outcome.";
    case "starting":
    case "waiting":
      return sentence(now.doing || now.waiting);
    default:
      return [cause(now), now.rows === undefined ? "Nothing was sent: run the same command again." : `Rows left: ${count(now.remaining)}.`].join(" ");
  }
}

function cause(now) {
  const beyond = (now.thresholds || []).filter((limit) => !limit.holds).map((limit) => `${limit.name}, ${limit.now}`);
  if (beyond.length) return `Beyond a limit: ${beyond.join("; ")}.`;
  return now.why ? `Why: ${now.why}.` : "";
}

function kindOf(key) {
  if (OUTCOMES.includes(key)) return key;
  return key.startsWith("already") ? "already" : "done";
}

function renderRows(now, state) {
  const counts = Object.entries(now.counts || {});
  const done = counts.filter(([key]) => kindOf(key) === "done");
  const moves = state === "sending"; // else it has no speed
  if (now.counts) {
    const name = done.map(([key]) => now.names[key] || key).join(" or ") || "done";
    figures([
      [name, count(done.reduce((sum, [, rows]) => sum + rows, 0))],
      [`left, of ${count(now.rows)} rows`, count(now.remaining)],
      ...(ended ? [] : [[moves ? ends(now.left_s) : "time left", moves ? span(now.left_s) : "–"]]),
      ...(ended ? [] : [["ids a second", moves ? count(Math.round(now.per_s)) : "–"]]),
    ]);
  } else if (now.plan.ids !== undefined) {
    figures([
      ["ids to send", count(now.plan.ids)],
      ["left out", count(now.plan.rows - now.plan.ids)],
      ["rows of the export", count(now.plan.rows)],
    ]);
  }
  const reasons = Object.entries(now.left_out_by || {}).sort((a, b) => b[1] - a[1]);
  const kinds = {};
  for (const [reason, rows] of reasons) {
    const kind = NOT_SENT.includes(reason) ? reason : "excluded";
    kinds[kind] = (kinds[kind] || 0) + rows;
  }
  const outcomes = counts.filter(([, rows]) => rows).map(([key, rows]) => [kindOf(key), rows, now.names[key] || key]);
  const remaining = now.remaining ? [["remaining", now.remaining, "remaining"]] : [];
  keys("outcomes", [...outcomes, ...remaining]);
  keys("reasons", reasons.map(([reason, rows]) => [NOT_SENT.includes(reason) ? reason : "excluded", rows, now.names[reason] || reason]));
  $("left-out").hidden = !reasons.length;
  show("left-out-title", `Left out: ${count(now.left_out)} rows, never sent`);
  bar([...outcomes, ...NOT_SENT.filter((kind) => kinds[kind]).map((kind) => [kind, kinds[kind], kind]), ...remaining]);
}

function ends(left_s) {
  return left_s === null ? "time left" : `time left, until ${timeOf(Date.now() + 1000 * left_s).slice(0, 5)}`;
}

function figures(all) {
  const list = $("figures");
  if (list.children.length !== all.length) {
    list.replaceChildren(...all.map(() => {
      const one = element("div", "");
      one.append(element("dt", ""), element("dd", ""));
      return one;
    }));
  }
  all.forEach(([name, value], index) => {
    const [term, told] = list.children[index].children;
    list.children[index].className = index < 2 ? "first" : "";
    if (term.textContent !== name) term.textContent = name;
    if (told.textContent !== value) told.textContent = value;
  });
}

function keys(id, parts) {
  const list = $(id);
  while (list.children.length > parts.length) list.lastChild.remove();
  parts.forEach(([kind, rows, name], index) => {
    if (!list.children[index]) list.append(element("li", ""));
    const text = `${count(rows)} ${name}`;
    list.children[index].className = kind;
    if (list.children[index].textContent !== text) list.children[index].textContent = text;
  });
}

function bar(parts) {
  $("bar").hidden = !parts.length;
  while ($("bar").children.length > parts.length) $("bar").lastChild.remove();
  parts.forEach(([kind, rows], index) => {
    if (!$("bar").children[index]) $("bar").append(element("span", ""));
    $("bar").children[index].className = kind;
    $("bar").children[index].style.flexGrow = rows;
    $("bar").children[index].hidden = !rows;
  });
  $("bar").setAttribute("aria-label", parts.map(([, rows, name]) => `${count(rows)} ${name}`).join(", "));
}

/* The end says what to do. */
function renderAfter(next) {
  $("after").hidden = !next?.length;
  if (!next || $("next").children.length === next.length) return;
  $("next").replaceChildren(...next.map(([text, command]) => {
    const one = element("li", `${text}:`);
    one.append(element("pre", command || "The terminal of the run has this command."));
    return one;
  }));
}

/* The runs of a batch; one run has none. */
function renderRuns(runs) {
  $("of-runs").hidden = !runs;
  if (!runs) return;
  table("runs", runs.map((run) => [run.name, runText(run)]));
  show("how", ended ? "" : "This page only shows. To steer the runs: bulkdel batch ctl.");
}

function runText(run) {
  const rows = run.rows ? ` · ${count(run.settled)} of ${count(run.rows)} rows` : "";
  const doing = run.waiting ? ` · ${run.waiting}` : run.per_s ? ` · ${count(Math.round(run.per_s))} ids/s` : "";
  return `${(STATES[run.state] || [run.state])[0].toLowerCase()}${rows}${doing}`;
}

function renderLimits(limits) {
  $("limits-box").hidden = !limits?.length;
  const list = $("limits");
  if (!limits || list.children.length !== limits.length) list.replaceChildren();
  (limits || []).forEach(({ name, now, holds }, index) => {
    if (!list.children[index]) {
      const one = element("li", "");
      one.append(element("span", ""), element("span", "", "name"), element("span", "", "now"));
      list.append(one);
    }
    const [verdict, what, told] = list.children[index].children;
    verdict.className = holds ? "verdict" : "verdict broken";
    const texts = [[verdict, holds ? "✓ pass" : "✗ fail"], [what, name], [told, now]];
    for (const [node, text] of texts) if (node.textContent !== text) node.textContent = text;
  });
}

/* Open while the plan is to be confirmed; then as the person leaves it. */
function renderPlan(facts, state) {
  $("plan-box").hidden = !facts;
  if (!facts) return;
  if ($("plan-box").dataset.state !== `${BEFORE.includes(state)}`) {
    $("plan-box").dataset.state = `${BEFORE.includes(state)}`;
    $("plan-box").open = BEFORE.includes(state);
  }
  table("plan", facts);
  facts.forEach(([name], index) => $("plan").children[index].classList.toggle("note", name === "note"));
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

/* ---- charts: points are [seconds, allowed, used, p50, p95, 429 since the point before, paused] ---- */

function chart(id, caption, columns, words, incrs) {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const axis = () => ({ stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } });
  const series = () => columns.map(({ index, cls, name }) => ({
    label: name,
    stroke: colour(cls === "line" ? "rows" : "soft"),
    width: 2,
    dash: cls === "line" ? undefined : [6, 4],
    paths: index === 1 ? uPlot.paths.stepped({ align: 1 }) : undefined,
    points: { show: false },
    spanGaps: index !== 1,
  }));
  const hovered = (plot) => plot.cursor.idx !== null && plot.cursor.idx !== undefined;
  const tell = (plot) => {
    const point = points[hovered(plot) ? plot.cursor.idx : points.length - 1];
    if (!point) return;
    const parts = columns.map(({ index, name, cls }) => element("span", `${name} ${words(point[index])}`, cls));
    const nodes = parts.flatMap((part) => [document.createTextNode(" · "), part]).slice(1);
    $(caption).replaceChildren(...(hovered(plot) ? [document.createTextNode(`${timeOf(point[0] * 1000)}: `)] : []), ...nodes);
  };
  // As in a report: grey while it was paused, red where the server answered 429.
  const marks = (plot) => {
    const { left, top, width, height } = plot.bbox;
    const [pause, refused] = ["pause", "refused"].map(colour);
    const x = (seconds) => Math.min(left + width, Math.max(left, plot.valToPos(seconds, "x", true)));
    points.forEach(([at, , , , , throttled, paused], index) => {
      const before = x(index ? points[index - 1][0] : at - 1);
      plot.ctx.fillStyle = pause;
      if (paused) plot.ctx.fillRect(before, top, x(at) - before, height);
      plot.ctx.fillStyle = refused;
      if (throttled) plot.ctx.fillRect(x(at) - 1, top + height - MARK, Math.max(3, x(at) - before), MARK);
    });
  };
  const size = () => ({ width: Math.max(200, $(id).clientWidth), height: 180 });
  const make = () =>
    new uPlot(
      {
        ...size(),
        padding: [8, 30, 0, 0], // half a time of day fits in on the right
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
        scales: { y: { range: (_, __, high) => [0, high ? high * 1.1 : 1] } },
        axes: [
          { ...axis(), values: (_, times) => timesOf(times), incrs: SECONDS, space: 80, size: 30 },
          { ...axis(), values: (_, values) => values.map(words), incrs, size: 64 },
        ],
        series: [{}, ...series()],
        hooks: { setCursor: [tell], setData: [tell], drawAxes: [marks] },
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
  $("charts").hidden = points.length < POINTS_MIN;
  if ($("charts").hidden) return;
  const [paused, throttled] = $("marks").children;
  paused.hidden = !points.some((point) => point[6]);
  throttled.hidden = !points.some((point) => point[5]);
  if (!draw) {
    const rate = [{ index: 2, name: "sent", cls: "line" }, { index: 1, name: "allowed", cls: "limit" }];
    const latency = [{ index: 3, name: "half within", cls: "line" }, { index: 4, name: "95 % within", cls: "limit" }];
    const charts = [
      chart("rate-chart", "rate-now", rate, perSecond, steps(0)),
      chart("latency-chart", "latency-now", latency, milliseconds, steps(-3)),
    ];
    draw = () => charts.forEach((each) => each());
  }
  draw();
}

/* Round numbers between two lines of a chart: 1, 2, 5, 10 times ten to this power, and so on. */
function steps(power) {
  return [...Array(10).keys()].flatMap((more) => [1, 2, 5].map((digit) => Number(`${digit}e${power + more}`)));
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
    askToSignIn(hello.sign_in, "To steer the run, type the token of control.");
    show("how", signedInAs ? `Signed in as ${signedInAs}${canControl ? "" : ", to read"}.`
      : hello.sign_in ? ""
      : "This page only shows. To steer the run: bulkdel ctl, or a token here ([listen] of the config).");
    news();
  });
  source.addEventListener("status", (event) => take(event));
  source.addEventListener("ended", (event) => {
    ended = true;
    take(event);
  });
  source.onerror = () => {
    if (!lost && !ended) lose();
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
  show("banner", `No connection since ${timeOf(newsAt)}. The figures are of that time. Connecting again…`);
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
      show("state", "Sign in");
      askToSignIn(true, "This page is open to a network, so it asks for the token before it shows the run.");
      return;
    }
  } catch {
    // The run is gone, or the network is.
  }
  setTimeout(connect, AGAIN_MS);
}

setInterval(() => {
  if (!lost && !ended && !locked && Date.now() - newsAt > 1000 * STALE_S) lose();
}, 1000);

/* ---- control ---- */

function askToSignIn(due, reason) {
  $("sign-in").hidden = !due;
  show("sign-in-why", due ? reason : "");
  renderControls();
}

function unfold(shown) {
  $("control").setAttribute("aria-expanded", `${shown}`);
  $("controls").hidden = !shown;
}

$("control").addEventListener("click", () => unfold($("controls").hidden));

function renderControls() {
  const steers = canControl && signedInAs !== null;
  const hidden = locked || ended || !(steers || !$("sign-in").hidden);
  $("control").hidden = hidden;
  $("steer").hidden = !steers;
  show("controls-title", steers ? "Control" : "Sign in");
  if (locked || hidden) unfold(locked);
  const off = lost || !status || !status.rate || status.state === "draining";
  for (const control of document.querySelectorAll("#steer button, #steer input")) control.disabled = off;
  if (!status || !status.rate) return;
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
  show("answer", "A second click within five seconds stops the run.");
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
    newsAt = Date.now();
    $("control").hidden = false;
    $("control").focus(); // the form that had it goes
    connect();
  } catch {
    show("sign-in-answer", "No connection.");
  }
});

connect();
