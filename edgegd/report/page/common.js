"use strict";
// What all pages share: their data, and light or dark.

const data = JSON.parse(document.getElementById("data").textContent);

function make(parent, name, className) {
  const element = document.createElement(name);
  element.className = className;
  parent.append(element);
  return element;
}

// Where nothing can be stored (a file in some browsers), it holds for this page only.
function remembered(store, key, value) {
  try {
    if (value !== undefined) store().setItem(key, value);
    return store().getItem(key);
  } catch {
    return null;
  }
}

function themes(button) {
  const root = document.documentElement;
  const choose = (theme) => { root.style.colorScheme = theme; };
  const kept = remembered(() => localStorage, "edgegd-theme");
  if (kept === "light" || kept === "dark") choose(kept);
  button.hidden = false;
  button.addEventListener("click", () => {
    const isDark = root.style.colorScheme
      ? root.style.colorScheme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    choose(isDark ? "light" : "dark");
    remembered(() => localStorage, "edgegd-theme", root.style.colorScheme);
  });
}

themes(document.getElementById("theme"));
