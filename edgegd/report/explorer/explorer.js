// Images that sort and are filtered, a map that is coloured, and one image enlarged.

const choices = document.getElementById("choices");
const gallery = document.getElementById("gallery");
const items = [...gallery.children];
const large = document.getElementById("large");
const points = [...document.querySelectorAll(".map circle")];
const collator = new Intl.Collator(undefined, { numeric: true });
const filters = [...choices.elements].filter((element) => element.tagName === "SELECT" && element.name !== "sort");

function imageOf(element) {
  return data.images[Number(element.dataset.image)];
}

function isWanted(image) {
  if (!image.name.toLowerCase().includes(choices.elements.name.value.toLowerCase())) return false;
  return filters.every((filter) => !filter.value || image[filter.name].includes(filter.value));
}

// Images without the value come last.
function order(first, second) {
  const by = choices.elements.sort.value;
  const [one, other] = [imageOf(first), imageOf(second)];
  const value = (image) => image.values[by] ?? -Infinity;
  const difference = by === "name" ? 0 : value(other) - value(one);
  return difference > 0 ? 1 : difference < 0 ? -1 : collator.compare(one.name, other.name);
}

function choose() {
  items.sort(order);
  const wanted = new Set();
  for (const item of items) {
    item.hidden = !isWanted(imageOf(item));
    if (!item.hidden) wanted.add(item.dataset.image);
  }
  gallery.append(...items);
  for (const point of points) point.parentElement.style.display = wanted.has(point.dataset.image) ? "" : "none";
  document.getElementById("count").textContent = `${wanted.size} of ${items.length} images`;
}

function layers() {
  for (const box of choices.querySelectorAll("[name=layer]")) {
    document.body.classList.toggle(`without-${box.value}`, !box.checked);
  }
}

function part(parent, name, className, text) {
  const element = make(parent, name, className);
  element.textContent = text;
  return element;
}

function colour(by) {
  const scale = document.getElementById("scale");
  scale.replaceChildren();
  const groups = [...new Set(data.images.map((image) => image.split[0]))];
  for (const point of points) {
    const value = imageOf(point).values[by];
    const [, low, high] = data.measures[by] ?? [];
    point.removeAttribute("class");
    if (by === "split") point.classList.add(`group-${groups.indexOf(imageOf(point).split[0]) % 4}`);
    else if (value === undefined) point.classList.add("unknown");
    else point.style.setProperty("--share", high > low ? (value - low) / (high - low) : 0);
  }
  if (by === "split") {
    groups.forEach((name, index) => {
      const swatch = part(scale, "span", "swatch", "");
      swatch.style.background = `var(--c${(index % 4) + 1})`;
      part(scale, "span", "", name);
    });
    return;
  }
  const [title, low, high] = data.measures[by];
  part(scale, "span", "", `${title}: ${low.toPrecision(3)}`);
  part(scale, "span", "ramp", "");
  part(scale, "span", "", high.toPrecision(3));
}

function enlarge(item) {
  large.dataset.image = item.dataset.image;
  const content = large.querySelector(".content");
  const picture = item.querySelector(".picture").cloneNode(true);
  const drawn = picture.querySelector("svg");
  const width = drawn.viewBox.baseVal.width;
  for (const [layer, rows] of Object.entries(imageOf(item).boxes)) {
    for (const [left, top, right, bottom, words] of rows) {
      const text = document.createElementNS("http://www.w3.org/2000/svg", "text");
      text.setAttribute("class", layer);
      text.setAttribute("x", left);
      text.setAttribute("y", layer === "model" ? bottom : layer === "reference" ? (top + bottom) / 2 : top);
      text.style.fontSize = `${(13 * width) / Math.min(1040, 0.9 * innerWidth)}px`;
      text.textContent = words;
      drawn.append(text);
    }
  }
  const words = [...item.querySelectorAll("h3, ul")].map((element) => element.cloneNode(true));
  content.replaceChildren(picture, ...words);
  if (!large.open) large.showModal();
}

function step(by) {
  const shown = items.filter((item) => !item.hidden);
  const at = shown.findIndex((item) => item.dataset.image === large.dataset.image);
  const next = shown[(at + by + shown.length) % shown.length];
  if (next) enlarge(next);
}

choices.hidden = false;
choices.addEventListener("input", (event) => (event.target.name === "layer" ? layers() : choose()));
choices.addEventListener("submit", (event) => event.preventDefault());
gallery.addEventListener("click", (event) => {
  const button = event.target.closest(".enlarge");
  if (button) enlarge(button.closest("li"));
});
document.getElementById("before").addEventListener("click", () => step(-1));
document.getElementById("next").addEventListener("click", () => step(1));
large.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
const colouring = document.getElementById("colouring");
if (colouring) {
  const select = colouring.querySelector("select");
  colouring.hidden = false;
  select.addEventListener("input", () => colour(select.value));
  colour(select.value);
}
choose();
