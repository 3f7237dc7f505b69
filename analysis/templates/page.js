// A click on a table's head sorts its rows, a second one the other way round; pointing at a dot shows its seed.
const number = text => {
  const found = text.replace(/[−–]/g, "-").replace(/,/g, "").match(/^[+<]?(-?\d[\d.]*)/);
  return found ? parseFloat(found[1]) : NaN;
};
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
  if (!body || body.rows.length < 3 || !heads.some(head => head.textContent.trim())) continue;
  heads.forEach((head, column) => {
    const sort = () => {
      const sign = head.ariaSort === "ascending" ? -1 : 1;
      const key = row => row.cells[column].textContent.trim();
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [number(key(a)), number(key(b))];
        const order = isNaN(x) || isNaN(y) ? key(a).localeCompare(key(b)) : x - y;
        return sign * order;
      });
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.ariaSort = sign > 0 ? "ascending" : "descending";
      body.append(...rows);
    };
    head.tabIndex = 0;
    head.classList.add("sorts");
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => event.key === "Enter" && sort());
  });
}
const seedWord = document.documentElement.lang === "zh" ? "种子" : "seed";
for (const svg of document.querySelectorAll("svg")) {
  const dots = [...svg.querySelectorAll("[id*='-seed-']")];
  const seed = dot => dot.id.match(/-seed-(-?\d+)/)[1];
  for (const dot of dots) {
    const title = document.createElementNS(svg.namespaceURI, "title");
    title.textContent = `${seedWord} ${seed(dot)}`;
    dot.append(title);
    dot.addEventListener("pointerenter", () =>
      dots.forEach(other => other.classList.toggle("same", seed(other) === seed(dot))));
    dot.addEventListener("pointerleave", () => dots.forEach(other => other.classList.remove("same")));
  }
}
