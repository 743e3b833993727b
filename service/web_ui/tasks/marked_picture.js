// A picture with boxes and points drawn over it from the answer's pixels.

import { el, svg } from "../shared/dom.js";
import { pictureOr } from "../shared/medium_view.js";

/**
 * `size` is the answer's {width, height}: where the browser cannot show the picture, marks are drawn
 * over an empty one. `onlight(index)` is called as a mark is pointed at; -1 when it is left.
 */
export class MarkedPicture {
  constructor(medium, places, size = null) {
    this.onlight = () => {};
    this.places = places;
    this.marks = [];
    const caption = el("figcaption", {}, medium.name);
    const image = pictureOr(
      medium,
      {
        alt: medium.name,
        // The browser turns a picture as the server does, so its natural size is the answer's frame.
        onload: () => this.#draw(image.naturalWidth, image.naturalHeight),
      },
      () => {
        caption.textContent = medium.noPreview;
        const empty = el("div", { class: "no-picture" });
        if (size) {
          empty.style.aspectRatio = `${size.width} / ${size.height}`;
          this.#draw(size.width, size.height);
        }
        return empty;
      },
    );
    this.frame = el("div", { class: "marked" }, image);
    this.element = el("figure", { class: "viewer" }, this.frame, caption);
  }

  /** Makes one mark stand out; -1 for none. */
  light(index) {
    this.frame.classList.toggle("some-lit", index >= 0);
    this.marks.forEach((mark, at) => mark.classList.toggle("lit", at === index));
  }

  #draw(width, height) {
    if (!this.places.length) return;
    const unit = Math.max(width, height) / 100;
    this.marks = this.places.map((place, index) => {
      const mark = svg(
        "g",
        {
          class: "mark",
          onpointerenter: () => this.#point(index),
          onpointerleave: () => this.#point(-1),
        },
        place.bbox ? box(place) : point(place, unit),
        label(place, unit),
      );
      return mark;
    });
    this.frame.append(
      svg(
        "svg",
        { class: "marks", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
        this.marks,
      ),
    );
    for (const [index, place] of this.places.entries())
      settle(this.marks[index], place, unit, width);
  }

  #point(index) {
    this.light(index);
    this.onlight(index);
  }
}

function box({ bbox: [x1, y1, x2, y2], colour }) {
  const place = {
    x: x1,
    y: y1,
    width: Math.max(x2 - x1, 0),
    height: Math.max(y2 - y1, 0),
    fill: "none",
    "vector-effect": "non-scaling-stroke",
  };
  return [
    svg("rect", { ...place, class: "halo" }),
    svg("rect", { ...place, class: "line hit", stroke: colour }),
  ];
}

function point({ point: [x, y], colour }, unit) {
  return [
    svg("circle", {
      cx: x,
      cy: y,
      r: 2.2 * unit,
      class: "halo dot",
      "vector-effect": "non-scaling-stroke",
    }),
    svg("circle", { cx: x, cy: y, r: 1.8 * unit, class: "hit", fill: colour }),
  ];
}

function label({ label: words, colour, ink }, unit) {
  if (!words) return null;
  return [
    svg("rect", { class: "plate", height: 5.6 * unit, rx: 0.8 * unit, fill: colour }),
    svg("text", { "font-size": 4 * unit, fill: ink, "dominant-baseline": "central" }, words),
  ];
}

/** Puts the label above its place, or inside if there is no room; its width is known once it is on the page. */
function settle(mark, { bbox, point: at }, unit, width) {
  const text = mark.querySelector("text");
  if (!text) return;
  const plate = mark.querySelector(".plate");
  const wide = text.getComputedTextLength() + 2 * unit;
  const [x, y] = bbox ?? [at[0] - wide / 2, at[1] - 3 * unit];
  const left = Math.min(Math.max(x, 0), Math.max(width - wide, 0));
  const top = y < 5.6 * unit ? y : y - 5.6 * unit;
  for (const [name, value] of Object.entries({ x: left, y: top, width: wide }))
    plate.setAttribute(name, value);
  text.setAttribute("x", left + unit);
  text.setAttribute("y", top + 2.8 * unit);
}
