"use strict";
// Of 20,000 pictures only those in sight and a few screens around them are elements of the page. A file opened from a disk
// may load pictures and scripts, but fetch nothing: the table is two scripts, of which origins.js comes after the first drawing.

const { title, about, columns } = window.PICTURES;
const COUNT = columns.id.length;
const CELL = { width: 162, height: 218 }; // pixels, with the gap; browse.css has the cell itself
const [AHEAD, BEHIND] = [3, 1]; // screens kept ready on the way and on the way back, once those in sight are drawn
const CHOICES = { side: "side", source: "source", label: "mask", review: "verdict", left_out: "left out", flags: "flag", licence: "licence" };
const ORDERS = { id: "id", doubt: "most doubtful first", source: "source and name", cluster: "look-alikes together" };

const at = (id) => document.getElementById(id);
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
// A column of few words is { words, of }: the words, and for each picture which of them.
const value = (name, row) => (columns[name]?.words ? columns[name].words[columns[name].of[row]] : columns[name]?.[row] ?? "");
const thumbnail = (row, suffix) => `thumbnails/${columns.id[row].slice(0, 2)}/${columns.id[row]}.${suffix}`;
const percent = (number) => (number === null ? "" : number.toFixed(2));

const filters = at("filters");
const scroller = at("scroller");
const grid = at("grid");
const detail = at("detail");
let shown = []; // rows, in order
let chosen = 0; // a place in `shown`
let across = 1; // cells in a line
let seen = false; // whether those in sight were drawn once
let way = { top: 0, down: true }; // pixels, and the way that one scrolled there
const cells = new Map(); // by place
const spare = [];

function main() {
  document.title = title;
  at("title").textContent = title;
  at("about").textContent = about;
  makeFilters();
  readAddress();
  select();
  filters.addEventListener("input", () => { writeAddress(); select(); });
  filters.addEventListener("submit", (event) => event.preventDefault());
  scroller.addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(lay).observe(scroller);
  grid.addEventListener("click", (event) => {
    const cell = event.target.closest(".cell");
    if (cell) { choose(cell.place); open(); }
  });
  at("all").addEventListener("click", showAll);
  detail.addEventListener("click", (event) => { if (event.target === detail) detail.close(); });
  // The event comes late: who went to a field since then stays there.
  detail.addEventListener("close", () => { if (!filters.contains(document.activeElement)) scroller.focus(); });
  document.addEventListener("keydown", press);
  scroller.focus();
  requestAnimationFrame(() => setTimeout(finish));
}

// What can wait until something is to be seen.
function finish() {
  seen = true;
  draw();
  document.head.append(element("script", { src: "origins.js", onload: join }));
}

// What is known of the pictures beside what they are filtered by.
function join() {
  Object.assign(columns, window.ORIGINS);
  if (filters.elements.text.value || filters.elements.order.value !== "id") select();
}

// Filters

function makeFilters() {
  for (const [name, words] of Object.entries(CHOICES)) {
    const counts = new Map();
    const count = (text, more) => wordsOf(name, text).forEach((word) => counts.set(word, (counts.get(word) || 0) + more));
    if (columns[name].words) {
      const each = new Array(columns[name].words.length).fill(0);
      for (const number of columns[name].of) each[number]++;
      columns[name].words.forEach((text, number) => count(text, each[number]));
    } else columns[name].forEach((text) => count(text, 1));
    if (counts.size < 2 && name !== "side") continue;
    const options = [...counts].sort(([one], [other]) => (one < other ? -1 : 1));
    const list = element("select", { name }, element("option", { value: "", textContent: "all" }));
    for (const [word, count] of options) {
      list.append(element("option", { value: `=${word}`, textContent: `${word || "none"} (${count.toLocaleString("en")})` }));
    }
    filters.append(element("label", {}, words, list));
  }
  for (const [name, words] of [["from", "doubt from"], ["to", "to"]]) {
    filters.append(element("label", {}, words, element("input", { name, type: "number", min: 0, max: 1, step: 0.05 })));
  }
  filters.append(element("label", {}, "id, name, author or address", element("input", { name: "text", type: "search" })));
  const orders = Object.entries(ORDERS).map(([name, words]) => element("option", { value: name, textContent: words }));
  filters.append(element("label", {}, "order", element("select", { name: "order" }, ...orders)));
  filters.append(element("label", { className: "tick" }, element("input", { name: "masks", type: "checkbox", checked: true }), "masks"));
}

