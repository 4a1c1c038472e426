"use strict";
// Everything stands on the page without this: it sorts and filters the long lists, opens what a link leads to,
// and lets the arrow keys walk over the map.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// --- long lists ------------------------------------------------------------------------------------
const keyOf = (row, column) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();

function compared(a, b) {
  if (a === "" || b === "") return (a === "") - (b === ""); // what has no value is last, either way
  return isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b;
}

function sortable(table) {
  const body = table.tBodies[0];
  const asPrinted = [...body.rows];
  const heads = all("thead th:not(.plainhead)", table);
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[head.ariaSort];
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? next : "none"));
      const column = head.cellIndex;
      const turn = next === "descending" ? -1 : 1;
      const order = (a, b) => {
        const [x, y] = [keyOf(a, column), keyOf(b, column)];
        return compared(x, y) * (x === "" || y === "" ? 1 : turn);
      };
      body.append(...(next === "none" ? asPrinted : [...asPrinted].sort(order)));
    });
  }
}

function searchable(tools) {
  const rows = [...document.getElementById(tools.dataset.for).tBodies[0].rows];
  const [search, table, state] = all("input, select", tools);
  const shown = tools.querySelector(".shown");
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const { words: text, table: name, state: verdict } = row.dataset;
      row.hidden =
        !words.every((word) => text.includes(word)) ||
        (table.value !== "" && table.value !== name) ||
        (state.value !== "" && state.value !== verdict);
    }
    shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} numbers shown`;
  };
  tools.addEventListener("input", show);
  tools.addEventListener("reset", () => {
    search.value = table.value = state.value = "";
    show();
  });
  tools.hidden = false;
  show();
}

function fit(box) {
  box.classList.remove("fits");
  box.classList.toggle("fits", box.scrollWidth <= box.clientWidth);
}

all("table.list").forEach(sortable);
all(".tools").forEach(searchable);
all(".wide").forEach(fit);
addEventListener("resize", () => all(".wide").forEach(fit));

// --- links -----------------------------------------------------------------------------------------
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  if (target.hidden) {
    const list = target.closest("table").id;
    all(".tools").find((tools) => tools.dataset.for === list).dispatchEvent(new Event("reset"));
  }
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (link && link.hash === location.hash) reveal(); // no change of hash tells of it
});
reveal();

// --- the map ---------------------------------------------------------------------------------------
const readout = document.querySelector(".readout");
const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function walkable(map) {
  map.setAttribute("role", "grid");
  const rows = [...map.rows].map((row) => [...row.cells].map((cell) => cell.querySelector("a")));
  const links = rows.flat().filter(Boolean);
  links.forEach((link, index) => (link.tabIndex = index ? -1 : 0));
  const step = (link, [down, right]) => {
    let row = rows.findIndex((line) => line.includes(link));
    let column = rows[row].indexOf(link);
    do {
      row += down;
      column += right;
    } while (rows[row] && rows[row][column] === null); // where nothing is printed
    return rows[row]?.[column];
  };
  map.addEventListener("keydown", (event) => {
    const ends = { Home: links[0], End: links.at(-1) };
    const next = moves[event.key] ? step(event.target, moves[event.key]) : ends[event.key];
    if (!moves[event.key] && !ends[event.key]) return;
    event.preventDefault();
    if (!next) return;
    links.forEach((link) => (link.tabIndex = link === next ? 0 : -1));
    next.focus();
  });
  const tell = (event) => {
    const link = event.target.closest("a");
    if (link) readout.textContent = `${map.getAttribute("aria-label")}: ${link.getAttribute("aria-label")}`;
  };
  map.addEventListener("focusin", tell);
  map.addEventListener("mouseover", tell);
}
all("table.map").forEach(walkable);
readout.hidden = false;

// --- paper -----------------------------------------------------------------------------------------
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])").filter((fold) => !fold.closest(".trails"));
  folded.forEach((fold) => (fold.open = true));
});
addEventListener("afterprint", () => folded.forEach((fold) => (fold.open = false)));
