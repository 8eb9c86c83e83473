// Small comforts; every page works without them. No inline handlers, nothing evaluated, nothing from elsewhere.
"use strict";

document.documentElement.classList.add("js");

// Times: <time data-relative> says how far away it is, [data-since] counts up.
const UNITS = [[86400, "day", "days"], [3600, "h", "h"], [60, "min", "min"], [1, "s", "s"]];

function away(seconds) {
  const size = Math.abs(seconds);
  if (size < 5) return "now";
  const [unit, one, many] = UNITS.find(([length]) => size >= length);
  const number = Math.floor(size / unit);
  const said = `${number} ${number === 1 ? one : many}`;
  return seconds > 0 ? `in ${said}` : `${said} ago`;
}

function lasted(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  if (whole >= 172800) return `${Math.floor(whole / 86400)} d ${hours % 24} h`;
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-relative]")) {
    say(time, away((Date.parse(time.dateTime) - now) / 1000));
  }
  for (const span of document.querySelectorAll("[data-since]")) {
    say(span, lasted((now - Date.parse(span.dataset.since)) / 1000));
  }
}

setInterval(tick, 1000);

// Copying.
async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    const field = document.createElement("textarea");
    field.value = button.dataset.copy;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), 1500);
}

// The log sticks to its end until the reader scrolls up, or says not to follow.
function follows(box) {
  return document.querySelector(`[data-follow="${box.id}"]`)?.getAttribute("aria-pressed") === "true";
}

function stick() {
  const box = document.getElementById("log-box");
  if (box && (follows(box) || !document.querySelector("[data-follow]"))) box.scrollTop = box.scrollHeight;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-follow], [data-keys]");
  if (button?.dataset.copy !== undefined) copy(button);
  if (button?.dataset.follow !== undefined) {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    stick();
  }
  if (button?.dataset.keys !== undefined) setKeys(!keys);
});

document.addEventListener("scroll", (event) => {
  const box = event.target;
  const button = box.id === "log-box" && document.querySelector('[data-follow="log-box"]');
  if (button) button.setAttribute("aria-pressed", String(box.scrollHeight - box.scrollTop - box.clientHeight < 24));
}, true);

// Keys: / goes to the search field, g then h, j, c, e, w, s or t to a place. Who dictates, or hits keys by accident, switches them
// off (WCAG 2.1.4); this browser remembers it, where it may.
const KEYS = "portal-keys";
let keys = true;
try { keys = localStorage.getItem(KEYS) !== "off"; } catch { /* then the choice lasts as long as the page */ }

function showKeys() {
  document.documentElement.classList.toggle("keys-off", !keys);
  document.querySelector("[data-keys]")?.setAttribute("aria-pressed", String(keys));
}

function setKeys(on) {
  keys = on;
  leader = 0;
  try { localStorage.setItem(KEYS, on ? "on" : "off"); } catch { /* see above */ }
  showKeys();
}

let leader = 0;
const PLACES = { h: 0, j: 1, c: 2, e: 3, w: 4, s: 5, t: 6 };

document.addEventListener("keydown", (event) => {
  if (!keys || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  } else if (event.key in PLACES && Date.now() - leader < 1500) {
    document.querySelectorAll("nav.main-nav a")[PLACES[event.key]]?.click();
  }
  leader = event.key === "g" ? Date.now() : 0;
});

document.addEventListener("htmx:afterSettle", () => { tick(); stick(); });
document.addEventListener("DOMContentLoaded", () => { tick(); stick(); showKeys(); });