// The words that a filter goes by; a picture may have several flags, or none.
function wordsOf(name, text) {
  return name === "flags" && text ? text.split(" ") : [text];
}

function select() {
  const form = new FormData(filters);
  const wanted = Object.keys(CHOICES).filter((name) => form.get(name)).map((name) => [name, form.get(name).slice(1)]);
  const number = (name) => (form.get(name) ? Number(form.get(name)) : null);
  const [from, to, text] = [number("from"), number("to"), form.get("text").trim().toLowerCase()];
  const rows = [];
  for (let row = 0; row < COUNT; row++) {
    const doubt = columns.uncertainty[row];
    if (!wanted.every(([name, word]) => wordsOf(name, value(name, row)).includes(word))) continue;
    if ((from !== null && !(doubt !== null && doubt >= from)) || (to !== null && !(doubt !== null && doubt <= to))) continue;
    if (text && !["id", "source_key", "author", "url"].some((name) => value(name, row).toLowerCase().includes(text))) continue;
    rows.push(row);
  }
  shown = ordered(rows, form.get("order"));
  chosen = 0;
  scroller.classList.toggle("bare", !form.get("masks"));
  at("count").textContent = `${shown.length.toLocaleString("en")} of ${COUNT.toLocaleString("en")} pictures`;
  at("nothing").hidden = shown.length > 0;
  scroller.scrollTop = 0;
  lay();
}

function ordered(rows, order) {
  const text = (names) => (one, other) => {
    for (const name of names) {
      const [a, b] = [value(name, one), value(name, other)];
      if (a !== b) return a < b ? -1 : 1;
    }
    return one - other;
  };
  if (order === "doubt") return rows.sort((one, other) => (columns.uncertainty[other] ?? -1) - (columns.uncertainty[one] ?? -1) || one - other);
  if (order === "source") return rows.sort(text(["source", "source_key"]));
  if (order === "cluster") return rows.sort(text(["cluster"]));
  return rows;
}

function showAll() {
  filters.reset();
  writeAddress();
  select();
  scroller.focus();
}

// What is chosen stands in the address, so that it can be kept and sent.
function writeAddress() {
  const kept = [...new FormData(filters)].filter(([name, word]) => word && !(name === "order" && word === "id") && name !== "masks");
  history.replaceState(null, "", kept.length ? `#${new URLSearchParams(kept)}` : location.pathname);
}

function readAddress() {
  for (const [name, word] of new URLSearchParams(location.hash.slice(1))) {
    const field = filters.elements[name];
    if (field) field.value = word;
    if (field && field.value !== word) field.value = "";
  }
}

// The grid

function lay() {
  across = Math.max(1, Math.floor((scroller.clientWidth - 40 + 12) / CELL.width));
  grid.style.height = `${Math.ceil(shown.length / across) * CELL.height + 12}px`;
  for (const place of [...cells.keys()]) put(place);
  draw();
}

function draw() {
  const [top, height] = [scroller.scrollTop, scroller.clientHeight];
  if (top !== way.top) way = { top, down: top > way.top || top <= 0 };
  const [above, below] = !seen ? [0, 0] : way.down ? [BEHIND, AHEAD] : [AHEAD, BEHIND];
  const first = Math.max(0, Math.floor((top - above * height) / CELL.height)) * across;
  const last = Math.min(shown.length, Math.ceil((top + (1 + below) * height) / CELL.height) * across);
  for (const place of [...cells.keys()]) if (place < first || place >= last) put(place);
  const inSight = Math.floor(top / CELL.height) * across; // from here on first
  for (let place = inSight; place < last; place++) if (!cells.has(place)) take(place);
  for (let place = Math.min(inSight, last) - 1; place >= first; place--) if (!cells.has(place)) take(place);
}

function take(place) {
  const cell = spare.pop() || element("div", { className: "cell" }, element("img", { className: "picture", alt: "" }), element("img", { className: "mask", alt: "" }), element("span"));
  const row = shown[place];
  const [picture, mask, caption] = cell.children;
  cell.place = place;
  cell.id = `cell-${place}`;
  cell.setAttribute("role", "option");
  cell.setAttribute("aria-selected", place === chosen);
  cell.style.transform = `translate(${(place % across) * CELL.width}px, ${Math.floor(place / across) * CELL.height + 12}px)`;
  picture.src = thumbnail(row, "jpg");
  mask.src = thumbnail(row, "png");
  const doubt = columns.uncertainty[row];
  const words = [value("side", row) || "outside", value("review", row) || value("label", row)];
  caption.textContent = [...words, percent(doubt)].filter(Boolean).join(" · ");
  cell.title = [columns.id[row], ...words, doubt === null ? "" : `doubt ${percent(doubt)}`, value("left_out", row)].filter(Boolean).join(", ");
  cells.set(place, cell);
  grid.append(cell);
}

