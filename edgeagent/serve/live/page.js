"use strict";
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let token = sessionStorage.getItem("token") || "";

function make(tag, text, kind) {
  const its = document.createElement(tag);
  if (text !== undefined) its.textContent = text;
  if (kind) its.className = kind;
  return its;
}
function draw(tag, attributes, text) {
  const its = document.createElementNS(SVG, tag);
  for (const name in attributes) its.setAttribute(name, attributes[name]);
  if (text !== undefined) its.textContent = text;
  return its;
}
async function ask(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (token) headers.Authorization = "Bearer " + token;
  const reply = await fetch(path, { ...options, headers });
  if (reply.ok) return reply;
  if (reply.status === 401) $("state").textContent = "needs the token";
  let text = reply.statusText;
  try { text = (await reply.json()).error; } catch { /* it was no JSON: the status has to do */ }
  throw new Error(text);
}
const json = async (path) => (await ask(path)).json();
const bytes = (n) => n >= 1e9 ? (n / 1e9).toFixed(1) + " GB" : n >= 1e6 ? (n / 1e6).toFixed(1) + " MB" : Math.round(n / 1e3) + " kB";
const score = (its) => its.score === undefined ? "" : its.label === "anomaly" || its.score > 1 ? its.score.toFixed(2) : Math.round(its.score * 100) + " %";
const span = (s) => s < 90 ? Math.round(s) + " s" : s < 5400 ? Math.round(s / 60) + " min" : s < 172800 ? Math.round(s / 3600) + " h" : Math.round(s / 86400) + " d";
const tone = (state) => ["ok", "online", "up", "committed"].includes(state) ? "good" : ["opening", "paused", "ended", "off", "connecting"].includes(state) ? "warn" : "bad";

/* --- the state of all ------------------------------------------------------------------- */
function rows(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([name, value, kind]) => [make("dt", name), make("dd", value, kind)]));
}
function showStatus(its) {
  document.title = (its.name || its.device) + " · edgeagent";
  $("name").textContent = its.name || its.device;
  $("state").textContent = its.state;
  $("state").className = "pill " + tone(its.state);
  $("about").textContent = [its.site, its.device, its.profile, its.version, "up " + span(its.uptime_s)].filter(Boolean).join(" · ");
  $("reasons").hidden = !its.reasons.length;
  $("reasons").querySelector("ul").replaceChildren(...its.reasons.map((text) => make("li", text)));
  const box = its.outbox, room = its.storage;
  const used = room.max_bytes ? room.used_bytes / room.max_bytes : 0;
  $("fill").value = used;
  $("fill").textContent = Math.round(used * 100) + " %";
  const lost = Object.values(box.dropped).reduce((sum, n) => sum + n, 0);
  rows($("outbox"), [
    ["Used", `${bytes(room.used_bytes)} of ${bytes(room.max_bytes)}`],
    ["Waiting", `${box.pending} records`, box.pending > 1000 ? "warn" : ""],
    ["Oldest", box.pending ? span(box.oldest_pending_age_s) : "–"],
    ["Delivered", `${box.delivered} of ${box.produced}`],
    ["Lost", String(lost), lost ? "bad" : "good"],
    ["Pictures", bytes(box.blob_bytes)],
    ["Link", its.link.state + (its.link.broker ? " · " + its.link.broker : ""), tone(its.link.state)],
  ]);
  for (const name in its.pipelines) showUnit(name, its.pipelines[name]);
  const running = {};
  for (const name in its.pipelines) {
    const [model, rest = ""] = (its.pipelines[name].model || "").split("@");
    if (model) running[model] = { version: rest, state: its.pipelines[name].state };
  }
  const models = { ...running, ...((its.desired || {}).models || {}) };
  $("models").replaceChildren(...Object.keys(models).sort().map((name) => {
    const row = make("tr"), one = models[name];
    const state = one.state + (one.wanted && one.wanted !== one.version ? " → " + one.wanted : "") + (one.detail ? ": " + one.detail : "");
    row.append(make("td", name), make("td", one.version), make("td", state, tone(one.state)));
    return row;
  }));
}

/* --- pictures ----------------------------------------------------------------------------- */
const views = new Map();
const seen = new IntersectionObserver((entries) => entries.forEach((its) => { its.target.inSight = its.isIntersecting; }));

