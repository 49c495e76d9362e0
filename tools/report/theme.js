/* Light, dark or as the system says: chosen before the page is drawn, kept where the browser lets us. */
"use strict";
(() => {
  const root = document.documentElement;
  const kept = () => { try { return localStorage.getItem("vidloom-theme"); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem("vidloom-theme", theme); } catch { /* a page need not remember */ } };
  const choose = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    for (const button of document.querySelectorAll("[data-choose-theme]")) {
      button.setAttribute("aria-pressed", String(button.dataset.chooseTheme === theme));
    }
    document.dispatchEvent(new Event("themechange"));
  };
  root.classList.add("scripted");
  const first = ["light", "dark"].includes(kept()) ? kept() : "auto";
  if (first !== "auto") root.dataset.theme = first;
  document.addEventListener("DOMContentLoaded", () => choose(first));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-choose-theme]");
    if (button) { choose(button.dataset.chooseTheme); keep(button.dataset.chooseTheme); }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.dispatchEvent(new Event("themechange"));
  });
})();