function put(place) {
  const cell = cells.get(place);
  cell.remove();
  // A new picture in an old element would show the old one until it is there.
  cell.children[0].removeAttribute("src");
  cell.children[1].removeAttribute("src");
  cells.delete(place);
  spare.push(cell);
}

// One picture

function choose(place) {
  if (!shown.length) return;
  cells.get(chosen)?.setAttribute("aria-selected", false);
  chosen = Math.min(Math.max(place, 0), shown.length - 1);
  const top = Math.floor(chosen / across) * CELL.height;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  if (top + CELL.height + 12 > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + CELL.height + 12 - scroller.clientHeight;
  draw();
  cells.get(chosen).setAttribute("aria-selected", true);
  scroller.setAttribute("aria-activedescendant", `cell-${chosen}`);
  if (detail.open) open();
}

function open() {
  if (!shown.length) return;
  const row = shown[chosen];
  const file = (name) => value(name, row).split("/").map(encodeURIComponent).join("/");
  load(at("whole"), file("image"), thumbnail(row, "jpg"));
  load(at("under"), file("image"), thumbnail(row, "jpg"));
  at("cut").classList.remove("small");
  load(at("over"), file("mask"), thumbnail(row, "png"), () => at("cut").classList.add("small"));
  at("facts").replaceChildren(...facts(row).flatMap(([name, text]) => [element("dt", { textContent: name }), element("dd", {}, text)]));
  if (!detail.open) detail.showModal();
}

// The original where it still lies beside, else its thumbnail.
function load(image, first, second, then = () => {}) {
  image.onerror = () => { image.onerror = null; image.src = second; then(); };
  image.src = first;
}

// The ids of the other pictures of its cluster.
function lookAlikes(row) {
  const cluster = value("cluster", row);
  return cluster ? columns.id.filter((id, other) => other !== row && value("cluster", other) === cluster) : [];
}

function facts(row) {
  const url = value("url", row);
  const link = /^https?:\/\//i.test(url) ? element("a", { href: url, textContent: url, target: "_blank", rel: "noreferrer noopener" }) : url;
  const box = value("crop_box", row);
  return [
    ["id", columns.id[row]],
    ["side", value("side", row) || `none, left out: ${value("left_out", row)}`],
    ["mask", value("label", row)],
    ["verdict", value("review", row)],
    ["doubt", percent(columns.uncertainty[row])],
    ["flags", value("flags", row)],
    ["size", `${columns.width[row]} x ${columns.height[row]} pixels`],
    ["source", `${value("source", row)}: ${value("source_key", row)}`],
    ["cut out of", box ? `${value("parent_id", row)} at ${box}` : ""],
    ["licence", value("licence", row)],
    ["author", value("author", row)],
    ["address", link],
    ["retrieved", value("retrieved_at", row)],
    ["teacher", value("teacher", row)],
    ["look-alikes", lookAlikes(row).join(" ")],
  ].filter(([, text]) => text !== "");
}

// Keys

function press(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const writing = event.target.closest("input:not([type=checkbox]), select");
  if (writing) {
    if (event.key === "Escape") { event.preventDefault(); scroller.focus(); }
    return;
  }
  const screen = Math.max(1, Math.floor(scroller.clientHeight / CELL.height)) * across;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, PageDown: screen, PageUp: -screen, Home: -COUNT, End: COUNT };
  const keys = {
    Enter: () => (detail.open ? detail.close() : open()),
    " ": () => (detail.open ? detail.close() : open()),
    m: () => { filters.elements.masks.checked = !filters.elements.masks.checked; scroller.classList.toggle("bare", !filters.elements.masks.checked); },
    r: () => { if (!detail.open) showAll(); },
    "/": () => { if (!detail.open) filters.elements.text.focus(); },
  };
  const action = event.key in steps ? () => choose(chosen + steps[event.key]) : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || event.target.closest("a, button, input")) return;
  event.preventDefault();
  action();
}

main();
