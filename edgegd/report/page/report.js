// Values under the pointer, tables that sort, and a page that reloads while its run goes on.

// What is written under the pointer: lines of text of one panel at x, y as shares of its area, and where that is.
function nearest(values, wanted) {
  let best = -1;
  values.forEach((value, index) => {
    if (value !== null && (best < 0 || Math.abs(value - wanted) < Math.abs(values[best] - wanted))) best = index;
  });
  return best;
}

function text(value) {
  return value === null || value === undefined ? "none" : String(value);
}

function ofSeries(series, index) {
  const bounds = series.low && series.high ? ` [${text(series.low[index])}, ${text(series.high[index])}]` : "";
  return `${series.name}: ${text(series.y[index])}${bounds}`;
}

function ofCategories(panel, y) {
  const row = Math.min(Math.floor(y * panel.categories.length), panel.categories.length - 1);
  const lines = [panel.categories[row]];
  for (const series of panel.series) {
    const found = series.x.flatMap((at, index) => (at === row ? [index] : []));
    if (found.length === 1) lines.push(ofSeries(series, found[0]));
    else if (found.length) lines.push(`${series.name}: ${found.map((index) => text(series.y[index])).join(", ")}`);
  }
  return { lines, y: (row + 0.5) / panel.categories.length };
}

function ofHeat(panel, x, y) {
  const heat = panel.heat;
  const column = Math.min(Math.floor(x * heat.x.length), heat.x.length - 1);
  const row = Math.min(Math.floor(y * heat.rows.length), heat.rows.length - 1);
  return { lines: [heat.rows[row], `${panel.x_label} ${text(heat.x[column])}: ${text(heat.values[row][column])}`] };
}

function ofLines(panel, place, x) {
  const wanted = place[4] + x * (place[5] - place[4]);
  const shown = panel.series.map((series) => nearest(series.x, wanted));
  const at = panel.series[0].x[shown[0]];
  const lines = [`${panel.x_label} ${text(at)}`];
  panel.series.forEach((series, number) => {
    if (shown[number] >= 0) lines.push(ofSeries(series, shown[number]));
  });
  return { lines, x: (at - place[4]) / (place[5] - place[4]) };
}

function valueAt(panel, place, x, y) {
  if (panel.categories) return ofCategories(panel, y);
  return panel.heat ? ofHeat(panel, x, y) : ofLines(panel, place, x);
}

function follow(figure) {
  const drawn = figure.querySelector(".drawn");
  const panels = data.pictures[figure.dataset.picture].panels;
  const places = JSON.parse(figure.dataset.places);
  const hair = make(drawn, "div", "hair");
  const value = make(drawn, "div", "value");
  hair.hidden = value.hidden = true;
  drawn.addEventListener("pointerleave", () => { hair.hidden = value.hidden = true; });
  drawn.addEventListener("pointermove", (event) => {
    const area = drawn.getBoundingClientRect();
    const [x, y] = [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
    const number = places.findIndex(([left, top, right, bottom]) => x >= left && x <= right && y >= top && y <= bottom);
    hair.hidden = value.hidden = number < 0;
    if (number < 0) return;
    const [left, top, right, bottom] = places[number];
    const found = valueAt(panels[number], places[number], (x - left) / (right - left), (y - top) / (bottom - top));
    value.textContent = found.lines.join("\n");
    const isRight = x > 0.6;
    value.style.left = isRight ? "" : `${event.clientX - area.left + 14}px`;
    value.style.right = isRight ? `${area.right - event.clientX + 14}px` : "";
    value.style.top = `${event.clientY - area.top + 10}px`;
    const percent = (share) => `${100 * share}%`;
    const across = found.y !== undefined;
    hair.hidden = !across && found.x === undefined;
    hair.style.left = percent(across ? left : left + found.x * (right - left));
    hair.style.top = percent(across ? top + found.y * (bottom - top) : top);
    hair.style.width = across ? percent(right - left) : "0";
    hair.style.height = across ? "0" : percent(bottom - top);
    hair.style.borderWidth = across ? "1px 0 0 0" : "0 0 0 1px";
  });
}

// A table is sorted by a column's first numbers where all its cells begin with one, otherwise by its text.
function sortable(table) {
  const body = table.tBodies[0];
  if (body.rows.length < 3) return;
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    if (!header.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const isDown = header.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [row.cells[column].textContent, row]);
      const areNumbers = rows.every(([cell]) => !Number.isNaN(parseFloat(cell)) || cell === "-");
      const number = (cell) => (cell === "-" ? -Infinity : parseFloat(cell));
      rows.sort(([a], [b]) => (areNumbers ? number(a) - number(b) || 0 : a.localeCompare(b)));
      if (isDown) rows.reverse();
      body.append(...rows.map(([, row]) => row));
    });
  });
}

function reloading(seconds) {
  const place = remembered(() => sessionStorage, "edgegd-scroll");
  if (place !== null) scrollTo(0, Number(place));
  setInterval(() => {
    if (document.hidden) return;
    remembered(() => sessionStorage, "edgegd-scroll", String(scrollY));
    location.reload();
  }, 1000 * seconds);
}

document.querySelectorAll("figure[data-picture]").forEach(follow);
document.querySelectorAll("table").forEach(sortable);
if (document.body.dataset.reload) reloading(Number(document.body.dataset.reload));
