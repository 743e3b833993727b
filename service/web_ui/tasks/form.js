// One task's form: the medium, the inputs of its schema, how to answer, and the curl line of it all.

import { acceptDrops } from "../chat/composer.js";
import { copyWith, el, icon, iconButton } from "../shared/dom.js";
import { ACCEPT, kindOf, Medium } from "../shared/medium.js";
import { exampleThumb, mediumTile } from "../shared/medium_view.js";
import { SamplingFields } from "../shared/sampling.js";
import { curlLine } from "./curl.js";
import { modeFields } from "./modes.js";
import { SchemaFields } from "./schema_fields.js";

/** `run` gets {task, medium, body, curl}; `taken` every medium that comes into the form. */
export class TaskForm {
  constructor(task, examples, { api, models, run, taken }) {
    Object.assign(this, { task, api, models, run, taken, medium: null, own: false, choices: 0 });
    this.examples = examplesOf(task, examples);
    this.fields = new SchemaFields(task.inputs_schema, task.example.inputs ?? {});
    this.sampling = new SamplingFields();
    this.sampling.limitTokens(models.chosen?.max_model_len ?? 1048576);
    this.problem = el("p", { class: "problem", role: "alert" });
    this.tray = el("ul", { class: "tray" });
    this.modes = modeFields(task.modes);
    this.overlay = task.overlays.length ? el("input", { type: "checkbox" }) : null;
    this.button = el("button", { type: "submit", class: "primary" });
    this.curl = el("pre", { class: "curl", tabindex: "0", "aria-label": "As a curl command" });
    this.element = this.#form();
    this.setBusy(false);
    this.#showMedium();
  }

  /** Takes a medium in the place of the former one. */
  take(medium, own) {
    this.choices++;
    this.medium = medium;
    this.own = own;
    this.taken(medium);
    this.problem.textContent = "";
    this.#showMedium();
  }

  /** Fills itself with the first example of the task, if there is one. */
  beginWithExample() {
    if (this.examples.length) this.#useExample(this.examples[0]);
  }

  setBusy(busy, stop = null) {
    this.stop = busy ? stop : null;
    this.button.replaceChildren(icon(busy ? "stop" : "run"), busy ? "Stop" : "Run");
  }

  #form() {
    const { task } = this;
    const copy = iconButton("copy", "Copy", {
      onclick: () => copyWith(copy, this.curl.textContent),
    });
    const form = el(
      "form",
      {
        novalidate: true,
        onsubmit: (event) => {
          event.preventDefault();
          this.#submit();
        },
        oninput: () => this.#showCurl(),
        onchange: () => this.#showCurl(),
      },
      el("p", { class: "description" }, task.description),
      this.#mediumFields(),
      this.fields.element,
      this.modes,
      this.overlay
        ? el(
            "label",
            { class: "check" },
            this.overlay,
            el("span", {}, `Include the server's drawing (${task.overlays.join(", ")})`),
          )
        : null,
      el("details", {}, el("summary", {}, "Sampling"), this.sampling.element),
      this.problem,
      this.button,
      el(
        "details",
        { class: "curl-box" },
        el("summary", {}, "As a curl command"),
        this.curl,
        copy,
      ),
    );
    acceptDrops(form, (files) => this.#pick(files));
    form.addEventListener("paste", (event) => {
      if (!event.clipboardData.files.length) return;
      event.preventDefault();
      this.#pick(event.clipboardData.files);
    });
    return form;
  }

