"use strict";
const $ = (id) => document.getElementById(id);
const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
};
const digits = new Intl.NumberFormat("en-US");
const integer = (value) => digits.format(value);
const scaled = (value) => {
  for (const [limit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= limit) return `${Number((value / limit).toPrecision(4))}\u00a0${letter}`;
  }
  return String(value);
};
const share = (part, whole) => (whole ? part / whole : 0);
const percent = (ratio) =>
  ratio === 0 ? "0\u00a0%" : ratio < 0.001 ? "<\u00a00.1\u00a0%" : `${(100 * ratio).toFixed(1)}\u00a0%`;
const shape = (sizes) => sizes.join("x");

{
  // The page follows the system's colours until a reader chooses others.
  const themes = { auto: "Auto", light: "Light", dark: "Dark" };
  const stored = () => {
    try { return localStorage.getItem("ranspec-theme") || "auto"; } catch { return "auto"; }
  };
  const button = $("theme");
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `Colours: ${themes[theme] || themes.auto}`;
    button.setAttribute("aria-label", button.textContent);
  };
  let theme = stored() in themes ? stored() : "auto";
  apply(theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    const names = Object.keys(themes);
    theme = names[(names.indexOf(theme) + 1) % names.length];
    apply(theme);
    try { localStorage.setItem("ranspec-theme", theme); } catch { /* It holds for this page. */ }
  });
}
