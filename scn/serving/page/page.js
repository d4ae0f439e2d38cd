"use strict";

const $ = (id) => document.getElementById(id);
const POLL_MS = 400;
const photographs = []; // {file, item, width, height, url, state, job, told}
const owner = sessionStorage.owner ||= crypto.getRandomValues(new Uint32Array(4)).join("-");
const TASKS = { dn: "Noise", car: "JPEG artifacts", sr: "Low resolution" };
const LEVELS = { dn: (level) => `sigma ${level}`, car: (level) => `quality ${level}`, sr: (level) => `× ${level}` };
const HEADERS = { "X-SCN": "page" };
const active = (photograph) => ["uploading", "queued", "running"].includes(photograph.state);
let about = { models: [], formats: [], lossy: [], upload_mib: 0, megapixels: 0 };

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw Object.assign(new Error("The program behind this page does not answer: start `scn serve` again."), { away: true });
  }
  if (answer.status === 204) return null;
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(content.error || `Error ${answer.status}.`), { status: answer.status, after: answer.headers.get("Retry-After") });
  return content;
}

const isLossy = () => about.lossy.includes($("format").value);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const time = (s) => (s < 1.5 ? "a second" : s < 90 ? `${Math.round(s)} seconds` : s < 5400 ? `${Math.round(s / 60)} minutes` : `${(s / 3600).toFixed(1)} hours`);
const tell = (text) => { $("told").textContent = text; };

function wanted() {
  const model = [$("model").value, $("then").value].filter(Boolean).join(",");
  const query = new URLSearchParams({ model, strength: $("strength").value / 100, format: $("format").value });
  if ($("chroma").checked) query.set("chroma", "keep");
  if (isLossy()) query.set("quality", $("quality").value);
  if ($("ensemble").checked) query.set("self_ensemble", "true");
  if ($("factor").value) query.set("factor", $("factor").value);
  return query;
}

// What can be chosen

function option(value, text) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  return made;
}

async function begin() {
  try {
    about = await ask("/api/about");
  } catch (error) {
    return tell(error.message);
  }
  $("limits").textContent = `, of up to ${about.upload_mib} MiB`;
  const models = about.models.filter((model) => TASKS[model.task]);
  if (models.some((model) => model.task !== "sr")) $("model").append(option("auto", "Choose for me"));
  for (const task of Object.keys(TASKS)) {
    const found = models.filter((model) => model.task === task).sort((a, b) => a.level - b.level);
    if (!found.length) continue;
    const group = document.createElement("optgroup");
    group.label = TASKS[task];
    for (const model of found) group.append(option(model.reference, `${TASKS[task]}, ${LEVELS[task](model.level)}`));
    $("model").append(group);
    $("then").append(group.cloneNode(true));
  }
  $("format").append(option("same", "the photograph's format"));
  for (const name of about.formats) $("format").append(option(name, name.toUpperCase()));
  $("format").value = "png";
  estimate();
  for (const { id, name } of JSON.parse(sessionStorage.jobs || "[]")) { // of before the page was loaded again
    const job = await ask(`/api/jobs/${id}`).catch(() => null);
    if (job) take(enter({ name, size: 0 }), job);
  }
  remember();
}

function remember() {
  sessionStorage.jobs = JSON.stringify(photographs.filter(({ job }) => job).map(({ job, file }) => ({ id: job.id, name: file.name })));
}

// Photographs that are chosen

// A photograph in the list, of a file or of what is known of one that this page does not have any more.
function enter(file) {
  const item = $("photograph").content.cloneNode(true).querySelector("li");
  const photograph = { file, item, state: "ready", url: file instanceof File ? URL.createObjectURL(file) : "", width: 0, height: 0, told: "" };
  item.querySelector(".name").textContent = file.name;
  const thumb = item.querySelector(".thumb");
  if (photograph.url) {
    thumb.onload = () => { photograph.width = thumb.naturalWidth; photograph.height = thumb.naturalHeight; estimate(); show(photograph); };
    thumb.onerror = async () => { // TIFF, say: the program reads it all the same
      thumb.removeAttribute("src");
      Object.assign(photograph, await sizeOf(file).catch(() => null));
      estimate();
      show(photograph);
    };
    thumb.src = photograph.url;
  }
  item.querySelector(".remove").onclick = () => remove(photograph);
  item.querySelector(".again").onclick = () => start([photograph]);
  item.querySelector(".compare").onclick = () => compare(photograph);
  photographs.push(photograph);
  $("photographs").append(item);
  return photograph;
}

function add(files) {
  for (const file of files) show(enter(file));
  if (files.length) tell(`${files.length} photograph${files.length > 1 ? "s" : ""} added.`);
}

