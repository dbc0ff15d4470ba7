// The answer: items with their scores, why they are there, and how far each moved since the answer before.
import { $, button, calm, count, idOf, make, nameOf, signed } from "./elements.js";
import { link, unlink } from "./links.js";
import { markCauses, unmark } from "./timeline.js";

const SLIDE = { duration: 380, easing: "cubic-bezier(.2,.7,.2,1)" };
const rows = new Map();
let actions = {};
let resting;

export function onItem(given) {
  actions = given;
}

/** What an answer is compared with later: ranks by id, and how many there were. */
export const ranksOf = (items) => new Map(items.map((item) => [String(item.item_id), { rank: item.rank, name: nameOf(item) }]));

/** Show an answer, and how it differs from the one before (null: nothing to compare with). */
export function showAnswer(items, before) {
  unhighlight();
  const list = $("items");
  const focused = focusedAction(list);
  const tops = new Map([...rows].map(([id, row]) => [id, row.element.getBoundingClientRect().top]));
  const kept = new Set(items.map((item) => String(item.item_id)));
  for (const id of [...rows.keys()]) if (!kept.has(id)) rows.delete(id);
  const scale = scoreScale(items);
  const most = Math.max(...items.flatMap((item) => (item.causes ?? []).map(({ influence }) => Math.abs(influence))), 1e-9);
  const elements = items.map((item) => {
    const id = String(item.item_id);
    if (!rows.has(id)) rows.set(id, new Row(item));
    const row = rows.get(id);
    row.show(item, scale, before && movement(item, before), most);
    return row.element;
  });
  list.replaceChildren(...elements);
  $("why-note").hidden = !items.some((item) => item.causes?.length);
  restoreFocus(list, focused);
  if (!calm()) slide(tops);
  highlightAgain();
}

/** Mark again what is pointed at, when what moves has come to rest. */
export function highlightAgain() {
  clearTimeout(resting);
  const pointed = () => [...rows.values()].find(({ element }) => element.matches(":hover, :focus-within"));
  resting = setTimeout(() => pointed()?.highlight(), calm() ? 0 : SLIDE.duration + 20);
}

/** What changed, in words. */
export function inWords(items, before) {
  if (!items.length) return "No item passes the rules.";
  const first = `First: ${nameOf(items[0])}.`;
  if (!before) return first;
  const moves = items.map((item) => movement(item, before));
  const now = new Set(items.map((item) => String(item.item_id)));
  const gone = [...before].filter(([id, { rank }]) => !now.has(id) && rank <= items.length).map(([, { name }]) => name);
  const said = [
    [moves.filter((move) => move === "new").length, "new"],
    [moves.filter((move) => move > 0).length, "up"],
    [moves.filter((move) => move < 0).length, "down"],
  ].filter(([number]) => number);
  if (!said.length && !gone.length) return `Nothing moved. ${first}`;
  const left = gone.length > 3 ? `${gone.slice(0, 3).join(", ")} and ${count(gone.length - 3, "other")}` : gone.join(", ");
  return `${said.map(([number, word]) => `${number} ${word}`).join(", ") || "None new"}. ${first}${left ? ` Gone: ${left}.` : ""}`;
}

/** "new", or by how many places an item rose; null where the answer before was too short to tell. */
function movement(item, before) {
  const was = before.get(String(item.item_id));
  if (was) return was.rank - item.rank;
  return item.rank <= before.size ? "new" : null;
}

/** From a score to the length of its bar: from zero where no score is below it, else from a little below the least. */
function scoreScale(items) {
  const scores = items.map((item) => item.score);
  const high = Math.max(...scores);
  const least = Math.min(...scores);
  const low = least >= 0 ? 0 : least - (high - least) * 0.1;
  return (score) => (high > low ? (score - low) / (high - low) : 1);
}

const scoreInWords = (score) => (score !== 0 && Math.abs(score) < 0.1 ? score.toPrecision(2) : score.toFixed(2));

