"use strict";

// Tables: a click on a header sorts by its column, a second one the other way round; empty cells stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const numeric = head.dataset.sort === "number";
    const before = head.getAttribute("aria-sort");
    const down = before === "none" ? numeric : before === "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => {
      const cell = row.cells[column];
      return (cell.dataset.value ?? cell.textContent).trim();
    };
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
      const order = numeric ? x - y : x.localeCompare(y, "en", {numeric: true});
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows);
  }));
}

// Panels of a task become tabs; without this script they stand one below the other.
for (const group of document.querySelectorAll(".panels")) {
  const panels = [...group.children];
  if (panels.length < 2) continue;
  const list = document.createElement("div");
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", group.parentElement.querySelector("h2").textContent);
  const levels = new Map();  // a line for each level where a level has several sets
  for (const {dataset: {level}} of panels) levels.set(level, (levels.get(level) ?? 0) + 1);
  const grouped = levels.size > 1 && Math.max(...levels.values()) > 1;
  const lines = new Map();
  function line(level) {
    if (!grouped) return list;
    if (!lines.has(level)) {
      const made = document.createElement("div");
      const name = document.createElement("span");
      name.textContent = level;
      made.className = "level";
      made.setAttribute("role", "presentation");
      made.append(name);
      lines.set(level, made);
      list.append(made);
    }
    return lines.get(level);
  }
  const tabs = panels.map(panel => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.setAttribute("role", "tab");
    tab.id = `tab-${panel.id}`;
    tab.setAttribute("aria-controls", panel.id);
    tab.textContent = grouped ? panel.dataset.set : panel.querySelector("h3").textContent;
    if (grouped) tab.setAttribute("aria-label", panel.querySelector("h3").textContent);
    line(panel.dataset.level).append(tab);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    panel.addEventListener("show", () => select(tab));
    tab.addEventListener("click", () => select(tab));
    return tab;
  });
  function select(chosen) {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      panels[i].hidden = tab !== chosen;
    });
  }
  list.addEventListener("keydown", event => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    select(next);
    next.focus();
  });
  group.before(list);
  select(tabs[0]);
}

// A link opens what it leads to: a panel behind a tab, or details that are closed.
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  target.dispatchEvent(new Event("show"));
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", open);
addEventListener("click", event => {  // on the link of the place that one is at
  if (event.target.closest("a[href^='#']")?.hash === location.hash && location.hash) open();
});
if (location.hash) open();

// The slider over two layers: keys move the range, a pointer or a finger sets it to where it is.
for (const layers of document.querySelectorAll(".layers")) {
  const range = layers.querySelector("input");
  const show = () => layers.style.setProperty("--split", `${range.value}%`);
  const follow = event => {
    const box = layers.getBoundingClientRect();
    range.value = 100 * (event.clientX - box.left) / box.width;
    show();
  };
  range.addEventListener("input", show);
  layers.addEventListener("pointerdown", event => {
    layers.setPointerCapture(event.pointerId);
    range.focus({preventScroll: true});
    follow(event);
  });
  layers.addEventListener("pointermove", event => {
    if (layers.hasPointerCapture(event.pointerId)) follow(event);
  });
  show();
}

// The legend hides and shows the curves of a run in all plots.
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    for (const curve of document.querySelectorAll(`.curves .curve[data-run="${button.dataset.run}"]`)) {
      curve.toggleAttribute("hidden", !on);
    }
  });
}

// Pointing into a plot of curves tells the value of the nearest one.
for (const plot of document.querySelectorAll("figure.curves")) {
  const svg = plot.querySelector("svg"), told = plot.querySelector("output"), cursor = plot.querySelector(".cursor");
  const columns = JSON.parse(svg.dataset.columns), rows = JSON.parse(svg.dataset.rows);
  const value = (axis, place) => {
    const inner = axis.low + (place - axis.start) / (axis.end - axis.start) * (axis.high - axis.low);
    return axis.log ? 10 ** inner : inner;
  };
  const curves = [...svg.querySelectorAll(".curve")].map(path => ({
    path, points: path.getAttribute("d").slice(1).split("L").map(point => point.split(",").map(Number)),
  }));
  svg.addEventListener("pointermove", event => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let best = null;
    for (const {path, points} of curves) {
      if (path.hasAttribute("hidden")) continue;
      for (const [x, y] of points) {
        const distance = Math.abs(x - at.x) + Math.abs(y - at.y) / 4;
        if (!best || distance < best.distance) best = {distance, x, y, name: path.dataset.name};
      }
    }
    if (!best) return;
    cursor.setAttribute("d", `M${best.x} ${rows.end}V${rows.start}`);
    told.textContent = `${best.name}: step ${Math.round(value(columns, best.x))}, ${value(rows, best.y).toPrecision(3)}`;
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("d", "");
    told.textContent = "";
  });
}
