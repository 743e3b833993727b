// A task's result: the medium with its marks, the typed answer, and the figures.

import { colours } from "../clouds/boxes.js";
import { CloudViewer } from "../clouds/viewer.js";
import { el, icon } from "../shared/dom.js";
import { errorCard } from "../shared/error_card.js";
import { timingBar, usageBar } from "../shared/figures.js";
import { cloudBox } from "../shared/medium_view.js";
import { AnswerView } from "./answer.js";
import { MarkedPicture } from "./marked_picture.js";
import { percent } from "./score.js";

// Read is not the same as right.
const STATUS = {
  ok: ["read", "the whole text was read as an answer"],
  partial: ["partly read", "something was ambiguous, clipped or dropped"],
  unparsed: ["not read", "the text is not an answer to this task"],
};

/** One run of a task; at first with the medium alone. */
export class TaskResult {
  constructor(task, medium) {
    Object.assign(this, { task, medium });
    this.stage = el(
      "div",
      { class: "stage" },
      medium.isPicture ? new MarkedPicture(medium, []).element : cloudBox(medium),
    );
    this.text = el("div", { class: "result-text" }, el("p", { class: "thinking" }, "Looking"));
    this.element = el("div", { class: "result" }, this.stage, this.text);
  }

  fail(error, again) {
    this.text.replaceChildren(errorCard(error, again));
  }

  async show(answer, timing) {
    const places = placesOf(answer.answer, this.task.asked.joint ?? null);
    places.forEach((place, index) => (place.score = answer.scores?.[index] ?? null));
    const paint = colours(places.map((place) => place.label ?? ""));
    places.forEach((place) => Object.assign(place, paint.get(place.label ?? "")));
    const drawing = this.medium.isPicture
      ? new MarkedPicture(this.medium, places, answer.media)
      : await this.#viewer(places);
    const light = (index) => drawing?.light(index);
    const view = new AnswerView(this.task, answer, places, light);
    if (drawing) {
      drawing.onlight = (index) => view.light(index);
      this.stage.replaceChildren(drawing.element);
    }
    this.text.replaceChildren(
      view.element,
      this.#reading(answer),
      optionBars(answer),
      el(
        "div",
        { class: "measures" },
        usageBar(answer.usage),
        timing.length ? timingBar(timing) : "",
      ),
      this.#overlay(answer),
    );
  }

  async #viewer(places) {
    try {
      const boxes = places
        .filter((place) => place.inUnits)
        .map(({ inUnits, label, colour, ink }) => ({
          centre: inUnits.slice(0, 3),
          size: inUnits.slice(3, 6),
          yaw: inUnits[6] ?? 0,
          label: label ?? "",
          colour,
          ink,
        }));
      const { upAxis, units, name } = this.medium;
      return new CloudViewer(await this.medium.cloud(), { upAxis, units, name, boxes });
    } catch {
      return null; // the stage says already why there is no preview
    }
  }

  #reading(answer) {
    const notes = [
      ...answer.clipped.map((one) => `${one.field}: "${one.written}" was clipped to the valid range`),
      ...answer.dropped.map((words) => `"${words}" could not be used`),
    ];
    return el(
      "div",
      { class: "reading" },
      el(
        "div",
        { class: "row" },
        el(
          "span",
          { class: `badge s-${answer.parse_status}`, title: STATUS[answer.parse_status][1] },
          STATUS[answer.parse_status][0],
        ),
        answer.finish_reason === "length"
          ? el("span", { class: "badge s-partial", title: "the token limit cut it off" }, "cut off")
          : null,
        el(
          "span",
          { class: "hint" },
          answer.mode === "likelihood" ? "scored" : STATUS[answer.parse_status][1],
        ),
      ),
      el(
        "div",
        { class: "raw" },
        el(
          "span",
          { class: "hint" },
          answer.mode === "likelihood" ? "likeliest spelling" : "model output",
        ),
        el("code", {}, answer.text || "(nothing)"),
      ),
      notes.length
        ? el(
            "ul",
            { class: "notes" },
            notes.map((note) => el("li", {}, note)),
          )
        : null,
    );
  }

  /** The service's own drawing, to look at and to keep. */
  #overlay(answer) {
    if (!answer.overlay) return "";
    const kind = answer.overlay.startsWith("data:image/png") ? "png" : "ply";
    const link = el(
      "a",
      { class: "button quiet", href: answer.overlay, download: `${answer.task}.${kind}` },
      icon("save"),
      `Save the server's ${kind.toUpperCase()}`,
    );
    return el(
      "div",
      { class: "overlay" },
      kind === "png"
        ? el("img", { src: answer.overlay, alt: "The answer as drawn by the server" })
        : null,
      link,
    );
  }
}

/** [{label, bbox or point in pixels, or inUnits}, ...] of an answer that has places; `name` is that of one without. */
function placesOf(answer, name) {
  if (!answer) return [];
  const list =
    answer.objects ??
    answer.points?.map((point) => ({ label: answer.label, point })) ??
    (answer.bbox || answer.point ? [answer] : []);
  return list.map(({ label, bbox, point, bbox_in_units: inUnits, outside_cloud: outside }) => ({
    label: label ?? name,
    bbox: inUnits ? null : bbox,
    point,
    inUnits,
    metres: inUnits ? bbox : null,
    outside,
  }));
}

function optionBars(answer) {
  if (!answer.options) return "";
  const best = Math.max(...answer.options.map((option) => option.probability));
  return el(
    "div",
    { class: "options" },
    el("h3", {}, "Probability of each option"),
    el(
      "ol",
      {},
      answer.options.map((option) => {
        const fill = el("span", { class: "option-fill" });
        fill.style.inlineSize = `${Math.max(option.probability * 100, 0.4)}%`;
        return el(
          "li",
          {
            class: option.probability === best ? "best" : "",
            title: `log-probability ${option.logprob.toFixed(2)}`,
          },
          el("span", { class: "option-name" }, option.option),
          el("span", { class: "option-bar", "aria-hidden": "true" }, fill),
          el("span", { class: "option-share" }, percent(option.probability)),
        );
      }),
    ),
  );
}
