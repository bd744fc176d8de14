"use strict";
// Without this script everything is there to be read; with it pictures flicker, and images are sorted and filtered.
const root = document.documentElement;
root.classList.add("script");

// Two pictures in one place, turn by turn, twice a second; one turn only where the reader wants no motion.
const still = matchMedia("(prefers-reduced-motion: reduce)");
let running = null;
function stop() {
  if (!running) return;
  clearInterval(running.timer);
  running.pairs.forEach(([image, own]) => { image.src = own; });
  running = null;
}
function flicker(pairs) {
  stop();
  let away = false;
  const turn = () => {
    away = !away;
    pairs.forEach(([image, own, other]) => { image.src = away ? other : own; });
  };
  turn();
  running = { pairs, timer: still.matches ? 0 : setInterval(turn, 500) };
}
const shown = new Map([...document.querySelectorAll("[data-shown]")].map((i) => [i.dataset.image, i.src]));
function pairsOf(target) {
  const card = target.closest(".sheet li");
  if (card) {
    const [first, ...others] = card.querySelectorAll("img");
    return others.map((image) => [image, image.src, first.src]);
  }
  const image = target.closest(".gallery img:not([data-shown])");
  return image ? [[image, image.src, shown.get(image.dataset.image)]] : [];
}
for (const place of document.querySelectorAll(".sheet, .gallery")) {
  const begin = (event) => { stop(); const pairs = pairsOf(event.target); if (pairs.length) flicker(pairs); };
  place.addEventListener("mouseover", begin);
  place.addEventListener("focusin", begin);
  place.addEventListener("mouseleave", stop);
  place.addEventListener("focusout", stop);
}
addEventListener("keydown", (event) => { if (event.key === "Escape") stop(); });

// One stop of the tab key for all cards, and one for the gallery; arrow keys go from one to the next.
function arrows(place, all, across) {
  place.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across(), ArrowDown: across(), Home: -1e9, End: 1e9 };
    const items = all();
    const at = items.indexOf(document.activeElement);
    if (at < 0 || !(event.key in steps)) return;
    const to = items[Math.max(0, Math.min(items.length - 1, at + steps[event.key]))];
    items[at].tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
    event.preventDefault();
  });
}
const sheet = document.querySelector(".sheet");
const cards = () => [...sheet.children].filter((card) => !card.hidden);
arrows(sheet, cards, () => getComputedStyle(sheet).gridTemplateColumns.split(" ").length);
const gallery = document.querySelector(".gallery");
const cells = [...gallery.querySelectorAll("tbody img:not([data-shown])")];
cells.forEach((image, place) => { image.tabIndex = place ? -1 : 0; });
arrows(gallery, () => cells, () => gallery.querySelectorAll("[data-shown]").length);

// Sort and filter.
const form = document.getElementById("choose");
const every = [...sheet.children];
const scores = new Map(every.map((card) => [card, card.dataset.scores.split(",").map((s) => (s === "" ? NaN : +s))]));
function choose() {
  stop();
  const option = form.score.selectedOptions[0];
  const column = +form.score.value;
  const sign = (option.dataset.up === "1") === (form.order.value === "best") ? -1 : 1;
  const low = form.low.value === "" ? -Infinity : +form.low.value;
  const high = form.high.value === "" ? Infinity : +form.high.value;
  const wanted = form.image.value.trim();
  const value = (card) => scores.get(card)[column];
  const order = [...every].sort((a, b) => {
    const by = form.order.value === "id" ? 0 : sign * (value(a) - value(b));
    return by || a.dataset.id - b.dataset.id;
  });
  let n = 0;
  for (const card of order) {
    const known = value(card);
    const inside = low === -Infinity && high === Infinity ? true : known >= low && known <= high;
    card.hidden = !(inside && (wanted === "" || card.dataset.id === wanted));
    card.tabIndex = !card.hidden && n === 0 ? 0 : -1;
    n += card.hidden ? 0 : 1;
    card.querySelector(".score").textContent = Number.isNaN(known) ? "no score" : `${option.text} ${known.toFixed(3)}`;
  }
  sheet.append(...order);
  form.querySelector("output").textContent = `${n} of ${every.length} images`;
}
form.addEventListener("input", choose);
form.addEventListener("change", choose);
form.addEventListener("submit", (event) => event.preventDefault());

// On paper nothing can be unfolded.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