async function remove(photograph) {
  const { job } = photograph;
  if (active(photograph)) {
    photograph.state = "ready";
    photograph.job = null;
    photograph.upload?.abort();
    show(photograph);
    tell(`${photograph.file.name} was cancelled.`);
  } else {
    const next = photograph.item.nextElementSibling || photograph.item.previousElementSibling;
    photographs.splice(photographs.indexOf(photograph), 1);
    photograph.item.remove();
    URL.revokeObjectURL(photograph.url);
    (next?.querySelector(".remove") || $("files")).focus();
    tell(`${photograph.file.name} was removed.`);
    buttons();
  }
  remember();
  if (job) await ask(`/api/jobs/${job.id}`, { method: "DELETE", headers: HEADERS }).catch(() => {});
}

function state(photograph) {
  const { job, width, height } = photograph;
  const size = width ? `${width} × ${height} pixels` : `${(photograph.file.size / 1e6).toFixed(1)} MB`;
  const left = job?.seconds_left == null ? "" : `, ${time(job.seconds_left)} left`;
  switch (photograph.state) {
    case "ready": return size + (photograph.seconds ? `, takes about ${time(photograph.seconds)}` : "");
    case "uploading": return photograph.told || "is being read";
    case "queued": return `waits, ${job.ahead} before it${left}`;
    case "running": return `is being restored${left}`;
    case "done": return `${job.result_width} × ${job.result_height} pixels by ${job.by} in ${time(job.seconds)}${job.message ? `; ${job.message}` : ""}`;
    default: return photograph.told;
  }
}

function show(photograph) {
  const { item, job } = photograph;
  const part = (name) => item.querySelector(name);
  item.className = `photograph ${photograph.state}`;
  part(".state").textContent = state(photograph);
  part("progress").hidden = !active(photograph);
  part("progress").setAttribute("aria-label", `Progress of ${photograph.file.name}`);
  if (photograph.state === "running") part("progress").value = job.progress;
  else part("progress").removeAttribute("value");
  const done = photograph.state === "done";
  part(".compare").hidden = part(".download").hidden = !done;
  part(".again").hidden = !photograph.url || !["failed", "nothing"].includes(photograph.state);
  part(".remove").textContent = active(photograph) ? "Cancel" : "Remove";
  for (const name of [".compare", ".download", ".again", ".remove"]) part(name).setAttribute("aria-label", `${part(name).textContent} ${photograph.file.name}`);
  if (done) {
    part(".download").href = `/api/jobs/${job.id}/result`;
    part(".download").download = job.result_name;
    if (!part(".thumb").src) part(".thumb").src = `/api/jobs/${job.id}/after.png`;
  }
  buttons();
}

function buttons() {
  const ready = photographs.filter((photograph) => photograph.state === "ready").length;
  $("start").disabled = !ready;
  $("start").textContent = ready > 1 ? `Restore ${ready} photographs` : "Restore";
  const seconds = photographs.filter((photograph) => photograph.state === "ready" && photograph.seconds).map((photograph) => photograph.seconds);
  $("cost").textContent = seconds.length ? `about ${time(seconds.reduce((a, b) => a + b))}` : "";
}

let estimating = 0;
async function estimate() {
  const turn = ++estimating;
  await wait(50); // several photographs are added at once
  const asked = photographs.filter((photograph) => photograph.state === "ready" && photograph.width).slice(0, 200);
  if (turn !== estimating || !asked.length) return;
  const query = wanted();
  for (const { width, height } of asked) query.append("pixels", width * height);
  try {
    const { seconds } = await ask(`/api/estimate?${query}`, { headers: HEADERS });
    if (turn !== estimating) return;
    asked.forEach((photograph, number) => { photograph.seconds = seconds[number]; show(photograph); });
    if (seconds.includes(null)) { await wait(2000); if (turn === estimating) estimate(); }
  } catch { // is told when it is started
  }
}

// Restoring

const turns = []; // {photograph, query, upload}: "Restore" was pressed for these, with the settings of that moment
let sending = false;
async function start(chosen = photographs.filter((photograph) => photograph.state === "ready")) {
  const query = String(wanted());
  for (const photograph of chosen) {
    const upload = new AbortController();
    Object.assign(photograph, { state: "uploading", told: "waits to be read", job: null, upload });
    show(photograph);
    turns.push({ photograph, query, upload });
  }
  if (sending) return; // what was chosen before goes first
  sending = true;
  for (let next; (next = turns.shift());) await send(next);
  sending = false;
}

