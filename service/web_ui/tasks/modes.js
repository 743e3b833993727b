// How a task may be answered, as radio buttons; for `form`.

import { el } from "../shared/dom.js";

const HELP = {
  text: "the model writes text, which the server parses",
  likelihood: "the probability of each option",
};

/** The first mode is checked; null where there is nothing to choose. */
export function modeFields(modes) {
  if (modes.length < 2) return null;
  return el(
    "fieldset",
    { class: "modes" },
    el("legend", {}, "Mode"),
    modes.map((mode, index) =>
      el(
        "label",
        { class: "check" },
        el("input", { type: "radio", name: "mode", value: mode, checked: index === 0 }),
        el("span", {}, mode, " ", el("span", { class: "hint" }, HELP[mode] ?? "")),
      ),
    ),
  );
}
