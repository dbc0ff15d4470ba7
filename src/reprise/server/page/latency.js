// How long the last questions took, as this browser measured it: from asking to having read the answer.
import { $, count, draw } from "./elements.js";

const KEPT = 40;
const WIDTH = 120;
const HEIGHT = 24;
const times = [];

export function took(ms) {
  times.push(ms);
  if (times.length > KEPT) times.shift();
  const middle = median(times);
  $("latency").textContent =
    `${inWords(ms)}${times.length > 1 ? `, median of the last ${count(times.length, "question")} ${inWords(middle)}` : ""}`;
  picture(middle);
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

const inWords = (ms) => `${ms < 100 ? ms.toFixed(1) : ms.toFixed(0)} ms`;

function picture(middle) {
  const most = Math.max(...times, middle * 2);
  const y = (ms) => HEIGHT - 2 - ((HEIGHT - 4) * ms) / most;
  const x = (place) => WIDTH - 3 - (times.length - 1 - place) * ((WIDTH - 6) / (KEPT - 1));
  const points = times.map((ms, place) => `${x(place).toFixed(1)},${y(ms).toFixed(1)}`);
  $("spark").replaceChildren(
    draw("line", { class: "middle", x1: 0, x2: WIDTH, y1: y(middle), y2: y(middle) }),
    draw("polyline", { points: points.join(" ") }),
    draw("circle", { cx: x(times.length - 1), cy: y(times.at(-1)), r: 2.5 }),
  );
}
