// SPDX-License-Identifier: GPL-2.0-or-later
// The overview: its filters.

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
