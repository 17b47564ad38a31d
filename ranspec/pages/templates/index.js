{
  const table = $("networks");
  const rows = [...table.tBodies[0].rows];
  const search = $("search");
  const found = $("found");
  const link = $("compare");

  // Words are looked for in the whole row; `parameters > 2 M` and `error < 5` in its numbers.
  const units = { "": 1, k: 1e3, m: 1e6, g: 1e9, "%": 1 };
  const columns = { depth: 3, parameters: 4, macs: 5, error: 6 };
  const condition = /(?:(depth|parameters|macs|error)\s*)?([<>])\s*([\d.]+)\s*([kmg%]?)(?=\s|$)/g;
  const conditions = (text) => {
    const found = [];
    const rest = text.toLowerCase().replace(condition, (_, quantity, sign, number, unit) => {
      const cell = columns[quantity ?? (unit === "%" ? "error" : "parameters")];
      const limit = Number(number) * units[unit];
      found.push((row) => {
        const value = row.cells[cell].dataset.value;
        return value !== "" && (sign === "<" ? Number(value) < limit : Number(value) > limit);
      });
      return " ";
    });
    for (const word of rest.split(/\s+/).filter(Boolean)) {
      found.push((row) => (row.text ??= row.textContent.toLowerCase()).includes(word));
    }
    return found;
  };
  const filter = () => {
    const tests = conditions(search.value);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !tests.every((test) => test(row));
      shown += row.hidden ? 0 : 1;
    }
    found.textContent = shown === rows.length ? `${shown} networks` : `${shown} of ${rows.length} networks`;
  };
  search.addEventListener("input", filter);
  search.closest(".find").hidden = false;

  for (const head of table.tHead.rows[0].cells) {
    if (!head.dataset.sort) continue;
    const button = element("button", { type: "button" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const cell = head.cellIndex;
      const key = (row) => row.cells[cell].dataset.value;
      const order = head.dataset.sort === "text"
        ? (a, b) => key(a).localeCompare(key(b))
        : (a, b) => (key(a) === "") - (key(b) === "") || (down ? -1 : 1) * (key(a) - key(b));
      const sorted = [...rows].sort(order);
      if (down && head.dataset.sort === "text") sorted.reverse();
      table.tBodies[0].append(...sorted);
    });
  }

  const picked = [];
  const update = () => {
    const names = picked.map((box) => box.closest("tr").dataset.name);
    const parts = names.map((name, index) => `${"ab"[index]}=${encodeURIComponent(name)}`);
    link.href = `compare.html${parts.length ? "#" : ""}${parts.join("&")}`;
    link.textContent = ["Compare two", "Compare it with another", "Compare these two"][names.length];
    link.classList.toggle("ready", names.length === 2);
  };
  for (const row of rows) {
    const box = row.querySelector("input");
    box.checked = false;
    box.addEventListener("change", () => {
      if (box.checked) picked.push(box);
      else picked.splice(picked.indexOf(box), 1);
      if (picked.length > 2) picked.shift().checked = false;
      update();
    });
  }
  for (const cell of document.querySelectorAll(".pick")) cell.hidden = false;
  filter();
}
