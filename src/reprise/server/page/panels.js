// The smaller parts of the page: errors, search results, users, the continuation, similar items and the dialogs.
import { $, button, idOf, make, nameOf } from "./elements.js";

/** Show an error with the server's message. `topic`: the action that failed, whose next success removes the message. */
export function showError(error, topic) {
  const texts = error.hint ? [error.message, error.hint] : [error.message];
  $("error").dataset.topic = topic;
  $("error").replaceChildren(
    make("p", {}, ...texts.flatMap((text) => [sentence(text), " "])),
    button("Close", hideError, { ariaLabel: "Close this message" }),
  );
}

export const hideError = () => $("error").replaceChildren();

export function hideErrorAbout(...topics) {
  if (topics.includes($("error").dataset.topic)) hideError();
}

export const sentence = (text) => {
  const trimmed = text.trim();
  return `${trimmed[0].toUpperCase()}${trimmed.slice(1)}${/[.?!]$/.test(trimmed) ? "" : "."}`;
};

/** Replace the rows of a list. If a button in it had the focus, the button at the same position gets it. */
function replaceRows(list, rows) {
  const index = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...rows);
  if (index < 0) return;
  const buttons = list.querySelectorAll("button");
  buttons[Math.min(index, buttons.length - 1)]?.focus({ preventScroll: true });
}

/** Show rows of items with a button that adds the item to the history. */
export function showItems(list, items, add, score = null) {
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

/** Show a button for each user. The button of the current user is pressed. */
export function showUsers(users, current, choose) {
  $("newest").hidden = !users.length;
  replaceRows(
    $("users"),
    users.map((user) =>
      make("li", {}, button(user, () => choose(user), { className: "chip", attributes: { "aria-pressed": String(user === current) } })),
    ),
  );
}

export function showDenied(denied, allow) {
  $("denied-box").hidden = !denied.size;
  $("denied").replaceChildren(
    ...[...denied].map(([id, name]) =>
      make("li", {}, button(`${name} \u00d7`, () => allow(id), { className: "chip", ariaLabel: `Allow ${name} again` })),
    ),
  );
}

/** Show a continuation, with the probability of each item given the items before it. */
export function showContinuation(items, add) {
  replaceRows(
    $("path"),
    items.map((item) =>
      make(
        "li", {},
        make("span", { className: "title" }, nameOf(item), " ", idOf(item)),
        make("span", { className: "score" }, item.log_probability === null ? "" : percent(Math.exp(item.log_probability))),
        button("Add", () => add(item), { ariaLabel: `Add ${nameOf(item)}` }),
      ),
    ),
  );
}

const percent = (share) => (share < 0.001 ? "under 0.1 %" : `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`);

export function showSimilar(item, items, add) {
  $("similar-head").textContent = `Similar to ${nameOf(item)}`;
  showItems($("similar-items"), items, (other) => {
    $("similar").close();
    add(other);
  }, (other) => other.score?.toFixed(2) ?? "");
  if (!$("similar").open) $("similar").showModal();
}

/** Ask for confirmation of a deletion. Resolves to true if the person confirms it. */
export function confirmDeletion(user) {
  const dialog = $("delete-dialog");
  $("delete-head").textContent = `Delete ${user}?`;
  $("delete-text").textContent =
    "All events of this user, and everything computed from them, are deleted immediately. This cannot be undone.";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
