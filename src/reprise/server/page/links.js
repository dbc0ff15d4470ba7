// Curves from the events of the time line to the item they moved, where both stand side by side.
import { draw } from "./elements.js";

const MOST = 5;
let sheet = null;

/** Draw them. `found`: elements of the time line with their influence. */
export function link(found, target) {
  unlink();
  const place = document.querySelector("main");
  const origin = place.getBoundingClientRect();
  const end = target.getBoundingClientRect();
  const most = Math.max(...found.map(({ influence }) => Math.abs(influence)));
  sheet = draw("svg", { class: "links", "aria-hidden": "true" });
  for (const { element, influence } of found) {
    const begin = element.getBoundingClientRect();
    if (begin.right > end.left) return; // one below the other, as on a phone
    const [x1, y1] = [begin.right - origin.left + 4, begin.top + begin.height / 2 - origin.top];
    const [x2, y2] = [end.left - origin.left - 4, end.top + Math.min(end.height / 2, 24) - origin.top];
    const middle = (x1 + x2) / 2;
    sheet.append(
      draw("path", {
        class: influence < 0 ? "against" : "for",
        d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`,
        "stroke-width": Math.max(1, (MOST * Math.abs(influence)) / (most || 1)),
      }),
    );
  }
  place.append(sheet);
}

export function unlink() {
  sheet?.remove();
  sheet = null;
}
