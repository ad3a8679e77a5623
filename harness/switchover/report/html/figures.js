// SPDX-License-Identifier: GPL-2.0-or-later
// Figures: drawn by plotly once somebody comes near them, and again where the colours change.

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

function chooseScale(unit, values) {  // of an axis, and the word beside it
  const scale = unit === "s" && Math.max(...values) < 1 ? 1e3 : unit === "bytes" ? 1 / 1048576 : 1;
  return { scale, word: scale === 1e3 ? "ms" : unit === "bytes" ? "MiB" : unit };
}

function drawDistribution(name, unit, points) {  // points: [repeat, value, bound, bad]
  const { scale, word } = chooseScale(unit, points.map((one) => one[1]));
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
