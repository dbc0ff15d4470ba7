// The recommendations: items with scores, explanations, and the change of their ranks since the previous response.
import { $, button, count, idOf, make, nameOf, reducesMotion, signed } from "./elements.js";
import { drawLinks, removeLinks } from "./links.js";
import { markCauses, unmarkCauses } from "./timeline.js";

const SLIDE = { duration: 380, easing: "cubic-bezier(.2,.7,.2,1)" };
const rows = new Map();
let actions = {};
let highlightTimer;

/** Set the functions that the buttons of an item call: `add`, `similar` and `deny`. */
export function setItemActions(functions) {
  actions = functions;
}

/** Return the ranks and names of items by id, for the comparison with the next response. */
export const ranksOf = (items) => new Map(items.map((item) => [String(item.item_id), { rank: item.rank, name: nameOf(item) }]));

/** Show items, and the change of their ranks. `before`: the ranks of the previous response; null: do not compare. */
export function showRecommendations(items, before) {
  unhighlight();
  const list = $("items");
  const focused = focusedAction(list);
  const tops = new Map([...rows].map(([id, row]) => [id, row.element.getBoundingClientRect().top]));
  const ids = new Set(items.map((item) => String(item.item_id)));
  for (const id of [...rows.keys()]) if (!ids.has(id)) rows.delete(id);
  const scale = scoreScale(items);
  const maxInfluence = Math.max(...items.flatMap((item) => (item.causes ?? []).map(({ influence }) => Math.abs(influence))), 1e-9);
  const elements = items.map((item) => {
    const id = String(item.item_id);
    if (!rows.has(id)) rows.set(id, new Row(item));
    const row = rows.get(id);
    row.show(item, scale, before && rankChange(item, before), maxInfluence);
    return row.element;
  });
  list.replaceChildren(...elements);
  $("causes-note").hidden = !items.some((item) => item.causes?.length);
  restoreFocus(list, focused);
  if (!reducesMotion()) slide(tops);
  highlightAgain();
}

/** Highlight the item under the pointer again, after the animation has ended. */
export function highlightAgain() {
  clearTimeout(highlightTimer);
  const pointed = () => [...rows.values()].find(({ element }) => element.matches(":hover, :focus-within"));
  highlightTimer = setTimeout(() => pointed()?.highlight(), reducesMotion() ? 0 : SLIDE.duration + 20);
}

/** Return a sentence about what changed. */
export function describeChanges(items, before) {
  if (!items.length) return "No item passes the rules.";
  const first = `First: ${nameOf(items[0])}.`;
  if (!before) return first;
  const changes = items.map((item) => rankChange(item, before));
  const ids = new Set(items.map((item) => String(item.item_id)));
  const removed = [...before].filter(([id, { rank }]) => !ids.has(id) && rank <= items.length).map(([, { name }]) => name);
  const counts = [
    [changes.filter((change) => change === "new").length, "new"],
    [changes.filter((change) => change > 0).length, "up"],
    [changes.filter((change) => change < 0).length, "down"],
  ].filter(([number]) => number);
  if (!counts.length && !removed.length) return `No change. ${first}`;
  const names = removed.length > 3 ? `${removed.slice(0, 3).join(", ")} and ${count(removed.length - 3, "other")}` : removed.join(", ");
  return `${counts.map(([number, word]) => `${number} ${word}`).join(", ") || "None new"}. ${first}${names ? ` Removed: ${names}.` : ""}`;
}

/** Return "new", or the number of ranks that an item rose; null if the previous list was too short to know. */
function rankChange(item, before) {
  const previous = before.get(String(item.item_id));
  if (previous) return previous.rank - item.rank;
  return item.rank <= before.size ? "new" : null;
}

/** Return a function from a score to the length of its bar. Bars start at zero, or below the lowest negative score. */
function scoreScale(items) {
  const scores = items.map((item) => item.score);
  const high = Math.max(...scores);
  const lowest = Math.min(...scores);
  const low = lowest >= 0 ? 0 : lowest - (high - lowest) * 0.1;
  return (score) => (high > low ? (score - low) / (high - low) : 1);
}

const formatScore = (score) => (score !== 0 && Math.abs(score) < 0.1 ? score.toPrecision(2) : score.toFixed(2));

