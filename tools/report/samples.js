/* Sample clips that play, captions that open, and the section that is being read marked in the bar on top. */
"use strict";
(() => {
  const strips = [...document.querySelectorAll(".strip")];
  const all = document.getElementById("play-all");
  const play = (strip, on) => strip.classList.toggle("playing", on);
  document.addEventListener("click", (event) => {
    const strip = event.target.closest(".strip");
    if (strip) play(strip);
    const more = event.target.closest(".more");
    if (more) {
      const open = more.previousElementSibling.classList.toggle("open");
      more.textContent = open ? "less" : "more";
      more.setAttribute("aria-expanded", String(open));
    }
  });
  document.getElementById("unfold")?.addEventListener("click", (event) => {
    document.getElementById("sample-grid").classList.remove("folded");
    event.target.parentElement.remove();
  });
  all?.addEventListener("click", () => {
    const on = all.getAttribute("aria-pressed") !== "true";
    all.setAttribute("aria-pressed", String(on));
    all.textContent = on ? "Stop" : "Play all";
    strips.forEach((strip) => play(strip, on));
  });
  for (const caption of document.querySelectorAll(".caption.long")) {
    if (caption.scrollHeight <= caption.clientHeight + 2) {
      caption.classList.remove("long");
      caption.nextElementSibling.hidden = true;
    }
  }
  const links = new Map([...document.querySelectorAll(".top nav a")].map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      links.forEach((link, name) => link.classList.toggle("here", name === entry.target.id));
      const link = links.get(entry.target.id);
      link?.parentElement.scrollTo({ left: link.offsetLeft - link.parentElement.offsetLeft - 40 });
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  document.querySelectorAll("section[id]").forEach((section) => watch.observe(section));
})();
