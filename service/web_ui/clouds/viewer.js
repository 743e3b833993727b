// A cloud to turn and zoom: points drawn by the processor into a canvas, so that it looks the same
// where there is no GPU, and as many of them can stand on a page as the page likes.

import { el } from "../shared/dom.js";
import { Orbit } from "./orbit.js";
import { paintPoints } from "./points.js";
import { edges } from "./boxes.js";

const MAX_RATIO = 2;

/**
 * `cloud` as `readCloud` gives it. `boxes` are {centre, size, yaw, label, colour} in the file's
 * units and along its axes; `yaw` is in radians.
 */
export class CloudViewer {
  constructor(cloud, { upAxis = "z", units = "m", boxes = [], name = "cloud" } = {}) {
    this.cloud = { ...cloud, xyz: upAxis === "y" ? stood(cloud.xyz) : cloud.xyz };
    [this.low, this.high] = bounds(this.cloud.xyz);
    this.boxes = boxes.map((box) => {
      const centre = box.centre.map((value, axis) => value - cloud.origin[axis]);
      return { ...box, edges: edges({ ...box, centre }, upAxis) };
    });
    this.lit = -1;
    this.canvas = el("canvas", {
      tabindex: "0",
      role: "img",
      class: "cloud-canvas",
      "aria-label": `${name}: ${cloud.count} points. Arrow keys rotate, plus and minus zoom, R resets the view.`,
    });
    this.context = this.canvas.getContext("2d");
    this.layer = document.createElement("canvas");
    this.orbit = new Orbit(this.canvas, this.#reach(), () => this.#later());
    this.element = el(
      "figure",
      { class: "viewer" },
      this.canvas,
      el("figcaption", {}, this.#caption(cloud, units)),
    );
    this.observer = new ResizeObserver(() => this.#later());
    this.observer.observe(this.canvas);
    this.#followTheme();
  }

  /** Makes one box stand out; -1 for none. */
  light(index) {
    this.lit = index;
    this.#later();
  }

  /** The window outlives every viewer: it must not be what keeps one, and its points, in memory. */
  #followTheme() {
    const theme = matchMedia("(prefers-color-scheme: dark)");
    const kept = new WeakRef(this);
    const repaint = () => {
      const viewer = kept.deref();
      if (viewer) viewer.#later();
      else theme.removeEventListener("change", repaint);
    };
    theme.addEventListener("change", repaint);
  }

  #reach() {
    const sides = this.low.map((low, axis) => this.high[axis] - low);
    return {
      centre: this.low.map((low, axis) => low + sides[axis] / 2),
      radius: Math.hypot(...sides) / 2 || 1,
    };
  }

  #caption(cloud, units) {
    const sides = cloud.low.map((low, axis) => number(cloud.high[axis] - low)).join(" × ");
    return `${cloud.count.toLocaleString("en")} points, ${sides} ${units}`;
  }

  #later() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.#draw();
    });
  }

  #draw() {
    const ratio = Math.min(devicePixelRatio || 1, MAX_RATIO);
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight].map((side) =>
      Math.round(side * ratio),
    );
    if (!width || !height) return;
    for (const canvas of [this.canvas, this.layer]) {
      if (canvas.width !== width || canvas.height !== height)
        [canvas.width, canvas.height] = [width, height];
    }
    const view = this.orbit.view(width, height);
    const style = getComputedStyle(this.canvas);
    const layer = this.layer.getContext("2d");
    layer.putImageData(paintPoints(this.cloud, this.low[2], this.high[2], view, ratio), 0, 0);
    this.context.clearRect(0, 0, width, height);
    this.#grid(view, style.getPropertyValue("--line"), ratio);
    this.context.drawImage(this.layer, 0, 0);
    this.boxes.forEach((box, index) => this.#box(view, box, index, ratio, style));
  }

  /** The floor, in squares of a round size. */
  #grid(view, colour, ratio) {
    const [low, high] = [this.low, this.high];
    const side = Math.max(high[0] - low[0], high[1] - low[1]) || 1;
    const step = 10 ** Math.floor(Math.log10(side / 2));
    const unit = side / step > 12 ? step * 2 : step;
    const [x0, y0] = [0, 1].map((axis) => Math.floor(low[axis] / unit - 0.5) * unit);
    const [x1, y1] = [0, 1].map((axis) => Math.ceil(high[axis] / unit + 0.5) * unit);
    this.context.lineWidth = ratio;
    this.context.strokeStyle = colour;
    this.context.beginPath();
    for (let x = x0; x <= x1 + unit / 2; x += unit)
      this.#line(view, [x, y0, low[2]], [x, y1, low[2]]);
    for (let y = y0; y <= y1 + unit / 2; y += unit)
      this.#line(view, [x0, y, low[2]], [x1, y, low[2]]);
    this.context.stroke();
  }

  #box(view, box, index, ratio, style) {
    const context = this.context;
    const faded = this.lit >= 0 && this.lit !== index;
    context.globalAlpha = faded ? 0.25 : 1;
    context.strokeStyle = box.colour;
    context.lineWidth = (this.lit === index ? 3.5 : 2) * ratio;
    context.beginPath();
    for (const [from, to] of box.edges) this.#line(view, from, to);
    context.stroke();
    const corners = box.edges.map(([from]) => view.project(...from)).filter(Boolean);
    if (box.label && corners.length) {
      const [x, y] = corners.reduce((best, one) => (one[1] < best[1] ? one : best));
      this.#label(box, x, y, ratio, style);
    }
    context.globalAlpha = 1;
  }

  #label(box, x, y, ratio, style) {
    const context = this.context;
    context.font = `600 ${12 * ratio}px ${style.fontFamily}`;
    const width = context.measureText(box.label).width + 10 * ratio;
    const left = Math.min(Math.max(x - width / 2, 0), this.canvas.width - width);
    const top = Math.max(y - 22 * ratio, 0);
    context.fillStyle = box.colour;
    context.beginPath();
    context.roundRect(left, top, width, 18 * ratio, 4 * ratio);
    context.fill();
    context.fillStyle = box.ink;
    context.textBaseline = "middle";
    context.fillText(box.label, left + 5 * ratio, top + 9.5 * ratio);
  }

  #line(view, from, to) {
    const [a, b] = [view.project(...from), view.project(...to)];
    if (!a || !b) return;
    this.context.moveTo(a[0], a[1]);
    this.context.lineTo(b[0], b[1]);
  }
}

/** Up along y becomes up along z, by the server's own turn: (x, y, z) -> (x, -z, y). */
function stood(xyz) {
  const turned = new Float32Array(xyz.length);
  for (let at = 0; at < xyz.length; at += 3) {
    [turned[at], turned[at + 1], turned[at + 2]] = [xyz[at], -xyz[at + 2], xyz[at + 1]];
  }
  return turned;
}

function bounds(xyz) {
  const [low, high] = [
    [Infinity, Infinity, Infinity],
    [-Infinity, -Infinity, -Infinity],
  ];
  for (let at = 0; at < xyz.length; at++) {
    low[at % 3] = Math.min(low[at % 3], xyz[at]);
    high[at % 3] = Math.max(high[at % 3], xyz[at]);
  }
  return [low, high];
}

function number(value) {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(2);
}
