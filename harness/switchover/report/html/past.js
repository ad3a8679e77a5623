// SPDX-License-Identifier: GPL-2.0-or-later
// Numbers of a case over earlier runs: the median of each run with its spread, and where the level changed.

function renderPast(past, metric, choose) {
  const parts = [make("h3", {}, "Over earlier runs")];
  if (past.why) return fragment([...parts, make("p", { class: "faint" }, past.why)]);
  const names = past.numbers.map((one) => one.name);
  const number = past.numbers.find((one) => one.name === metric) || past.numbers[0];
  parts.push(make("div", { class: "row" }, makeChoice("number:", names, number.name, choose)), drawPast(past, number));
  parts.push(number.changes.map(([, told, words]) => make("div", { class: "change" }, told,
    words.length ? makeList(words.map(([key, old, now]) => [key, `${old || "(none)"} → ${now || "(none)"}`]))
      : make("p", { class: "faint" }, "nothing in the fingerprint changed there"))));
  if (!number.searched) parts.push(make("p", { class: "faint" }, "Changes of the level were not looked for here, since the run has many numbers: ",
    make("code", {}, "switchover trend"), " does."));
  else if (!number.changes.length) parts.push(make("p", { class: "faint" }, "No change of the level is seen."));
  if (number.left_out) parts.push(make("p", { class: "faint" }, number.left_out));
  const rows = [...number.levels].reverse().map(([run, count, middle, low, high]) => {
    const [name, started, programs] = past.runs[run];
    const spread = low === high ? "" : ` [${show(low, number.unit)} … ${show(high, number.unit)}]`;
    return [started.replace("T", " "), String(count), show(middle, number.unit) + spread, make("span", { class: "faint" }, programs), make("span", { class: "faint" }, run === past.own ? "this run" : name)];
  });
  parts.push(make("details", {}, make("summary", {}, `the runs (${rows.length})`), makeTable([["run", "name"], ["repeats", "number"],
    ["median [least … most]", "number"], ["measured with", "words"], ["", "wide"]], rows)));
  return fragment(parts);
}

function drawPast(past, number) {
  const { scale, word } = chooseScale(number.unit, number.levels.map((level) => level[4]));
  const levels = number.levels, last = levels.length - 1;
  const isThis = (level) => level[0] === past.own;
  const edges = [0, ...number.changes.map(([at]) => at), levels.length];
  const told = (level) => {
    const [name, started, programs] = past.runs[level[0]];
    return plain(`${started.replace("T", " ")}: ${showSpread([level[3], level[2], level[4]], number.unit)}, ${level[1]} ×\n${programs}\n${name}`).replace(/\n/g, "<br>");
  };
  return draw(`${number.name}, run by run`, 240, (axis, ink) => [[{
    type: "scatter", mode: "markers", x: levels.map((_, at) => at), y: levels.map((level) => level[2] * scale),
    error_y: { type: "data", symmetric: false, array: levels.map((level) => (level[4] - level[2]) * scale),
      arrayminus: levels.map((level) => (level[2] - level[3]) * scale), thickness: 1, width: 2, color: colour("two") },
    marker: { size: levels.map((level) => isThis(level) ? 11 : 7), symbol: levels.map((level) => isThis(level) ? "diamond" : "circle"),
      color: levels.map((level) => colour(isThis(level) ? "three" : "one")) },
    hovertext: levels.map(told), hoverinfo: "text", cliponaxis: false,
  }], {
    shapes: [
      ...edges.slice(1).map((end, at) => [edges[at], end]).map(([start, end]) => {
        const level = median(levels.slice(start, end).map((one) => one[2])) * scale;
        return { type: "line", x0: start - 0.4, x1: end - 0.6, y0: level, y1: level, line: { color: ink, width: 1, dash: "dot" } };
      }),
      ...number.changes.map(([at]) => ({ type: "line", x0: at - 0.5, x1: at - 0.5, yref: "paper", y0: 0, y1: 1, line: { color: colour("bad"), width: 1.5 } })),
    ],
    xaxis: { ...axis, range: [-0.6, last + 0.6], ...chooseDates(past, levels), fixedrange: true },
    yaxis: { ...axis, title: { text: word }, rangemode: "tozero" },
  }]);
}

function chooseDates(past, levels) {  // of the first run, the last, and some between
  const many = Math.min(levels.length, narrow() ? 3 : 7);
  const at = [...new Set([...Array(many).keys()].map((one) => Math.round(one * (levels.length - 1) / Math.max(1, many - 1))))];
  return { tickvals: at, ticktext: at.map((one) => past.runs[levels[one][0]][1].slice(0, 10)) };
}