class Row {
  constructor(item) {
    const name = nameOf(item);
    this.rank = make("span", { className: "rank" });
    this.change = make("span", { className: "move" });
    this.title = make("span", { className: "title" });
    this.bar = make("i");
    this.score = make("span", { className: "score" });
    this.measure = make(
      "div", { className: "measure" }, make("span", { className: "bar", attributes: { "aria-hidden": "true" } }, this.bar), this.score,
    );
    this.reason = make("p", { className: "reason" });
    this.causes = make("ul", { className: "causes", attributes: { role: "list", "aria-label": "Explanation" } });
    const actionButton = (action, text, label) =>
      button(text, () => actions[action](this.item), { ariaLabel: `${label} ${name}`, dataset: { action } });
    this.element = make(
      "li",
      { className: "item", dataset: { id: String(item.item_id) } },
      make("div", { className: "place" }, this.rank, this.change),
      make(
        "div",
        { className: "what" },
        this.title,
        this.measure,
      ),
      make("div", { className: "explanation" }, this.reason, this.causes),
      make(
        "div",
        { className: "actions" },
        actionButton("add", "Add", "Add"),
        make(
          "details", { className: "more" }, make("summary", { attributes: { "aria-label": `More for ${name}` } }, "More"),
          actionButton("similar", "Similar", "Items similar to"),
          actionButton("deny", "Exclude", "Exclude"),
        ),
      ),
    );
    for (const type of ["pointerenter", "focusin"]) this.element.addEventListener(type, () => this.highlight());
    this.element.addEventListener("pointerleave", unhighlight);
    this.element.addEventListener("focusout", (event) => this.element.contains(event.relatedTarget) || unhighlight());
  }

  show(item, scale, change, maxInfluence) {
    this.item = item;
    this.rank.textContent = item.rank;
    this.title.replaceChildren(nameOf(item), " ", idOf(item) ?? "");
    this.measure.hidden = item.score === null; // the API key gets ranks only
    if (item.score !== null) {
      this.bar.style.setProperty("--share", Math.max(0, scale(item.score)).toFixed(4));
      this.score.replaceChildren(make("span", { className: "visually-hidden" }, "score "), formatScore(item.score));
    }
    this.showChange(change);
    // until the explanation arrives, the previous one stays visible but faded
    this.element.classList.toggle("loading", item.causes === null);
    if (item.causes) this.showCauses(item.causes, maxInfluence);
    if (item.causes?.length === 0 || (item.causes === null && !this.causes.children.length)) this.reason.textContent = item.reason;
  }

  showChange(change) {
    const [css, text, spoken] =
      change === "new" ? ["new", "new", "new"]
      : change > 0 ? ["up", `\u2191\u2009${change}`, `up ${change}`]
      : change < 0 ? ["down", `\u2193\u2009${-change}`, `down ${-change}`]
      : ["", "", ""];
    this.change.className = `move ${css}`;
    this.change.replaceChildren(
      make("span", { attributes: { "aria-hidden": "true" } }, text), make("span", { className: "visually-hidden" }, spoken));
  }

  showCauses(causes, maxInfluence) {
    this.reason.textContent = "";
    this.causes.replaceChildren(...causes.map((cause) => {
      const bar = make("i", { className: cause.influence < 0 ? "against" : "for", attributes: { "aria-hidden": "true" } });
      bar.style.setProperty("--share", (Math.abs(cause.influence) / maxInfluence).toFixed(3));
      return make(
        "li", {}, make("span", { className: "influence" }, signed(cause.influence)), bar, make("span", { className: "cause-title" }, nameOf(cause)),
      );
    }));
  }

  highlight() {
    unhighlight();
    const causes = markCauses(this.item.causes ?? []);
    this.element.classList.add("pointed");
    if (causes.length) drawLinks(causes, this.element);
  }
}

export function unhighlight() {
  unmarkCauses();
  removeLinks();
  document.querySelector(".item.pointed")?.classList.remove("pointed");
}

/** Show the server's reasons of items that have no explanation by past events. */
export function showReasons(items) {
  for (const item of items) {
    const row = rows.get(String(item.item_id));
    row.showCauses([], 1);
    row.reason.textContent = item.reason;
    row.element.classList.remove("loading");
  }
}

function focusedAction(list) {
  const focused = document.activeElement;
  if (!list.contains(focused)) return null;
  const element = focused.closest(".item");
  return { id: element.dataset.id, action: focused.dataset.action, index: [...list.children].indexOf(element) };
}

/** Restore the focus to the same item, or to the item at the same position if it was removed from the list. */
function restoreFocus(list, focused) {
  if (!focused) return;
  const element = rows.get(focused.id)?.element ?? list.children[Math.min(focused.index, list.children.length - 1)];
  (element?.querySelector(`[data-action="${focused.action}"]`) ?? $("recommendations")).focus({ preventScroll: true });
}

function slide(tops) {
  for (const [id, { element }] of rows) {
    const distance = tops.has(id) ? tops.get(id) - element.getBoundingClientRect().top : null;
    if (distance === null) element.animate([{ opacity: 0 }, { opacity: 1 }], SLIDE);
    else if (distance) element.animate([{ transform: `translateY(${distance}px)` }, { transform: "none" }], SLIDE);
  }
}