async function send({ photograph, query: settings, upload: { signal } }) {
  const query = new URLSearchParams(settings);
  query.set("name", photograph.file.name);
  query.set("owner", owner);
  while (!signal.aborted) { // its state does not say that it was cancelled: it may have been started again since
    photograph.told = "";
    show(photograph);
    try {
      const job = await ask(`/api/jobs?${query}`, { method: "POST", headers: HEADERS, body: photograph.file, signal });
      if (!signal.aborted) {
        take(photograph, job);
        remember();
      } else ask(`/api/jobs/${job.id}`, { method: "DELETE", headers: HEADERS }).catch(() => {}); // was cancelled meanwhile
      return;
    } catch (error) {
      if (signal.aborted) return;
      if (error.status !== 503) return fail(photograph, error.message);
      photograph.told = "waits for room in the queue";
      show(photograph);
      await wait(1000 * (error.after || 5));
    }
  }
}

function take(photograph, job) {
  Object.assign(photograph, { job, state: job.state, told: job.message, width: job.width, height: job.height });
  show(photograph);
  if (job.state === "done") tell(`${photograph.file.name} is restored.`);
  if (job.state === "failed" || job.state === "nothing") tell(`${photograph.file.name}: ${job.message}`);
}

function fail(photograph, message) {
  Object.assign(photograph, { state: "failed", told: message });
  show(photograph);
  tell(message);
}

async function poll() {
  for (;;) {
    for (const photograph of photographs.filter((each) => active(each) && each.job)) {
      const { job } = photograph;
      try {
        const now = await ask(`/api/jobs/${job.id}`);
        if (photograph.job === job) take(photograph, now);
      } catch (error) {
        if (photograph.job === job && !error.away) fail(photograph, error.message);
        else if (error.away) tell(error.message);
      }
    }
    await wait(POLL_MS);
  }
}

// Before and after

let whole = false;
function compare(photograph) {
  const { job } = photograph;
  $("viewer-name").textContent = job.result_name;
  $("viewer").showModal();
  for (const which of ["before", "after"]) {
    $(which).src = `/api/jobs/${job.id}/${which}.png`;
    $(which).onload = place;
  }
  $("viewer").dataset.width = job.result_width;
  $("viewer").dataset.height = job.result_height;
  zoom(false);
  $("split").value = 50;
  $("split").focus();
}

function zoom(fit) {
  whole = fit;
  $("zoom").textContent = fit ? "1:1" : "Fit";
  const { width, height } = $("viewer").dataset;
  const pixel = 1 / devicePixelRatio; // one pixel of the photograph is one of the screen
  const most = Math.min($("scroller").clientWidth / width, $("scroller").clientHeight / height);
  const factor = fit ? Math.min(pixel, most) : pixel;
  for (const which of ["before", "after"]) {
    $(which).style.width = `${width * factor}px`;
    $(which).style.height = `${height * factor}px`;
  }
  $("scroller").scrollLeft = (width * factor - $("scroller").clientWidth) / 2;
  $("scroller").scrollTop = (height * factor - $("scroller").clientHeight) / 2;
  place();
}

function place() {
  const frame = $("frame").getBoundingClientRect();
  const stack = $("stack").getBoundingClientRect();
  const x = (frame.width * $("split").value) / 100;
  $("divider").style.left = `${x}px`;
  $("after").style.clipPath = `inset(0 0 0 ${Math.max(0, frame.left + x - stack.left)}px)`;
}

function drag(event) {
  const frame = $("frame").getBoundingClientRect();
  $("split").value = (100 * (event.clientX - frame.left)) / frame.width;
  place();
}

$("split").oninput = place;
$("scroller").onscroll = place;
addEventListener("resize", () => $("viewer").open && zoom(whole));
$("zoom").onclick = () => zoom(!whole);
$("close").onclick = () => $("viewer").close();
$("divider").onpointerdown = (event) => { $("divider").setPointerCapture(event.pointerId); $("divider").onpointermove = drag; };
$("divider").onpointerup = () => { $("divider").onpointermove = null; };

$("files").onchange = () => { add($("files").files); $("files").value = ""; };
for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) addEventListener(name, () => $("drop").classList.remove("over"));
addEventListener("drop", (event) => { event.preventDefault(); add(event.dataTransfer.files); });
addEventListener("paste", (event) => add(event.clipboardData.files));
$("settings").onsubmit = (event) => { event.preventDefault(); start(); };
$("settings").onchange = estimate;
$("format").onchange = () => { $("of-lossy").hidden = !isLossy(); };
$("quality").oninput = () => { $("quality-shown").textContent = $("quality").value; };
$("strength").oninput = () => { $("strength-shown").textContent = `${$("strength").value} %`; };
addEventListener("beforeunload", (event) => { if (photographs.some(({ state }) => ["ready", "uploading"].includes(state))) event.preventDefault(); });

begin();
poll();
