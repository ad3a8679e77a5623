// SPDX-License-Identifier: GPL-2.0-or-later
// Elements, numbers as the terminal has them, and what is packed. Every text becomes a text node; nothing is parsed as
// HTML.

const index = JSON.parse(document.getElementById("index").textContent);
const numberOf = new Map(index.cases.map((one, number) => [one.id, number]));
const marks = { ok: "✓", bad: "✗", none: "–" };
const dark = matchMedia("(prefers-color-scheme: dark)");
const sections = ["overview", "case", "matrix"].map((id) => document.getElementById(id));

// Elements

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function makeTable(heads, rows, attributes) {
  const cell = (tag, content, extra) => make(tag, extra, content);
  const body = rows.map((row) =>
    make("tr", {}, row.map((content, at) => cell("td", content, { class: heads[at][1] }))));
  const head = make("tr", {}, heads.map(([text, kind]) => cell("th", text, { scope: "col", class: kind })));
  return make("div", { class: "scroll" }, make("table", attributes, make("thead", {}, head), make("tbody", {}, body)));
}

function makeList(pairs) {
  return make("dl", {}, pairs.filter(([, text]) => text && text.length !== 0)
    .map(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
}

function makeChoice(label, names, chosen, change) {
  const options = names.map((name) => make("option", { value: name, selected: name === chosen }, name));
  const select = make("select", { change: () => change(select.value) }, options);
  return make("label", {}, label + " ", select);
}

const mark = (kind, text) => make("span", { class: `mark ${kind}` }, text);
const caseLink = (id, ...text) => make("a", { href: "#case/" + encodeURIComponent(id) }, ...(text.length ? text : [id]));

// Numbers, as the terminal has them

function showSeconds(value) {
  if (Math.abs(value) >= 1) return value.toFixed(2) + " s";
  return Math.abs(value) >= 0.001 ? (value * 1e3).toFixed(1) + " ms" : (value * 1e6).toFixed(0) + " µs";
}

function showBytes(value) {
  const suffixes = ["B", "KiB", "MiB", "GiB"];
  let at = 0;
  while (Math.abs(value) >= 1024 && at < 3) { value /= 1024; at += 1; }
  return (at ? value.toFixed(1) : String(Math.round(value))) + " " + suffixes[at];
}

function show(value, unit) {
  if (value === null || value === undefined) return "missing";
  if (unit === "s") return showSeconds(value);
  if (unit === "bytes") return showBytes(value);
  if (unit === "bytes/s") return showBytes(value) + "/s";
  return `${Number(value.toPrecision(6))} ${unit}`;
}

function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function showSpread(values, unit) {
  if (!values.length) return "missing";
  const low = Math.min(...values), high = Math.max(...values), middle = show(median(values), unit);
  return low === high ? middle : `${middle} [${show(low, unit)} … ${show(high, unit)}]`;
}

// What is packed

// it comes after this script, so that the overview is there before it
const whole = new Promise((found) => document.addEventListener("DOMContentLoaded", found));

async function unpack(id) {
  await whole;
  const letters = atob(document.getElementById(id).textContent);
  const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

let plotly = null;
function loadPlotly() {
  plotly ||= unpack("plotly").then((code) => {
    const script = document.createElement("script");
    script.textContent = code;
    document.head.append(script);
  });
  return plotly;
}
