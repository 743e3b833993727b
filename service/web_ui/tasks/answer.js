// A typed answer in words and a table; rows and marks light each other up.

import { el } from "../shared/dom.js";
import { scoreBadge } from "./score.js";

const NOT_SHOWN = /_normalized$|^outside_cloud$|^bbox_in_units$/;

/** `light(index)` is called as a row is pointed at; -1 when it is left. */
export class AnswerView {
  constructor(task, answer, places, light) {
    this.rows = places.map((place, index) => placeRow(place, index, light));
    const head = headline(task, answer);
    const score = scoreBadge(answer.score, "answer");
    this.element = el(
      "div",
      { class: "typed" },
      head ? el("p", { class: "headline" }, head) : null,
      head && score ? el("p", { class: "answer-score" }, "score ", score) : null,
      this.rows.length ? table(places, this.rows) : null,
    );
  }

  /** Makes one row stand out. */
  light(index) {
    this.rows.forEach((row, at) => row.classList.toggle("lit", at === index));
  }
}

/** The answer in a few words, by its fields rather than by the task's name. */
function headline(task, { answer, options }) {
  if (answer === null) return "The answer could not be read.";
  const found = answer.objects ?? answer.points;
  if (Array.isArray(found)) return found.length === 0 ? "Nothing was found." : `${found.length} found`;
  if (typeof answer.count === "number") return String(answer.count);
  if (typeof answer.smiling === "boolean")
    return answer.smiling ? "Yes, smiling" : "No, not smiling";
  if (typeof answer.choice === "number") return choiceText(answer.choice, options, task.asked);
  if (Array.isArray(answer.words)) return answer.words.join(", ") || "No words";
  if (typeof answer.label === "string") return answer.label;
  if (typeof answer.text === "string") return answer.text;
  if (answer.bbox || answer.point) return null;
  return JSON.stringify(
    Object.fromEntries(Object.entries(answer).filter(([name]) => !NOT_SHOWN.test(name))),
  );
}

function choiceText(index, options, asked) {
  const words = asked?.choices?.[index] ?? options?.[index]?.option;
  const letter = String.fromCharCode(65 + index);
  return words ? `(${letter}) ${words}` : `(${letter})`;
}

function table(places, rows) {
  const unit = places[0].metres
    ? `metres: centre, extents${places.some(({ metres }) => metres.length > 6) ? ", yaw in radians" : ""}`
    : places[0].bbox
      ? "pixels: x1 y1 x2 y2"
      : "pixels: x y";
  return el(
    "table",
    {},
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col" }, "what"),
        el("th", { scope: "col" }, unit),
        places[0].score && el("th", { scope: "col" }, "score"),
      ),
    ),
    el("tbody", {}, rows),
  );
}

function placeRow(place, index, light) {
  const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = place.colour;
  const numbers = (place.metres ?? place.bbox ?? place.point).map((value) =>
    place.metres ? value.toFixed(2) : value.toFixed(0),
  );
  return el(
    "tr",
    {
      tabindex: "0",
      onpointerenter: () => light(index),
      onpointerleave: () => light(-1),
      onfocus: () => light(index),
      onblur: () => light(-1),
    },
    el(
      "td",
      {},
      swatch,
      place.label ?? "place",
      place.outside ? " " : null,
      place.outside
        ? el("span", { class: "badge s-partial", title: "away from the cloud" }, "outside")
        : null,
    ),
    el(
      "td",
      { class: "numbers" },
      numbers.map((number) => el("span", {}, number)),
    ),
    place.score && el("td", {}, scoreBadge(place.score, "place")),
  );
}
