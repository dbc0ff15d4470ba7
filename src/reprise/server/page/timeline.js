// The timeline: the events of the history, newest first. The distance between two events shows the time between them.
import { $, button, count, idOf, make, nameOf, signed } from "./elements.js";

const SHOWN = 20; // explanations cover no more events than these
const SHOWN_NARROW = 5; // on a phone, where the recommendations are below the timeline
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
let showsAll = false;
let shownOwner = null;

/** Return a key by which an event and a cause of a recommendation can be matched. */
export const eventKey = ({ item_id, timestamp, kind }) => `${timestamp}\u0000${kind ?? ""}\u0000${item_id}`;

export function age(timestamp, now = Date.now()) {
  const seconds = (timestamp - now) / 1000;
  const [, unit, size] = AGES.find(([below]) => Math.abs(seconds) < below);
  return Math.abs(seconds) < 2 ? "just now" : relative.format(Math.round(seconds / size), unit);
}

/** Show events, given oldest first. `owner`: whose history it is; another history starts shortened again. */
export function showTimeline(owner, events, { more = 0, remove = null, emptyText }) {
  if (owner !== shownOwner) showsAll = false;
  shownOwner = owner;
  const before = new Set(rows.keys());
  rows.clear();
  const newestFirst = [...events].reverse();
  const limit = matchMedia("(min-width: 60rem)").matches ? SHOWN : SHOWN_NARROW;
  const shown = showsAll ? newestFirst : newestFirst.slice(0, limit);
  const earlier = newestFirst.length - shown.length + more;
  $("timeline").start = shown.length + earlier;
  $("timeline").replaceChildren(...shown.map((event, index) => row(event, shown[index + 1], before, remove)));
  $("now-text").textContent = newestFirst.length ? "the recommendations are for this time" : emptyText;
  const showEarlier = $("earlier");
  showEarlier.hidden = earlier === 0;
  showEarlier.disabled = newestFirst.length === shown.length;
  showEarlier.textContent = showEarlier.disabled ? `${count(earlier, "earlier event")} not shown` : `Show ${count(earlier, "earlier event")}`;
  showEarlier.onclick = () => {
    showsAll = true;
    showTimeline(owner, events, { more, remove, emptyText });
    const next = $("timeline").children[limit];
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
    make("span", { className: "influence", attributes: { "aria-hidden": "true" } }),
    remove && button("\u00d7", () => remove(event), { className: "remove", ariaLabel: `Remove ${nameOf(event)}`, title: "Remove" }),
  );
  const gap = earlier ? Math.log10(1 + Math.max(0, event.timestamp - earlier.timestamp) / 60_000) : 0;
  element.style.setProperty("--gap", `${Math.min(gap * 0.35, 2).toFixed(2)}rem`);
  if (!rows.has(key)) rows.set(key, element); // of equal events, the newest
  return element;
}

/** Mark the causes of a recommendation. Returns those on the timeline, with their elements. */
export function markCauses(causes) {
  const visible = causes.flatMap((cause) => (rows.has(eventKey(cause)) ? [{ ...cause, element: rows.get(eventKey(cause)) }] : []));
  const maxInfluence = Math.max(...visible.map(({ influence }) => Math.abs(influence)));
  for (const { element, influence } of visible) {
    element.classList.add("cause", influence < 0 ? "against" : "for");
    element.style.setProperty("--strength", (Math.abs(influence) / (maxInfluence || 1)).toFixed(3));
    element.querySelector(".influence").textContent = signed(influence);
  }
  $("timeline").classList.toggle("marked", visible.length > 0);
  return visible;
}

export function unmarkCauses() {
  $("timeline").classList.remove("marked");
  for (const element of document.querySelectorAll(".event.cause")) {
    element.classList.remove("cause", "for", "against");
    element.querySelector(".influence").textContent = "";
  }
}

/** Update the ages of the events. */
export function updateAges() {
  for (const time of document.querySelectorAll(".event time")) time.textContent = age(Date.parse(time.dateTime));
}
