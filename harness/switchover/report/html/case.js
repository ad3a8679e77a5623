// SPDX-License-Identifier: GPL-2.0-or-later
// A case's own view, made when it is asked for.

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
    renderPast(details.past, metric, (name) => again(repeat, name)),
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
