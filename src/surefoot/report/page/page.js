"use strict";
// Two comforts; without them the page says the same: sorting the table, and choosing light or dark by hand.

const stored = () => { try { return localStorage.getItem("surefoot-theme"); } catch { return null; } };
const store = (theme) => { try { localStorage.setItem("surefoot-theme", theme); } catch { /* private window */ } };
const root = document.documentElement;
const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const toggle = document.getElementById("theme");

function label() {
  toggle.textContent = dark() ? "Light" : "Dark";
  toggle.setAttribute("aria-label", dark() ? "Use light colours" : "Use dark colours");
}

if (["light", "dark"].includes(stored())) root.dataset.theme = stored();
toggle.hidden = false;
label();
toggle.addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  store(root.dataset.theme);
  label();
});

function sort(header) {
  const table = header.closest("table");
  const headers = [...table.querySelectorAll("th[data-sort]")];
  const column = headers.indexOf(header);
  const now = header.getAttribute("aria-sort");
  const order = now ? (now === "ascending" ? "descending" : "ascending") : header.dataset.sort;
  for (const each of headers) each.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const key = (row) => row.cells[column].dataset.value;
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === "" || y === "") return (x === "") - (y === ""); // what was not measured stays at the end
    return sign * (header.dataset.kind === "text" ? x.localeCompare(y) : Number(x) - Number(y));
  });
  table.tBodies[0].append(...rows);
}

for (const header of document.querySelectorAll("th[data-sort]")) {
  header.querySelector("button").addEventListener("click", () => sort(header));
}