class Row {
  constructor(item) {
    const name = nameOf(item);
    this.rank = make("span", { className: "rank" });
    this.move = make("span", { className: "move" });
    this.title = make("span", { className: "title" });
    this.bar = make("i");
    this.score = make("span", { className: "score" });
    this.reason = make("p", { className: "reason" });
    this.why = make("ul", { className: "why", attributes: { role: "list", "aria-label": "Why" } });
    const act = (verb, text, label) =>
      button(text, () => actions[verb](this.item), { ariaLabel: `${label} ${name}`, dataset: { verb } });
    this.element = make(
      "li",
      { className: "item", dataset: { id: String(item.item_id) } },
      make("div", { className: "place" }, this.rank, this.move),
      make(
        "div",
        { className: "what" },
        this.title,
        make("div", { className: "measure" }, make("span", { className: "bar", attributes: { "aria-hidden": "true" } }, this.bar), this.score),
      ),
      make("div", { className: "because-of" }, this.reason, this.why),
      make("div", { className: "acts" }, act("add", "Add", "Add"), act("similar", "Similar", "Items similar to"), act("deny", "Not this", "Not this:")),
    );
    for (const name of ["pointerenter", "focusin"]) this.element.addEventListener(name, () => this.highlight());
    this.element.addEventListener("pointerleave", unhighlight);
    this.element.addEventListener("focusout", (event) => this.element.contains(event.relatedTarget) || unhighlight());
  }

  show(item, scale, moved, most) {
    this.item = item;
    this.rank.textContent = item.rank;
    this.title.replaceChildren(nameOf(item), " ", idOf(item) ?? "");
    this.bar.style.setProperty("--share", Math.max(0, scale(item.score)).toFixed(4));
    this.score.replaceChildren(make("span", { className: "unseen" }, "score "), scoreInWords(item.score));
    this.showMove(moved);
    // while the reasons are looked for, those of the answer before stand there, faded
    this.element.classList.toggle("asking", item.causes === null);
    if (item.causes) this.showWhy(item.causes, most);
    if (item.causes?.length === 0 || (item.causes === null && !this.why.children.length)) this.reason.textContent = item.reason;
  }

  showMove(moved) {
    const [css, text, words] =
      moved === "new" ? ["new", "new", "new"]
      : moved > 0 ? ["up", `\u2191\u2009${moved}`, `up ${moved}`]
      : moved < 0 ? ["down", `\u2193\u2009${-moved}`, `down ${-moved}`]
      : ["", "", ""];
    this.move.className = `move ${css}`;
    this.move.replaceChildren(
      make("span", { attributes: { "aria-hidden": "true" } }, text), make("span", { className: "unseen" }, words));
  }

  showWhy(causes, most) {
    this.reason.textContent = "";
    this.why.replaceChildren(...causes.map((cause) => {
      const bar = make("i", { className: cause.influence < 0 ? "against" : "for", attributes: { "aria-hidden": "true" } });
      bar.style.setProperty("--share", (Math.abs(cause.influence) / most).toFixed(3));
      return make(
        "li", {}, make("span", { className: "push" }, signed(cause.influence)), bar, make("span", { className: "because" }, nameOf(cause)),
      );
    }));
  }

  highlight() {
    unhighlight();
    const found = markCauses(this.item.causes ?? []);
    this.element.classList.add("pointed");
    if (found.length) link(found, this.element);
  }
}

export function unhighlight() {
  unmark();
  unlink();
  document.querySelector(".item.pointed")?.classList.remove("pointed");
}

/** Reasons of an answer that was not explained are the server's sentence. */
export function showReasons(items) {
  for (const item of items) {
    const row = rows.get(String(item.item_id));
    row.showWhy([], 1);
    row.reason.textContent = item.reason;
    row.element.classList.remove("asking");
  }
}

function focusedAction(list) {
  const focused = document.activeElement;
  if (!list.contains(focused)) return null;
  const element = focused.closest(".item");
  return { id: element.dataset.id, verb: focused.dataset.verb, place: [...list.children].indexOf(element) };
}

/** Keep the focus on the same item, or on what stands in its place now. */
function restoreFocus(list, focused) {
  if (!focused) return;
  const element = rows.get(focused.id)?.element ?? list.children[Math.min(focused.place, list.children.length - 1)];
  (element?.querySelector(`[data-verb="${focused.verb}"]`) ?? $("answer")).focus({ preventScroll: true });
}

function slide(tops) {
  for (const [id, { element }] of rows) {
    const by = tops.has(id) ? tops.get(id) - element.getBoundingClientRect().top : null;
    if (by === null) element.animate([{ opacity: 0 }, { opacity: 1 }], SLIDE);
    else if (by) element.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], SLIDE);
  }
}
