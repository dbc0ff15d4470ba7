// The time line: what happened, newest first, with the time that passed in between.
import { $, button, count, idOf, make, nameOf, signed } from "./elements.js";

const SHOWN = 20; // explanations look no further back
const SHOWN_NARROW = 5; // the answer stands below, as on a phone
const AGES = [
  [60, "second", 1],
  [3600, "minute", 60],
  [86400, "hour", 3600],
  [2592000, "day", 86400],
  [31536000, "month", 2592000],
  [Infinity, "year", 31536000],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const rows = new Map();
let all = false;
let shownFor = null;

/** What an event and a cause have in common. */
export const eventKey = ({ item_id, timestamp, kind }) => `${timestamp}\u0000${kind ?? ""}\u0000${item_id}`;

export function age(timestamp, now = Date.now()) {
  const seconds = (timestamp - now) / 1000;
  const [, unit, size] = AGES.find(([below]) => Math.abs(seconds) < below);
  return Math.abs(seconds) < 2 ? "just now" : relative.format(Math.round(seconds / size), unit);
}

/** Show a past, oldest first as it is told. `of` says whose, so that another's begins short again. */
export function showLine(of, events, { more = 0, remove = null, empty }) {
  if (of !== shownFor) all = false;
  shownFor = of;
  const before = new Set(rows.keys());
  rows.clear();
  const newest = [...events].reverse();
  const most = matchMedia("(min-width: 60rem)").matches ? SHOWN : SHOWN_NARROW;
  const shown = all ? newest : newest.slice(0, most);
  const earlier = newest.length - shown.length + more;
  $("line").start = shown.length + earlier;
  $("line").replaceChildren(...shown.map((event, place) => row(event, shown[place + 1], before, remove)));
  $("now-words").textContent = newest.length ? "the answer is for this moment" : empty;
  const rest = $("earlier");
  rest.hidden = earlier === 0;
  rest.disabled = newest.length === shown.length;
  rest.textContent = rest.disabled ? `${count(earlier, "earlier event")} not shown` : `Show ${count(earlier, "earlier event")}`;
  rest.onclick = () => {
    all = true;
    showLine(of, events, { more, remove, empty });
    const next = $("line").children[most];
    next.tabIndex = -1;
    next.focus();
  };
}

function row(event, earlier, before, remove) {
  const key = eventKey(event);
  const element = make(
    "li",
    { className: before.size && !before.has(key) ? "event fresh" : "event" },
    make("span", { className: "title" }, nameOf(event), " ", idOf(event)),
    make(
      "span",
      { className: "when" },
      make("time", { dateTime: new Date(event.timestamp).toISOString(), title: absolute.format(event.timestamp) }, age(event.timestamp)),
      event.kind ? ` \u00b7 ${event.kind}` : null,
      event.value === null || event.value === undefined ? null : ` \u00b7 ${event.value}`,
    ),
    make("span", { className: "push", attributes: { "aria-hidden": "true" } }),
    remove && button("\u00d7", () => remove(event), { className: "remove", ariaLabel: `Remove ${nameOf(event)}`, title: "Remove" }),
  );
  const gap = earlier ? Math.log10(1 + Math.max(0, event.timestamp - earlier.timestamp) / 60_000) : 0;
  element.style.setProperty("--gap", `${Math.min(gap * 0.35, 2).toFixed(2)}rem`);
  if (!rows.has(key)) rows.set(key, element); // of like events the newest
  return element;
}

/** Mark the causes of an item; what is found of them, with the element of each. */
export function markCauses(causes) {
  const found = causes.flatMap((cause) => (rows.has(eventKey(cause)) ? [{ ...cause, element: rows.get(eventKey(cause)) }] : []));
  const most = Math.max(...found.map(({ influence }) => Math.abs(influence)));
  for (const { element, influence } of found) {
    element.classList.add("cause", influence < 0 ? "against" : "for");
    element.style.setProperty("--push", (Math.abs(influence) / (most || 1)).toFixed(3));
    element.querySelector(".push").textContent = signed(influence);
  }
  $("line").classList.toggle("marked", found.length > 0);
  return found;
}

export function unmark() {
  $("line").classList.remove("marked");
  for (const element of document.querySelectorAll(".event.cause")) {
    element.classList.remove("cause", "for", "against");
    element.querySelector(".push").textContent = "";
  }
}

/** Times go on while nothing happens. */
export function passTime() {
  for (const time of document.querySelectorAll(".event time")) time.textContent = age(Date.parse(time.dateTime));
}