function addView(its) {
  const card = make("article", undefined, "view");
  const screen = make("div", undefined, "screen"), text = make("p", "waiting for a picture …", "soft");
  const figure = draw("svg", { role: "img", "aria-label": "present picture of " + its.pipeline });
  const head = make("div", undefined, "row"), state = make("span", "", "pill");
  const title = make("h3", its.pipeline), figures = make("p", "", "soft");
  const edit = make("button", "Zones …"), stop = make("button", "Stop");
  const because = make("button", "Why?");
  because.setAttribute("aria-label", "Why there is no event of " + its.pipeline);
  because.onclick = () => why(its.pipeline, "no event of " + its.pipeline);
  edit.type = stop.type = because.type = "button";
  edit.setAttribute("aria-label", "Draw zones of " + its.pipeline);
  edit.onclick = () => openEditor(its.pipeline);
  stop.onclick = () => order(its.pipeline);
  edit.hidden = true;
  figure.style.display = "none";
  screen.append(figure, text);
  head.append(title, state, make("span", undefined, "grow"), because, edit, stop);
  card.append(screen, head, figures);
  $("views").append(card);
  card.inSight = true;
  seen.observe(card);
  views.set(its.pipeline, { ...its, card, screen, text, figure, state, figures, edit, stop, busy: false });
}
function showUnit(name, its) {
  const view = views.get(name);
  if (!view) return;
  view.state.textContent = its.state;
  view.state.className = "pill " + tone(its.state);
  view.stop.hidden = !token;
  view.stop.textContent = its.state === "paused" ? "Start" : "Stop";
  const parts = [its.model, `${its.fps} fps`, its.age_p95_ms !== undefined ? `decides within ${its.age_p95_ms} ms (95 %)` : "", its.reason];
  view.figures.textContent = parts.filter(Boolean).join(" · ");
}
const points = (polygon, w, h) => polygon.map(([x, y]) => `${x * w},${y * h}`).join(" ");

function overlay(figure, told, view) {
  const w = told.width, h = told.height, unit = Math.max(w, h) / 400;
  figure.setAttribute("viewBox", `0 0 ${w} ${h}`);
  const parts = [draw("image", { href: told.picture, width: w, height: h })];
  for (const name in view.zones) {
    const [x, y] = view.zones[name][0];
    parts.push(draw("polygon", { class: "zone", points: points(view.zones[name], w, h) }),
      draw("text", { x: x * w + 4, y: y * h + 12 * unit }, name));
  }
  for (const name in view.lines) {
    const [[a, b], [c, d]] = view.lines[name];
    parts.push(draw("line", { class: "line", x1: a * w, y1: b * h, x2: c * w, y2: d * h }));
  }
  const plain = [];
  for (const its of told.predictions) {
    const says = [its.text || its.label || its.name, its.score !== undefined ? score(its) : its.value, its.track !== undefined ? "#" + its.track : ""].filter((s) => s !== undefined && s !== "").join(" ");
    for (const polygon of its.polygons || []) parts.push(draw("polygon", { class: "zone", points: points(polygon, w, h) }));
    if (its.box && Math.abs(told.seen - told.number) <= 3) {
      const [a, b, c, d] = its.box;
      parts.push(draw("rect", { class: "box", x: a * w, y: b * h, width: (c - a) * w, height: (d - b) * h }),
        // What stands at the right edge is written to the left, or its end would be cut off.
        draw("text", { x: (a > 0.6 ? Math.min(c, 1) : a) * w, y: Math.max(13 * unit, b * h - 4 * unit), "text-anchor": a > 0.6 ? "end" : "start" }, says));
    } else if (says) plain.push(says);
  }
  plain.slice(0, 5).forEach((says, n) => parts.push(draw("text", { x: 6 * unit, y: (n + 1) * 16 * unit }, says)));
  figure.replaceChildren(...parts);
  for (const text of figure.querySelectorAll("text")) { text.style.fontSize = 12 * unit + "px"; text.style.strokeWidth = 3 * unit + "px"; }
  const labels = told.predictions.map((its) => its.label).filter(Boolean);
  figure.setAttribute("aria-label", `present picture of ${view.pipeline}: ${labels.length ? labels.join(", ") : "nothing found"}`);
}
async function look(view) {
  if (view.busy || document.hidden || !view.card.inSight) return;
  view.busy = true;
  try {
    const told = await json("/api/views/" + encodeURIComponent(view.pipeline));
    view.told = told;
    view.figure.style.display = told.picture ? "" : "none";
    view.text.hidden = !!told.picture;
    view.edit.hidden = !told.picture;
    if (told.picture) overlay(view.figure, told, view);
    else {
      const says = told.predictions.map((its) => `${its.label || its.name || ""} ${its.value !== undefined ? its.value : score(its)}`);
      view.text.textContent = [told.withheld, ...says.slice(0, 4)].filter(Boolean).join(" · ");
    }
  } catch (error) { view.text.hidden = false; view.text.textContent = error.message; }
  finally { view.busy = false; }
}
async function order(name) {
  const view = views.get(name);
  try {
    await ask("/api/pipelines/" + encodeURIComponent(name), { method: "POST", body: JSON.stringify({ action: view.stop.textContent === "Start" ? "start" : "stop" }) });
    await refresh();
  } catch (error) { view.figures.textContent = error.message; }
}

