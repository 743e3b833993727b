// The sampling settings: fields with the server's bounds; empty ones are not sent.

import { el } from "./dom.js";

const FIELDS = [
  {
    name: "temperature",
    label: "Temperature",
    min: 0,
    max: 2,
    step: 0.01,
    help: "0 is greedy",
  },
  {
    name: "top_p",
    label: "Top p",
    min: 0.01,
    max: 1,
    step: 0.01,
    help: "sample from the most likely tokens up to this probability",
  },
  {
    name: "max_tokens",
    label: "Max tokens",
    min: 1,
    max: 1048576,
    step: 1,
    help: "maximum length of the answer",
  },
  {
    name: "seed",
    label: "Seed",
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    step: 1,
    help: "equal seeds give equal samples",
  },
];

/** A group of number fields in `element`; `values()` are the valid ones that are not empty. */
export class SamplingFields {
  constructor(defaults = {}) {
    this.inputs = new Map();
    this.element = el(
      "div",
      { class: "sampling" },
      FIELDS.map((field) => this.#field(field, defaults[field.name] ?? "")),
    );
  }

  /** `max_tokens` goes no further than the model's context. */
  limitTokens(maxModelLen) {
    const input = this.inputs.get("max_tokens");
    input.max = String(maxModelLen);
    input.placeholder = `up to ${maxModelLen}`;
  }

  /** {temperature: 0.7, ...}, or null after showing which field is out of bounds. */
  values() {
    const values = {};
    for (const [name, input] of this.inputs) {
      if (!input.checkValidity()) {
        // The browser's word can only be shown where the field can be seen.
        const folded = input.closest("details");
        if (folded) folded.open = true;
        input.reportValidity();
        return null;
      }
      if (input.value !== "") values[name] = input.valueAsNumber;
    }
    return values;
  }

  #field({ name, label, min, max, step, help }, value) {
    const input = el("input", {
      type: "number",
      min,
      max,
      step,
      value: String(value),
      placeholder: "default",
      inputmode: "decimal",
      name,
      title: help,
    });
    this.inputs.set(name, input);
    return el(
      "label",
      { class: "field" },
      el("span", {}, label),
      input,
      el("span", { class: "hint" }, help),
    );
  }
}
