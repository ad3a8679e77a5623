// SPDX-License-Identifier: GPL-2.0-or-later
// The way through the page. Fragments: #case/ID, #matrix/SCENARIO/ROWS/COLUMNS, else the overview.

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
