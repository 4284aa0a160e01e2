"use strict";
// Without this script every table is a plain one, best first.
const numeric = (text) => text !== "" && Number.isFinite(Number(text));
const compare = (one, other) =>
  numeric(one) && numeric(other) ? Number(one) - Number(other) : one.localeCompare(other, "en", { numeric: true });
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    if (!head.hasAttribute("data-sort")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const value = (row) => row.cells[place].dataset.value;
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
        const known = rows.filter((row) => value(row) !== undefined);
        const unknown = rows.filter((row) => value(row) === undefined);
        known.sort((one, other) => (falls ? -1 : 1) * compare(value(one), value(other)));
        body.append(...known, ...unknown);
      }
    });
  });
}