/* --- events ------------------------------------------------------------------------------- */
const shown = new Map();
function addEvent(record) {
  const its = record.data || {}, id = its.id || record.seq;
  let row = shown.get(id);
  if (!row) {
    row = make("li");
    shown.set(id, row);
    $("events").prepend(row);
    $("no-events").hidden = true;
    while (shown.size > 100) { const first = shown.keys().next().value; shown.get(first).remove(); shown.delete(first); }
    row.began = record.at;
  }
  const picture = (record.blobs || []).find((blob) => /^image\//.test(blob.type || "image/"));
  if (picture && !row.picture) row.picture = picture.sha256;
  const text = make("div", undefined, "grow"), when = new Date(row.began);
  const title = `${its.label || "event"} ${score(its)}`.trim();
  const open = its.phase !== "end";
  text.append(make("b", title), make("div", [when.toLocaleString(), record.pipeline, (its.zones || []).join(", "), open ? "now" : "ended", its.picture === "withheld" ? "picture withheld" : ""].filter(Boolean).join(" · "), "soft"));
  const thumb = row.querySelector("button") || make("button", undefined, "thumb");
  thumb.type = "button";
  thumb.setAttribute("aria-label", row.picture ? "Show the picture of " + title : "No picture of " + title);
  thumb.disabled = !row.picture;
  if (row.picture && !thumb.firstChild) {
    evidence(row.picture).then((url) => {
      const image = make("img"); image.src = url; image.alt = ""; thumb.replaceChildren(image);
      thumb.onclick = () => { const box = $("large"); $("h-large").textContent = title; box.querySelector("img").src = url; box.querySelector("img").alt = title; $("download").href = url; $("download").download = row.picture.slice(0, 12) + ".jpg"; box.showModal(); };
    }, () => { row.picture = ""; thumb.disabled = true; });
  }
  const because = make("button", "Why?");
  because.type = "button";
  because.setAttribute("aria-label", "Why " + title);
  because.hidden = !its.id;
  because.onclick = () => why(its.id, title);
  row.replaceChildren(thumb, text, because);
}
async function evidence(sha) { return URL.createObjectURL(await (await ask("/api/evidence/" + sha)).blob()); }

async function follow() {
  let last = "";
  for (;;) {
    try {
      if (!last) {
        const told = await json("/api/events?last=50");
        told.events.forEach(addEvent);
        last = told.last;
      }
      const reply = await ask("/api/events/stream", { headers: { "Last-Event-ID": last } });
      const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const line = (name) => (block.split("\n").find((its) => its.startsWith(name + ": ")) || "").slice(name.length + 2);
          if (line("id")) { last = line("id"); addEvent(JSON.parse(line("data"))); }
        }
      }
    } catch { /* the device is away: `refresh` says so */ }
    await new Promise((done) => setTimeout(done, 2000));
  }
}

async function why(target, name) {
  $("h-because").textContent = "Why: " + name;
  $("sentence").textContent = "looking …";
  $("lines").replaceChildren();
  $("then").textContent = "";
  $("because").showModal();
  try {
    const told = await json("/api/why/" + encodeURIComponent(target));
    $("sentence").textContent = told.sentence;
    $("lines").replaceChildren(...(told.lines || []).map((text) => make("li", text)));
    $("then").textContent = told.remedy || "";
  } catch (error) { $("sentence").textContent = error.message; }
}

