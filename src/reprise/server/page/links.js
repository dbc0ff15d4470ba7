// Curves from events on the timeline to the item that they influenced, in the two-column layout.
import { makeSvg } from "./elements.js";

const MAX_WIDTH = 5;
let overlay = null;

/** Draw the curves. `causes`: elements of the timeline with their influence. */
export function drawLinks(causes, target) {
  removeLinks();
  const main = document.querySelector("main");
  const origin = main.getBoundingClientRect();
  const end = target.getBoundingClientRect();
  const maxInfluence = Math.max(...causes.map(({ influence }) => Math.abs(influence)));
  overlay = makeSvg("svg", { class: "links", "aria-hidden": "true" });
  for (const { element, influence } of causes) {
    const start = element.getBoundingClientRect();
    if (start.right > end.left) return; // one column, as on a phone
    const [x1, y1] = [start.right - origin.left + 4, start.top + start.height / 2 - origin.top];
    const [x2, y2] = [end.left - origin.left - 4, end.top + Math.min(end.height / 2, 24) - origin.top];
    const middle = (x1 + x2) / 2;
    overlay.append(
      makeSvg("path", {
        class: influence < 0 ? "against" : "for",
        d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`,
        "stroke-width": Math.max(1, (MAX_WIDTH * Math.abs(influence)) / (maxInfluence || 1)),
      }),
    );
  }
  main.append(overlay);
}

export function removeLinks() {
  overlay?.remove();
  overlay = null;
}
