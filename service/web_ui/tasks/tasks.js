// The tasks: a list, a form made from the chosen task's schema, and the answer beside the medium.

import { ApiError } from "../shared/api.js";
import { el, icon } from "../shared/dom.js";
import { errorCard } from "../shared/error_card.js";
import { TaskForm } from "./form.js";
import { TaskResult } from "./result.js";

const GROUPS = [
  ["image", "Pictures"],
  ["point_cloud", "Point clouds"],
];
const FIRST = "detection";

/** Fills the tasks' panel; `load` asks the server for its tasks. */
export class Tasks {
  constructor(panel, api, models, examples) {
    Object.assign(this, { api, models, examples, tasks: [], form: null, abort: null });
    Object.assign(this, { result: null, media: new Set() });
    this.list = el("nav", { class: "task-list", "aria-label": "Tasks" });
    this.select = el("select", {
      class: "task-select",
      "aria-label": "Task",
      onchange: () => this.#choose(this.select.value),
    });
    this.formBox = el(
      "div",
      { class: "task-form" },
      el("p", { class: "hint" }, "The tasks are not known yet."),
    );
    this.resultBox = el("div", { class: "task-result", "aria-live": "polite" });
    panel.classList.add("tasks");
    panel.append(this.list, this.select, this.formBox, this.resultBox);
  }

  async load() {
    try {
      this.tasks = (await this.api.getJson("v1/tasks")).data;
    } catch (error) {
      const again = () => this.load().catch(() => {}); // the next card says why
      this.formBox.replaceChildren(errorCard(error, again));
      throw error;
    }
    this.#showList();
    if (this.tasks.length && !this.form)
      this.#choose((this.tasks.find((task) => task.name === FIRST) ?? this.tasks[0]).name);
    else if (!this.tasks.length)
      this.formBox.replaceChildren(
        el("p", { class: "hint" }, "No model here can do a vision task."),
      );
    else if (!this.form.element.isConnected) this.formBox.replaceChildren(this.form.element);
  }

  #showList() {
    const groups = GROUPS.map(([modality, title]) => [
      title,
      this.tasks.filter((task) => task.modality === modality),
    ]).filter(([, tasks]) => tasks.length);
    this.list.replaceChildren(
      ...groups.map(([title, tasks]) =>
        el(
          "div",
          { class: "task-group" },
          el("h2", {}, title),
          tasks.map((task) =>
            el(
              "button",
              {
                type: "button",
                class: "task-name",
                "data-task": task.name,
                title: task.description,
                onclick: () => this.#choose(task.name),
              },
              readable(task.name),
            ),
          ),
        ),
      ),
    );
    this.select.replaceChildren(
      ...groups.map(([title, tasks]) =>
        el(
          "optgroup",
          { label: title },
          tasks.map((task) => el("option", { value: task.name }, readable(task.name))),
        ),
      ),
    );
    if (this.form) this.#mark(this.form.task.name);
  }

  #mark(name) {
    for (const button of this.list.querySelectorAll("button")) {
      if (button.dataset.task === name) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    this.select.value = name;
  }

  #choose(name) {
    this.abort?.abort();
    const task = this.tasks.find((one) => one.name === name);
    // The reader's own picture goes along to the next task that takes one; an example's does not.
    const kept =
      this.form?.own && this.form.medium.kind === task.modality ? this.form.medium : null;
    this.#mark(name);
    this.form = new TaskForm(task, this.examples, {
      api: this.api,
      models: this.models,
      run: (request) => this.#run(request),
      taken: (medium) => this.#keep(medium),
    });
    this.formBox.replaceChildren(this.form.element);
    this.#empty();
    if (kept) this.form.take(kept, true);
    else this.form.beginWithExample();
    this.#letGo();
  }

  #keep(medium) {
    this.media.add(medium);
    this.#letGo();
  }

  /** Only what the form or the answer shows is kept. */
  #letGo() {
    for (const medium of this.media) {
      if (medium === this.form.medium || medium === this.result?.medium) continue;
      medium.release();
      this.media.delete(medium);
    }
  }

  #empty() {
    this.result = null;
    this.resultBox.replaceChildren(
      el("div", { class: "nothing-yet" }, icon("run"), el("p", {}, "The answer appears here.")),
    );
  }

  async #run({ task, medium, body, curl }) {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    const form = this.form;
    form.setBusy(true, () => abort.abort());
    const result = new TaskResult({ ...task, asked: body.inputs }, medium);
    this.result = result;
    this.resultBox.replaceChildren(result.element);
    this.#letGo();
    // Where the columns stand below each other, the answer would come out of sight.
    if (this.list.offsetParent === null)
      this.resultBox.scrollIntoView({ block: "start", behavior: "smooth" });
    try {
      const reference = await medium.reference();
      const { body: answer, timing } = await this.api.postJson(
        task.path.replace(/^\//, ""),
        { ...body, [medium.field]: reference },
        abort.signal,
      );
      result.show(answer, timing);
    } catch (error) {
      if (error.name === "AbortError") {
        if (this.abort === abort) this.#empty();
      } else
        result.fail(error instanceof ApiError ? error : new ApiError(error.message, { type: "page" }), () =>
          this.#run({ task, medium, body, curl }),
        );
    } finally {
      form.setBusy(false);
      if (this.abort === abort) this.abort = null;
    }
  }
}

function readable(name) {
  return name
    .replaceAll("_", " ")
    .replace(/\bvqa\b/, "VQA")
    .replace(/\bocr\b/, "OCR")
    .replace(/\b3d\b/, "3D")
    .replace(/^\w/, (first) => first.toUpperCase());
}