/* --- health ------------------------------------------------------------------------------- */
const history = new Map();
const PLOTS = [
  ["temperature_c", "Temperature", (v) => v.toFixed(1) + " °C", 100], ["load_1min", "Load", (v) => v.toFixed(2), 0],
  ["pss_bytes", "Memory of the agent", bytes, 0], ["memory_available_bytes", "Free memory", bytes, 0],
  ["pressure_cpu_percent", "Waiting for the processor", (v) => v.toFixed(0) + " %", 100],
  ["pressure_io_percent", "Waiting for disks", (v) => v.toFixed(0) + " %", 100], ["disk_free_bytes", "Free disk", bytes, 0],
];
function showHealth(told) {
  for (const [key, name, words, top] of PLOTS) {
    if (typeof told[key] !== "number") continue;
    let plot = history.get(key);
    if (!plot) {
      const box = make("div", undefined, "plot"), value = make("b"), figure = draw("svg", { viewBox: "0 0 119 48", preserveAspectRatio: "none", "aria-hidden": "true" }), curve = draw("polyline", {});
      figure.append(curve);
      box.append(make("div", name, "soft"), value, figure);
      $("plots").append(box);
      plot = { value, curve, values: [] };
      history.set(key, plot);
    }
    plot.values.push(told[key]);
    if (plot.values.length > 120) plot.values.shift();
    plot.value.textContent = words(told[key]);
    const most = Math.max(top, ...plot.values) || 1;
    plot.curve.setAttribute("points", plot.values.map((v, n) => `${119 * n / Math.max(1, plot.values.length - 1)},${46 - 44 * v / most}`).join(" "));
  }
}

/* --- doctor ------------------------------------------------------------------------------- */
$("examine").onclick = async () => {
  $("examined").textContent = "looking …";
  $("examine").disabled = true;
  try {
    const told = await json("/api/doctor");
    const order = ["failed", "problem", "warning", "note", "ok"], place = (its) => (order.indexOf(its.severity) + 1) || 9;
    const wrong = told.findings.filter((its) => !["ok", "note"].includes(its.severity));
    $("examined").textContent = `${told.findings.length} findings, ${wrong.length} to look at`;
    $("findings").replaceChildren(...told.findings.sort((a, b) => place(a) - place(b)).map((its) => {
      const box = make("div", undefined, "finding");
      box.append(make("b", its.severity + " ", its.severity === "ok" ? "good" : its.severity === "note" ? "" : its.severity === "warning" ? "warn" : "bad"), make("span", `${its.check}: ${its.what}`));
      if (its.remedy) box.append(make("div", its.remedy, "soft"));
      return box;
    }));
  } catch (error) { $("examined").textContent = error.message; }
  $("examine").disabled = false;
};