  #mediumFields() {
    const picker = el("input", {
      type: "file",
      accept: ACCEPT,
      hidden: true,
      onchange: () => {
        this.#pick(picker.files);
        picker.value = "";
      },
    });
    const starters = this.examples.map((entry) =>
      el(
        "button",
        {
          type: "button",
          class: "starter",
          title: entry.name,
          "aria-label": `Example: ${entry.name}`,
          onclick: () => this.#useExample(entry),
        },
        exampleThumb(entry),
      ),
    );
    const noun = this.task.modality === "image" ? "picture" : "point cloud";
    return el(
      "fieldset",
      { class: "medium-fields" },
      el("legend", {}, noun === "picture" ? "Picture" : "Point cloud"),
      this.tray,
      el(
        "div",
        { class: "row" },
        picker,
        iconButton("attach", `Choose a ${noun}`, { onclick: () => picker.click(), class: "wide" }),
        starters.length ? el("span", { class: "hint" }, "or") : null,
        starters,
      ),
    );
  }

  #pick(files) {
    if (!files.length) return;
    try {
      const medium = Medium.of(files[0]);
      if (medium.kind !== this.task.modality)
        throw new Error(
          `This task takes a ${this.task.modality === "image" ? "picture" : "point cloud"}; ${medium.name} is not one.`,
        );
      this.take(medium, true);
    } catch (error) {
      this.problem.textContent = error.message;
    }
  }

  async #useExample(entry) {
    const choice = ++this.choices;
    try {
      const medium = await Medium.ofExample(entry);
      // Meanwhile the reader may have chosen another.
      if (choice !== this.choices) {
        medium.release();
        return;
      }
      this.fields.fill(entry.tasks[this.task.name]);
      this.take(medium, false);
    } catch (error) {
      if (choice === this.choices) this.problem.textContent = error.message;
    }
  }

  #showMedium() {
    this.tray.replaceChildren(
      ...(this.medium ? [mediumTile(this.medium, null, () => this.#showCurl())] : []),
    );
    this.#showCurl();
  }

  /** The body without its medium, or null where a field is wrong. */
  #body() {
    const inputs = this.fields.values();
    const sampling = this.sampling.values();
    if (inputs === null || sampling === null) return null;
    const mode = this.modes?.querySelector("input:checked").value;
    const chosen = this.models.chosen?.id;
    return {
      // A model that cannot do the task is not asked for it; the server then takes the first that can.
      ...(this.task.models.includes(chosen) ? { model: chosen } : {}),
      inputs,
      ...(mode ? { mode } : {}),
      ...(this.overlay?.checked ? { overlay: this.task.overlays[0] } : {}),
      ...sampling,
    };
  }

  #submit() {
    if (this.stop) {
      this.stop();
      return;
    }
    this.problem.textContent = "";
    if (!this.medium) {
      this.problem.textContent = `Choose a ${this.task.modality === "image" ? "picture" : "point cloud"} first.`;
      return;
    }
    const problem = this.fields.problem();
    if (problem) {
      problem.input.focus();
      this.problem.textContent = problem.text;
      return;
    }
    const body = this.#body();
    if (body) this.run({ task: this.task, medium: this.medium, body, curl: this.curl.textContent });
  }

  #showCurl() {
    const body = this.fields.problem() ? null : { inputs: this.fields.values() };
    const mode = this.modes?.querySelector("input:checked").value;
    const fields = {
      ...(mode && mode !== "text" ? { mode } : {}),
      ...(this.overlay?.checked ? { overlay: this.task.overlays[0] } : {}),
      ...this.#sampled(),
    };
    this.curl.textContent = curlLine(
      this.api.address(this.task.path.replace(/^\//, "")),
      this.medium,
      body?.inputs ?? {},
      fields,
      Boolean(this.api.key.value),
    );
  }

  /** What the sampling fields hold, without complaints. */
  #sampled() {
    const filled = [...this.sampling.inputs].filter(
      ([, input]) => input.value !== "" && input.validity.valid,
    );
    return Object.fromEntries(filled.map(([name, input]) => [name, input.value]));
  }
}

/** The examples of a task; any of its medium, with the inputs of its card, where it has none. */
function examplesOf(task, examples) {
  const own = examples.filter((entry) => entry.tasks[task.name]);
  if (own.length) return own;
  return examples
    .filter((entry) => kindOf(entry.file) === task.modality)
    .map((entry) => ({ ...entry, tasks: { [task.name]: task.example.inputs } }));
}
