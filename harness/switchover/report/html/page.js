// SPDX-License-Identifier: GPL-2.0-or-later
// The page's own script: filters of the overview, and views that are made when they are asked for. Every text becomes
// a text node; nothing is parsed as HTML. Fragments: #case/ID, #matrix/SCENARIO/ROWS/COLUMNS/TABLES, else the overview.
"use strict";
(() => {
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

  // The overview

  const form = document.getElementById("filters");
  const rows = [...document.querySelectorAll("#cases tbody tr")].map((row, number) => ({
    row,
    words: (index.cases[number].id + " " + row.cells[2].textContent).toLowerCase(),
    verdict: row.cells[2].textContent,
    scenario: row.dataset.scenario,
    bad: row.dataset.mark === "bad",
  }));

  function filter() {
    const field = (name) => form.elements[name] ? form.elements[name].value : "";
    const words = field("text").toLowerCase().split(/\s+/).filter(Boolean);
    const scenario = field("scenario"), verdict = field("verdict"), bad = form.elements.bad.checked;
    let count = 0;
    for (const one of rows) {
      const fits = (!scenario || one.scenario === scenario) && (!verdict || one.verdict === verdict) &&
        (!bad || one.bad) && words.every((word) => one.words.includes(word));
      if (one.row.hidden === fits) one.row.hidden = !fits;
      count += fits;
    }
    form.elements.shown.value = `${count} of ${rows.length} shown`;
  }

  for (const change of ["input", "change"]) form.addEventListener(change, filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();

  // Figures

  const fills = {
    running: "#8fd3ae", completed: "#8fd3ae", "running-p2p": "#bfe6cf", resuming: "#a6c8f0", active: "#a6c8f0",
    "pre-copy": "#f3d36b", "pre-copy-p2p": "#e8b93c", "pre-switchover": "#f3d36b", "wait-unplug": "#f3d36b",
    "stop-copy": "#f0916a", device: "#f0916a", stop: "#c3c8cd", stopped: "#c3c8cd", setup: "#dfe3e6",
    cancelling: "#cfb2e2", cancelled: "#cfb2e2", failing: "#ec8a95", failed: "#ec8a95", error: "#ec8a95",
  };
  const partFills = ["#a6c8f0", "#f0916a", "#f3d36b", "#bcaee0", "#8fd3ae", "#e3a6c4", "#c3c8cd", "#9ad4d6"];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const series = {  // of bytes: a colour of the style sheet, a dash, a symbol of plotly and a letter like it
    "RAM sent": ["one", "solid", "circle", "●"],
    "RAM remaining": ["two", "dot", "square", "■"],
    "device sent": ["three", "dash", "diamond", "◆"],
  };

  // Parts of downtimes have a number and a colour, the same in all figures.
  const partNames = index.parts;
  const partFill = (name) => partFills[partNames.indexOf(name) % partFills.length];
  const partNumber = (name) => String(partNames.indexOf(name) + 1);
  const partKey = (names) => make("p", { class: "key" }, partNames.filter((name) => names.has(name)).map((name) =>
    make("span", {}, make("i", { style: `background:${partFill(name)}` }, partNumber(name)), name)));

  let drawn = [];  // figures on the page, to be drawn again where the colours change
  const seen = new IntersectionObserver((entries) => {  // a figure is drawn once somebody comes near it
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      loadPlotly().then(() => { drawn.push(target.paint); target.paint(); });
    }
  }, { rootMargin: "300px" });

  function draw(label, height, build) {
    const figure = make("div", { class: "figure", role: "img", "aria-label": label, style: `min-height:${height}px` },
      make("p", { class: "loading" }, "drawing…"));
    figure.paint = () => {
      if (!figure.isConnected) return;
      const [ink, grid] = [colour("ink"), colour("line")];
      const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, fixedrange: false };
      const [traces, layout] = build(axis, ink);
      figure.replaceChildren();
      window.Plotly.react(figure, traces, {
        height, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 12 },
        margin: { l: 10, r: 10, t: 10, b: 36 }, hoverlabel: { align: "left" }, showlegend: false, ...layout,
      }, { responsive: true, displayModeBar: false });
    };
    seen.observe(figure);
    return figure;
  }
  dark.addEventListener("change", () => drawn.forEach((paint) => paint()));

  const narrow = () => innerWidth < 700;
  const shorten = (name) => narrow() ? name.replace("destination", "dst").replace("source", "src").replace("migration", "status") : name;

  function bar(spans, lane, colours) {
    return {
      type: "bar", orientation: "h", y: spans.map(() => lane), base: spans.map(([start]) => start / 1e3),
      x: spans.map(([start, stop]) => (stop - start) / 1e3), text: spans.map((span) => plain(span[2])),
      marker: { color: spans.map(colours), line: { width: 0.5, color: "#14171a" } }, width: 0.72,
      textposition: "inside", insidetextanchor: "middle", textangle: 0, textfont: { color: "#14171a", size: 11 },
      hovertext: spans.map(([start, stop, word]) =>
        `${plain(word)}<br>from ${(start / 1e3).toFixed(4)} s for ${showSeconds((stop - start) / 1e3)}`),
      hoverinfo: "text",
    };
  }

  function drawTimeline(timeline) {
    const lanes = [];
    const traces = [];
    const add = (word, make) => { const name = plain(word); lanes.push(name); traces.push(...make(name)); };
    if (timeline.downtime.length)
      add("downtime", (lane) => [bar(timeline.downtime, lane, ([, , word]) => partFill(word))]);
    for (const side of ["source", "destination"]) {
      for (const one of timeline.lanes.filter((lane) => lane.side === side))
        add(shorten(`${side}: ${one.name}`), (lane) => [bar(one.spans, lane, ([, , word]) => fills[word] || "#dfe3e6")]);
      const heard = (timeline.heard[side] || []).map(([start, stop, count]) => [start, stop, `${count} heartbeats`]);
      if (heard.length) add(shorten(`${side}: heard`), (lane) => [bar(heard, lane, () => "#9ad4d6")]);
    }
    if (timeline.made.length)
      add(shorten("done on purpose"), (lane) => [{
        type: "scatter", mode: "markers+text", x: timeline.made.map(([start]) => start / 1e3), y: timeline.made.map(() => lane),
        text: timeline.made.map((one) => plain(one[2])), textposition: "middle right",
        marker: { symbol: "triangle-right", size: 11, color: colour("three") }, hovertemplate: "%{text} at %{x:.4f} s<extra></extra>",
      }]);
    const moved = Object.entries(timeline.bytes).filter(([name]) => name !== "at");
    const curves = () => moved.map(([name, values]) => ({
      type: "scatter", mode: "lines+markers", name, yaxis: "y2", x: timeline.bytes.at.map((ms) => ms / 1e3),
      y: values.map((value) => value === null ? null : value / 1048576), connectgaps: false,
      line: { color: colour(series[name][0]), width: 1.5, dash: series[name][1] },
      marker: { size: 5, symbol: series[name][2] },
      text: values.map((value) => value === null ? "" : showBytes(value)), hovertemplate: `${name} %{text} at %{x:.3f} s<extra></extra>`,
    }));
    const plot = moved.length ? 170 : 0;
    const height = 46 + lanes.length * 27 + plot;
    const split = plot ? (plot - 20) / (height - 46) : 0;
    const whole = timeline.window.map((ms) => ms / 1e3);
    const figure = draw("Timeline of both hosts; the states are listed below", height, (axis, ink) => {
      const downtime = timeline.downtime;
      const shapes = downtime.length ? [{
        type: "rect", xref: "x", yref: "paper", x0: downtime[0][0] / 1e3, x1: downtime[downtime.length - 1][1] / 1e3, y0: 0, y1: 1,
        fillcolor: ink, opacity: 0.1, line: { width: 0 }, layer: "below",
      }] : [];
      return [[...traces, ...curves()], {
        barmode: "overlay", shapes, uniformtext: { minsize: 9, mode: "hide" },
        xaxis: { ...axis, range: whole, title: { text: "s since migrate", standoff: 4 }, anchor: plot ? "y2" : "y" },
        yaxis: { ...axis, type: "category", categoryarray: [...lanes].reverse(), categoryorder: "array", domain: [plot / (height - 46), 1],
          range: [-0.6, lanes.length - 0.4], fixedrange: true, showgrid: false },
        ...(plot ? { yaxis2: { ...axis, domain: [0, split], rangemode: "tozero", title: narrow() ? undefined : { text: "MiB" } } } : {}),
      }];
    });
    const zoom = (range) => window.Plotly && window.Plotly.relayout(figure, { "xaxis.range": range });
    const buttons = [make("button", { type: "button", click: () => zoom(whole) }, "whole migration")];
    if (timeline.downtime.length) {
      const start = timeline.downtime[0][0] / 1e3, stop = timeline.downtime[timeline.downtime.length - 1][1] / 1e3;
      const margin = (stop - start) * 0.25;
      buttons.push(make("button", { type: "button", click: () => zoom([start - margin, stop + margin]) }, "downtime"));
    }
    return [make("div", { class: "row" }, buttons,
      make("span", { class: "faint" }, timeline.one_clock
        ? "the controller's monotonic clock; QEMU's own times, moved by each host's offset"
        : "the controller's monotonic clock, by when events arrived: the hosts' own clocks are not known")),
      figure,
      make("p", { class: "key" }, moved.map(([name]) =>
        make("span", {}, make("b", { style: `color:var(--${series[name][0]})` }, series[name][3]), name))),
      timeline.damaged ? make("p", { class: "warning" }, `${timeline.damaged} damaged lines of the evidence are left out.`) : ""];
  }

  function drawParts(label, bars) {  // bars: [name, [[part, seconds]…]]
    const present = new Set(bars.flatMap(([, parts]) => parts.map(([name]) => name)));
    const names = partNames.filter((name) => present.has(name));
    const longest = Math.max(...bars.map(([, parts]) => parts.reduce((sum, part) => sum + part[1], 0)));
    const ms = longest < 1 ? 1e3 : 1;
    const height = 50 + 30 * bars.length;
    const shown = bars.map(([name]) => narrow() && name.length > 24 ? "…" + name.slice(-23) : name);
    const figure = draw(label, height, (axis) => [names.map((name) => {
      const seconds = bars.map(([, parts]) => (parts.find((part) => part[0] === name) || [name, 0])[1]);
      return {
        type: "bar", orientation: "h", name, y: bars.map((_, number) => number), x: seconds.map((value) => value * ms), width: 0.66,
        marker: { color: partFill(name), line: { width: 0.5, color: "#14171a" } },
        text: seconds.map(() => partNumber(name)), textposition: "inside", insidetextanchor: "middle", textangle: 0,
        textfont: { color: "#14171a", size: 11 },
        customdata: seconds.map(showSeconds), hovertemplate: `${name} %{customdata}<extra></extra>`,
      };
    }), {
      barmode: "stack", uniformtext: { minsize: 9, mode: "hide" },
      xaxis: { ...axis, title: { text: ms === 1 ? "s" : "ms", standoff: 4 } },
      yaxis: { ...axis, autorange: "reversed", tickvals: bars.map((_, number) => number), ticktext: shown.map(plain), fixedrange: true, showgrid: false },
    }]);
    return [partKey(present), figure];
  }

  // plotly reads some tags in its texts: a name with one in it stays a name
  function plain(text) { return text.replace(/&/g, "&amp;").replace(/</g, "&lt;"); }

  function drawDistribution(name, unit, points) {  // points: [repeat, value, bound, bad]
    const scale = unit === "s" && Math.max(...points.map((one) => one[1])) < 1 ? 1e3 : unit === "bytes" ? 1 / 1048576 : 1;
    const word = scale === 1e3 ? "ms" : unit === "bytes" ? "MiB" : unit;
    return draw(`${name} of each repeat`, 220, (axis, ink) => [[{
      type: "scatter", mode: "markers", x: points.map((one) => one[0]), y: points.map((one) => one[1] * scale),
      error_y: { type: "data", array: points.map((one) => (one[2] || 0) * scale), thickness: 1, width: 3, color: colour("two") },
      marker: { size: 9, color: colour("one"), symbol: points.map((one) => one[3] ? "x" : "circle") },
      text: points.map((one) => show(one[1], unit)), hovertemplate: "#%{x}: %{text}<extra></extra>", cliponaxis: false,
    }], {
      shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: median(points.map((one) => one[1])) * scale,
        y1: median(points.map((one) => one[1])) * scale, line: { color: ink, width: 1, dash: "dot" } }],
      xaxis: { ...axis, title: { text: "repeat", standoff: 4 }, dtick: points.length > 20 ? undefined : 1 },
      yaxis: { ...axis, title: { text: word }, rangemode: "tozero" },
    }]);
  }

  // A case

  let current = null;

  async function showCase(id) {
    const place = document.getElementById("case");
    const number = numberOf.get(id);
    if (number === undefined) {
      place.replaceChildren(make("p", { class: "warning" }, `This page has no case ${id}.`));
      return;
    }
    const wanted = (current = {});
    const details = JSON.parse(await unpack(`case-${number}`));
    if (current !== wanted) return;
    const worst = details.repeats.find((repeat) => repeat.mismatch) || details.repeats[0];
    renderCase(place, index.cases[number], details, worst, "downtime.explained");
  }

  function renderCase(place, row, details, repeat, metric) {
    drawn = [];
    const again = (other, name) => { const at = scrollY; renderCase(place, row, details, other, name); scrollTo(0, at); };
    const scenario = index.scenarios[row.scenario];
    const number = numberOf.get(row.id);
    const step = (to, word) => index.cases[to] ? caseLink(index.cases[to].id, word) : make("span", { class: "faint" }, word);
    place.replaceChildren(
      make("div", { class: "row" }, step(number - 1, "← before"), step(number + 1, "next →"),
        make("span", { class: "faint" }, `case ${number + 1} of ${index.cases.length}`)),
      make("h2", {}, row.id),
      makeList([
        ["outcome", mark(row.mark, details.outcome)],
        ["expected", details.claim + (details.rule ? `\nby the rule ${details.rule}` : "")],
        ["observed", `${row.verdict}${row.downtime ? `, downtime ${row.downtime}` : ""}`],
        ["scenario", scenario ? `${row.scenario}: ${scenario.title}` : row.scenario],
        ["to repeat it", details.repeat.map((line) => make("code", { style: "display:block" }, line))],
      ]),
      details.repeats.length > 1 ? make("div", { class: "row" }, make("span", { class: "faint" }, "repeat"),
        details.repeats.map((one) => make("button", {
          type: "button", "aria-pressed": String(one === repeat), click: () => again(one, metric),
          title: one.mismatch ? "not as expected" : "as expected",
        }, `${one.number}${one.mismatch ? " ✗" : ""}`))) : "",
      repeat ? renderRepeat(repeat) : "",
      renderDowntimes(row, details),
      renderNumbers(details, repeat, metric, (name) => again(repeat, name)),
      repeat ? fragment([renderChecks(repeat), renderFiles(repeat)]) : "",
    );
  }

  function renderRepeat(repeat) {
    const steps = Object.entries(repeat.steps).map(([name, seconds]) => `${name} ${seconds.toFixed(1)} s`).join(", ");
    const parts = [makeList([
      ["verdict", repeat.verdict], ["reason", repeat.reason], ["not as expected", repeat.failure ? "" : repeat.mismatch],
      ["started", repeat.started.slice(0, 19).replace("T", " ")], ["steps", steps],
    ])];
    if (repeat.failure) parts.push(make("pre", { class: "failure" }, repeat.failure));
    for (const one of repeat.migrations) {
      parts.push(make("h3", {}, one.name ? `Timeline of ${one.name}: ${one.verdict}` : "Timeline"));
      parts.push(one.timeline ? drawTimeline(one.timeline) : make("p", { class: "faint" }, "There is no evidence of a migration."));
      parts.push(makeList(Object.entries(one.states).map(([side, states]) => [side, states.join(" → ") || "no state change"])));
    }
    return fragment(parts);
  }

  const fragment = (parts) => { const made = document.createDocumentFragment(); made.append(...[parts].flat(Infinity).filter(Boolean)); return made; };

  function findArms(row) {  // cases of the scenario that differ in one axis: the compared one, or any
    const axes = Object.keys(row.axes);
    const asked = index.compared[row.scenario];
    return index.cases.filter((other) => {
      if (other.scenario !== row.scenario || !other.parts.length || Object.keys(other.axes).length !== axes.length) return false;
      const differ = axes.filter((axis) => other.axes[axis] !== row.axes[axis]);
      return differ.length === 0 || (differ.length === 1 && (!asked || differ[0] === asked));
    });
  }

  function renderDowntimes(row, details) {
    const parts = [];
    const repeats = details.repeats.flatMap((repeat) => repeat.migrations.filter((one) => one.parts.length)
      .map((one) => [`#${repeat.number}${one.name ? " " + one.name : ""}`, one.parts]));
    const arms = findArms(row);
    if (repeats.length || arms.length) parts.push(make("h3", {}, "Downtime, in parts"));
    if (repeats.length) parts.push(drawParts("Parts of the downtime of each repeat", repeats.slice(0, 30)));
    if (repeats.length > 30) parts.push(make("p", { class: "faint" }, `The first 30 of ${repeats.length} are drawn.`));
    if (arms.length > 1) {
      const most = arms.slice(0, 20);
      const told = (one) => Object.entries(one.axes).map(([axis, value]) => `${axis}=${value}`).join(", ");
      parts.push(make("p", { class: "faint" }, "Side by side with cases that differ in one thing (medians):"),
        drawParts("Parts of the downtime, case by case", most.map((one) => [(one === row ? "▸ " : "") + told(one), one.parts])),
        make("p", {}, most.filter((one) => one !== row).map((one, at) => [at ? ", " : "", caseLink(one.id, told(one))])));
    }
    return fragment(parts);
  }

  function renderNumbers(details, repeat, metric, choose) {
    const all = new Map();  // name → [[repeat, value, bound, bad, unit]…]
    for (const one of details.repeats)
      for (const migration of one.migrations)
        for (const [name, value, unit, bound, note] of migration.numbers) {
          const key = migration.name ? `${migration.name}: ${name}` : name;
          if (!all.has(key)) all.set(key, []);
          all.get(key).push({ number: one.number, value, unit, bound, note, bad: Boolean(one.mismatch), name });
        }
    if (!all.size) return "";
    const parts = [make("h3", {}, "Numbers")];
    const several = details.repeats.length > 1;
    if (several) {
      const known = [...all.keys()].filter((key) => all.get(key).filter((one) => one.value !== null).length > 1);
      const chosen = known.includes(metric) ? metric : known[0];
      if (chosen) {
        const points = all.get(chosen).filter((one) => one.value !== null);
        parts.push(make("div", { class: "row" }, makeChoice("over the repeats:", known, chosen, choose)),
          drawDistribution(chosen, points[0].unit, points.map((one) => [one.number, one.value, one.bound, one.bad])));
      }
    }
    const rows = [...all].map(([key, list]) => {
      const one = list.find((entry) => repeat && entry.number === repeat.number);
      const values = list.filter((entry) => entry.value !== null).map((entry) => entry.value);
      const bound = one && one.bound ? ` ± ${show(one.bound, one.unit)}` : "";
      const cells = [make("span", { title: index.definitions[list[0].name] }, key), one ? show(one.value, one.unit) + bound : ""];
      return [...cells, ...(several ? [showSpread(values, list[0].unit)] : []),
        make("span", { class: "faint" }, one && one.note ? one.note : index.definitions[list[0].name] || "")];
    });
    parts.push(makeTable([["number", "name"], [repeat ? `repeat ${repeat.number}` : "", "number"],
      ...(several ? [["all repeats: median [least … most]", "number"]] : []), ["what it is", "wide"]], rows));
    return fragment(parts);
  }

  function renderChecks(repeat) {
    if (!repeat.checks.length && !repeat.unmade.length) return [];
    const failed = repeat.checks.filter((check) => !check[2]), passed = repeat.checks.filter((check) => check[2]);
    const heads = [["", "mark"], ["check", "words"], ["expected", "words"], ["observed", "words"]];
    const line = ([label, name, good, expected, observed]) =>
      [mark(good ? "ok" : "bad", good ? "passed" : "FAILED"), [name, " ", make("span", { class: "faint" }, label)], expected, observed];
    const parts = [make("h3", {}, `Checks: ${passed.length} of ${repeat.checks.length} passed` +
      (repeat.unmade.length ? `, ${repeat.unmade.length} not made` : ""))];
    if (failed.length) parts.push(makeTable(heads, failed.map(line)));
    if (repeat.unmade.length)
      parts.push(makeTable([["", "mark"], ["check", "words"], ["why not", "words"]], repeat.unmade.map(([id, name, why]) =>
        [mark("none", "not made"), [name, " ", make("span", { class: "faint" }, id)], why])));
    if (passed.length)
      parts.push(make("details", { open: !failed.length && passed.length < 8 }, make("summary", {}, `those that passed (${passed.length})`), makeTable(heads, passed.map(line))));
    return parts;
  }

  function renderFiles(repeat) {
    const parts = [make("h3", {}, "Evidence")];
    const link = (place, name) => make("li", {}, make("a", { href: [...place.split("/"), name].map(encodeURIComponent).join("/") }, name));
    for (const [place, names] of repeat.files)
      parts.push(make("code", {}, place + "/"), names.length ? make("ul", { class: "files" }, names.map((name) => link(place, name)))
        : make("p", { class: "faint" }, "nothing is there"));
    return parts;
  }

  // The matrix

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
    const others = axes.filter((axis) => axis !== across && axis !== down);
    // three axes where nothing else is asked for: of one table a cell would have too many cases
    const by = words.length > 2 ? (others.includes(words[3]) ? words[3] : "") : others.length > 1 ? others[0] : "";
    const go = (...to) => { location.hash = "#matrix/" + to.map(encodeURIComponent).join("/"); };
    const values = (axis) => [...grids.get(scenario).get(axis)];
    const mine = index.cases.filter((one) => one.scenario === scenario);
    const title = index.scenarios[scenario] ? index.scenarios[scenario].title : "";
    const renderTable = (cases) => {
      const head = make("tr", {}, make("th", { scope: "col" }, `${across} \\ ${down}`), values(down).map((value) => make("th", { scope: "col" }, value)));
      const body = values(across).map((value) => make("tr", {}, make("th", { scope: "row" }, value), values(down).map((other) =>
        make("td", {}, renderCell(cases.filter((one) => one.axes[across] === value && one.axes[down] === other), [across, down, by])))));
      return make("div", { class: "scroll" }, make("table", { class: "cells" }, make("thead", {}, head), make("tbody", {}, body)));
    };
    const tables = by
      ? values(by).map((value) => [make("h3", {}, `${by} ${value}`), renderTable(mine.filter((one) => one.axes[by] === value))])
      : renderTable(mine);
    document.getElementById("matrix").replaceChildren(
      make("h2", {}, `${scenario}${title ? ": " + title : ""}`),
      make("div", { class: "row" },
        grids.size > 1 ? makeChoice("scenario", [...grids.keys()], scenario, (name) => go(name)) : "",
        makeChoice("rows", axes, across, (axis) => go(scenario, axis, axis === down ? across : down, by)),
        makeChoice("columns", axes, down, (axis) => go(scenario, axis === across ? down : across, axis, by)),
        others.length ? makeChoice("a table for each", ["none", ...others], by || "none", (axis) => go(scenario, across, down, axis === "none" ? "" : axis)) : ""),
      make("p", { class: "faint" }, "✓ as expected, ✗ not as expected, – not supported or not run; then the verdict, the downtime, and bytes of devices in pre-copy and in stop-copy. A cell leads to its record, and to what repeats it."),
      ...[tables].flat(Infinity));
  }

  function renderCell(cases, axes) {
    if (!cases.length) return make("span", { class: "faint" }, "");
    const links = cases.map((one) => {
      const rest = Object.entries(one.axes).filter(([axis]) => !axes.includes(axis)).map(([axis, value]) => `${axis}=${value}`).join(", ");
      return make("a", { href: "#case/" + encodeURIComponent(one.id), title: `${one.id}\nexpected: ${one.expected}` }, mark(one.mark, one.verdict),
        one.downtime ? ` ${one.downtime}` : "", one.device ? ` ${one.device}` : "", rest && cases.length > 1 ? make("span", { class: "faint" }, ` ${rest}`) : "");
    });
    if (cases.length <= 3) return links;
    const count = (kind) => cases.filter((one) => one.mark === kind).length;
    const sums = ["bad", "ok", "none"].filter(count).map((kind) => [mark(kind, String(count(kind))), " "]);
    return make("details", { open: count("bad") > 0 && cases.length < 7 }, make("summary", {}, sums, `of ${cases.length} cases`), links);
  }

  // The way through the page

  const ways = document.getElementById("ways");
  if (grids.size) ways.append(make("a", { href: "#matrix" }, "matrix"));
  ways.hidden = false;
  let left = 0;  // where the overview was scrolled to

  function decode(word) {
    try { return decodeURIComponent(word); } catch { return word; }
  }

  function route() {
    const [kind, ...words] = location.hash.slice(1).split("/").map(decode);
    const shown = kind === "case" || (kind === "matrix" && grids.size) ? kind : "overview";
    if (!sections[0].hidden) left = scrollY;
    for (const section of sections) section.hidden = section.id !== shown;
    for (const link of ways.children) link.toggleAttribute("aria-current", link.hash.slice(1) === (shown === "matrix" ? "matrix" : ""));
    current = null;
    drawn = [];
    if (shown === "case") showCase(words.join("/"));
    if (shown === "matrix") showMatrix(words);
    scrollTo(0, shown === "overview" ? left : 0);
  }

  addEventListener("hashchange", route);
  route();
})();