/* --- zones and masks ---------------------------------------------------------------------- */
const editor = { pipeline: "", corners: [], held: -1, w: 1, h: 1 };
function openEditor(name) {
  const view = views.get(name);
  if (!view.told || !view.told.picture) return;
  Object.assign(editor, { pipeline: name, corners: [], held: -1, w: view.told.width, h: view.told.height, picture: view.told.picture });
  $("h-editor").textContent = "Draw a zone or a mask: " + name;
  $("editor").showModal();
  sketch();
}
function sketch() {
  const { corners, w, h } = editor, view = views.get(editor.pipeline), figure = $("drawing"), r = Math.max(w, h) / 60;
  figure.setAttribute("viewBox", `0 0 ${w} ${h}`);
  figure.style.width = `min(100%, ${Math.round(5200 * w / h) / 100}vh)`;
  const parts = [draw("image", { href: editor.picture, width: w, height: h })];
  for (const name in view.zones) parts.push(draw("polygon", { class: "zone", points: points(view.zones[name], w, h) }));
  if (corners.length) parts.push(draw("polygon", { class: "draft", points: points(corners, w, h) }));
  corners.forEach(([x, y], n) => {
    const knob = draw("circle", { class: "knob" + (n === editor.held ? " held" : ""), cx: x * w, cy: y * h, r, tabindex: 0, role: "button", "data-corner": n, "aria-label": `corner ${n + 1}: ${Math.round(x * 100)} % from the left, ${Math.round(y * 100)} % from the top` });
    parts.push(knob);
  });
  const focus = document.activeElement && document.activeElement.getAttribute ? document.activeElement.getAttribute("data-corner") : null;
  figure.replaceChildren(...parts);
  if (focus !== null) { const again = figure.querySelector(`[data-corner="${focus}"]`); if (again) again.focus(); }
  const list = "[" + corners.map(([x, y]) => `[${+x.toFixed(3)}, ${+y.toFixed(3)}]`).join(", ") + "]";
  const zone = $("what").value === "zone", name = $("zone-name").value;
  $("named").hidden = !zone;
  const key = (text) => /^[A-Za-z0-9_-]+$/.test(text) ? text : JSON.stringify(text);
  if (corners.length < 3) $("stanza").value = "# three corners at least";
  else if (zone) $("stanza").value = `[pipelines.${key(editor.pipeline)}.zones.${key(name)}]\npolygon = ${list}`;
  else $("stanza").value = `# in [sources.${key(view.source)}]\nmask = [${[...view.mask.map((its) => JSON.stringify(its)), list].join(", ")}]`;
}
function place(event) {
  const box = $("drawing").getBoundingClientRect(), clip = (v) => Math.min(1, Math.max(0, v));
  return [clip((event.clientX - box.left) / box.width), clip((event.clientY - box.top) / box.height)];
}
$("drawing").onpointerdown = (event) => {
  const corner = event.target.getAttribute("data-corner");
  if (corner !== null) editor.held = +corner;
  else { editor.corners.push(place(event)); editor.held = editor.corners.length - 1; }
  $("drawing").setPointerCapture(event.pointerId);
  sketch();
};
$("drawing").onpointermove = (event) => { if (editor.held >= 0 && event.buttons) { editor.corners[editor.held] = place(event); sketch(); } };
$("drawing").onpointerup = () => { editor.held = -1; sketch(); };
$("drawing").onkeydown = (event) => {
  const corner = event.target.getAttribute("data-corner"), step = event.shiftKey ? 0.05 : 0.01;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (event.key === "Enter") editor.corners.push([0.5, 0.5]);
  else if (corner === null) return;
  else if (event.key === "Delete" || event.key === "Backspace") editor.corners.splice(+corner, 1);
  else if (moves[event.key]) editor.corners[+corner] = editor.corners[+corner].map((v, n) => Math.min(1, Math.max(0, v + moves[event.key][n])));
  else return;
  event.preventDefault();
  sketch();
};
$("undo").onclick = () => { editor.corners.pop(); sketch(); };
$("what").onchange = $("zone-name").oninput = sketch;
$("copy").onclick = async () => {
  $("stanza").select();
  try { await navigator.clipboard.writeText($("stanza").value); $("copied").textContent = "Copied. Paste it into agent.toml, then: edgeagent config check"; }
  catch { $("copied").textContent = "Marked: copy it with Ctrl+C."; }
};

/* --- token, dialogs, the clock of all ------------------------------------------------------- */
$("enter").onclick = () => { $("token").value = token; $("token-box").showModal(); };
$("token-box").onclose = () => {
  token = $("token-box").returnValue === "use" ? $("token").value.trim() : $("token-box").returnValue === "forget" ? "" : token;
  sessionStorage.setItem("token", token);
  refresh();
};
for (const button of document.querySelectorAll("[data-close]")) button.onclick = () => button.closest("dialog").close();

async function refresh() {
  try {
    if (!views.size) (await json("/api/views")).forEach(addView);
    showStatus(await json("/api/status"));
  } catch (error) {
    if ($("state").textContent !== "needs the token") $("state").textContent = "does not answer";
    $("state").className = "pill bad";
    $("about").textContent = error.message;
  }
}
function every(seconds, work) {
  const turn = async () => { try { if (!document.hidden) await work(); } catch { /* `refresh` tells */ } setTimeout(turn, seconds * 1000); };
  turn();
}
every(2, refresh);
every(5, async () => showHealth(await json("/api/health")));
every(1, () => Promise.all([...views.values()].map(look)));
follow();
