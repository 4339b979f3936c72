/* The ledger's first table: filter by words and by verdict, sort by a column. Without this script it is a plain table. */
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector("#every-object-at-a-glance table");
  if (!table) return;
  table.classList.add("ledger");
  const rows = [...table.tBodies[0].rows];
  const words = (row) => row.cells[1].textContent.replace(/^[^a-z]+/, "").trim();
  rows.forEach((row, place) => (row.dataset.place = place));

  const tools = document.createElement("div");
  tools.className = "ledger-tools";
  const field = (text, control) => {
    const label = document.createElement("label");
    label.append(text, control);
    tools.append(label);
    return control;
  };
  const search = field("Find", Object.assign(document.createElement("input"), { type: "search" }));
  const kind = field("Verdict", document.createElement("select"));
  kind.append(new Option("all", ""));
  for (const name of [...new Set(rows.map(words))].sort()) kind.append(new Option(name, name));
  const count = document.createElement("span");
  count.setAttribute("role", "status");
  tools.append(count);
  (table.closest(".pst-scrollable-table-container") || table).before(tools);

  const filter = () => {
    const asked = search.value.toLowerCase();
    for (const row of rows)
      row.hidden = !row.textContent.toLowerCase().includes(asked) || (kind.value && words(row) !== kind.value);
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  search.addEventListener("input", filter);
  kind.addEventListener("change", filter);
  filter();

  let sorted = null;
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const back = sorted === column; // a second click brings back the order of the paper
      const text = (row) => (column === 1 ? words(row) : row.cells[column].textContent);
      const order = [...rows].sort((a, b) =>
        back ? a.dataset.place - b.dataset.place : text(a).localeCompare(text(b), "en", { numeric: true }));
      table.tBodies[0].append(...order);
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      if (!back) cell.setAttribute("aria-sort", "ascending");
      sorted = back ? null : column;
    });
  });
});
