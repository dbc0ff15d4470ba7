// The smaller parts of the page: what went wrong, items found, users, the continuation, similar items, the two dialogs.
import { $, button, idOf, make, nameOf } from "./elements.js";

/** Say what is wrong, in the server's words. `about`: with what, so that it is taken back when that goes well. */
export function tell(problem, about) {
  const words = problem.hint ? [problem.message, problem.hint] : [problem.message];
  $("trouble").dataset.about = about;
  $("trouble").replaceChildren(
    make("p", {}, ...words.flatMap((text) => [sentence(text), " "])),
    button("Close", quiet, { ariaLabel: "Close this message" }),
  );
}

export const quiet = () => $("trouble").replaceChildren();

export function quietAbout(...subjects) {
  if (subjects.includes($("trouble").dataset.about)) quiet();
}

export const sentence = (text) => {
  const trimmed = text.trim();
  return `${trimmed[0].toUpperCase()}${trimmed.slice(1)}${/[.?!]$/.test(trimmed) ? "" : "."}`;
};

/** Put rows in the place of others; who was at a button among them is at the one that has its place now. */
function replaceRows(list, rows) {
  const place = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...rows);
  if (place < 0) return;
  const buttons = list.querySelectorAll("button");
  buttons[Math.min(place, buttons.length - 1)]?.focus({ preventScroll: true });
}

/** Rows of items that can be added. */
export function itemRows(list, items, add, score = null) {
  replaceRows(
    list,
    items.map((item) =>
      make(
        "li", {},
        make(
          "button", { type: "button", onclick: () => add(item), ariaLabel: `Add ${nameOf(item)}` },
          make("span", { className: "plus", attributes: { "aria-hidden": "true" } }, "+"),
          make("span", { className: "title" }, nameOf(item), " ", idOf(item)),
          score && make("span", { className: "score" }, score(item)),
        ),
      ),
    ),
  );
}

/** Buttons of users, the one that is shown pressed. */
export function userChips(users, current, choose) {
  $("newest").hidden = !users.length;
  replaceRows(
    $("users"),
    users.map((user) =>
      make("li", {}, button(user, () => choose(user), { className: "chip", attributes: { "aria-pressed": String(user === current) } })),
    ),
  );
}

export function deniedChips(denied, allow) {
  $("denied-box").hidden = !denied.size;
  $("denied").replaceChildren(
    ...[...denied].map(([id, name]) =>
      make("li", {}, button(`${name} \u00d7`, () => allow(id), { className: "chip", ariaLabel: `Allow ${name} again` })),
    ),
  );
}

/** A continuation, with the chance of each step after those before it. */
export function showPath(items, add) {
  replaceRows(
    $("path"),
    items.map((item) =>
      make(
        "li", {},
        make("span", { className: "title" }, nameOf(item), " ", idOf(item)),
        make("span", { className: "score" }, percent(Math.exp(item.log_probability))),
        button("Add", () => add(item), { ariaLabel: `Add ${nameOf(item)}` }),
      ),
    ),
  );
}

const percent = (share) => (share < 0.001 ? "under 0.1 %" : `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`);

export function showSimilar(item, items, add) {
  $("similar-head").textContent = `Like ${nameOf(item)}`;
  itemRows($("similar-items"), items, (other) => {
    $("similar").close();
    add(other);
  }, (other) => other.score.toFixed(2));
  if (!$("similar").open) $("similar").showModal();
}

/** Whether a person really wants to forget a user. */
export function confirmForget(user) {
  const dialog = $("forget-dialog");
  $("forget-head").textContent = `Forget ${user}?`;
  $("forget-words").textContent =
    "All their events, and all that was made from them, are removed from the log at once. Nobody can bring them back.";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
