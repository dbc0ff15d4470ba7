// Latency of the last requests, as this browser measures it: from the request to the parsed response.
import { $, count, makeSvg } from "./elements.js";

const KEPT = 40;
const WIDTH = 120;
const HEIGHT = 24;
const times = [];

export function recordLatency(ms) {
  times.push(ms);
  if (times.length > KEPT) times.shift();
  const medianMs = median(times);
  $("latency").textContent =
    `${format(ms)}${times.length > 1 ? `, median of the last ${count(times.length, "request")} ${format(medianMs)}` : ""}`;
  drawSparkline(medianMs);
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

const format = (ms) => `${ms < 100 ? ms.toFixed(1) : ms.toFixed(0)} ms`;

function drawSparkline(medianMs) {
  const maxMs = Math.max(...times, medianMs * 2);
  const y = (ms) => HEIGHT - 2 - ((HEIGHT - 4) * ms) / maxMs;
  const x = (index) => WIDTH - 3 - (times.length - 1 - index) * ((WIDTH - 6) / (KEPT - 1));
  const points = times.map((ms, index) => `${x(index).toFixed(1)},${y(ms).toFixed(1)}`);
  $("spark").replaceChildren(
    makeSvg("line", { class: "median", x1: 0, x2: WIDTH, y1: y(medianMs), y2: y(medianMs) }),
    makeSvg("polyline", { points: points.join(" ") }),
    makeSvg("circle", { cx: x(times.length - 1), cy: y(times.at(-1)), r: 2.5 }),
  );
}
