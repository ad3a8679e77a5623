// SPDX-License-Identifier: GPL-2.0-or-later
// The matrix: any two axes of a scenario.

const grids = new Map();  // scenario → Map of axis → its values, of scenarios with two axes that vary

for (const one of index.cases) {
  if (!grids.has(one.scenario)) grids.set(one.scenario, new Map());
  const axes = grids.get(one.scenario);
  for (const [axis, value] of Object.entries(one.axes)) {
    if (!axes.has(axis)) axes.set(axis, new Set());
    axes.get(axis).add(value);
  }
}
for (const [scenario, axes] of [...grids]) {
  for (const [axis, values] of [...axes]) if (values.size < 2) axes.delete(axis);
  if (axes.size < 2) grids.delete(scenario);
}

function showMatrix(words) {
  const scenario = grids.has(words[0]) ? words[0] : [...grids.keys()][0];
  const axes = [...grids.get(scenario).keys()];
  const across = axes.includes(words[1]) ? words[1] : axes[0];
  const down = axes.includes(words[2]) && words[2] !== across ? words[2] : axes.find((axis) => axis !== across);
  const go = (...to) => { location.hash = "#matrix/" + to.map(encodeURIComponent).join("/"); };
  const values = (axis) => [...grids.get(scenario).get(axis)];
  const mine = index.cases.filter((one) => one.scenario === scenario);
  const title = index.scenarios[scenario] ? index.scenarios[scenario].title : "";
  const head = make("tr", {}, make("th", { scope: "col" }, `${across} \\ ${down}`), values(down).map((value) => make("th", { scope: "col" }, value)));
  const body = values(across).map((value) => make("tr", {}, make("th", { scope: "row" }, value), values(down).map((other) =>
    make("td", {}, renderCell(mine.filter((one) => one.axes[across] === value && one.axes[down] === other), [across, down])))));
  document.getElementById("matrix").replaceChildren(
    make("h2", {}, `${scenario}${title ? ": " + title : ""}`),
    make("div", { class: "row" },
      grids.size > 1 ? makeChoice("scenario", [...grids.keys()], scenario, (name) => go(name)) : "",
      makeChoice("rows", axes, across, (axis) => go(scenario, axis, axis === down ? across : down)),
      makeChoice("columns", axes, down, (axis) => go(scenario, axis === across ? down : across, axis))),
    make("p", { class: "faint" }, "✓ as expected, ✗ not as expected, – not supported or not run; then the verdict, and the downtime."),
    make("div", { class: "scroll" }, make("table", { class: "cells" }, make("thead", {}, head), make("tbody", {}, body))));
}

function renderCell(cases, axes) {
  if (!cases.length) return make("span", { class: "faint" }, "");
  const links = cases.map((one) => {
    const rest = Object.entries(one.axes).filter(([axis]) => !axes.includes(axis)).map(([axis, value]) => `${axis}=${value}`).join(", ");
    return make("a", { href: "#case/" + encodeURIComponent(one.id), title: one.id }, mark(one.mark, one.verdict),
      one.downtime ? ` ${one.downtime}` : "", rest && cases.length > 1 ? make("span", { class: "faint" }, ` ${rest}`) : "");
  });
  if (cases.length <= 3) return links;
  const count = (kind) => cases.filter((one) => one.mark === kind).length;
  const sums = ["bad", "ok", "none"].filter(count).map((kind) => [mark(kind, String(count(kind))), " "]);
  return make("details", { open: count("bad") > 0 && cases.length < 7 }, make("summary", {}, sums, `of ${cases.length} cases`), links);
}
