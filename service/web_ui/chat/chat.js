// The chat panel: sends questions, shows streamed answers.

import { ApiError } from "../shared/api.js";
import { el, icon, iconButton } from "../shared/dom.js";
import { Medium } from "../shared/medium.js";
import { exampleThumb } from "../shared/medium_view.js";
import { SamplingFields } from "../shared/sampling.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { TurnView } from "./turn_view.js";

const SHOWN = 6; // examples in the welcome
const NEAR_END = 80; // pixels from the end within which the page follows the text

/** Fills the chat's panel. */
export class Chat {
  constructor(panel, api, models, examples) {
    Object.assign(this, {
      panel,
      api,
      models,
      conversation: new Conversation(),
      abort: null,
      views: [],
    });
    this.sampling = new SamplingFields({ temperature: 0 });
    this.stream = el("input", { type: "checkbox", checked: true });
    this.system = el("textarea", { rows: "2", placeholder: "the model's default" });
    this.turns = el("div", {
      class: "turns",
      role: "log",
      "aria-label": "Conversation",
      "aria-live": "polite",
    });
    this.welcome = this.#welcome(examples);
    this.composer = new Composer(panel, {
      send: (text, media) => this.#ask(text, media),
      stop: () => this.abort?.abort(),
    });
    this.scroller = el("div", { class: "scroller" }, this.welcome, this.turns);
    this.settings = this.#settings();
    panel.classList.add("chat");
    panel.append(
      el("div", { class: "chat-main" }, this.scroller, this.composer.element),
      this.settings,
      el(
        "div",
        { class: "drop-here", "aria-hidden": "true" },
        "Drop pictures or point clouds here",
      ),
    );
    models.addEventListener("change", () => {
      if (models.chosen) this.sampling.limitTokens(models.chosen.max_model_len);
    });
  }

  #welcome(examples) {
    const cards = examples
      .slice(0, SHOWN)
      .map((entry) =>
        el(
          "button",
          { type: "button", class: "example", onclick: () => this.#askExample(entry) },
          exampleThumb(entry),
          el(
            "span",
            {},
            el("span", { class: "hint" }, entry.name),
            el("strong", {}, entry.question),
          ),
        ),
      );
    return el(
      "div",
      { class: "welcome" },
      el("h1", {}, "Ask about a picture or a point cloud"),
      el("p", { class: "hint" }, "Drop, paste or attach files, or try an example."),
      el("div", { class: "examples" }, cards),
    );
  }

  #settings() {
    const fresh = iconButton("fresh", "New conversation", {
      onclick: () => this.#clear(),
      class: "wide",
    });
    const body = el(
      "div",
      { class: "settings-body" },
      this.sampling.element,
      el("label", { class: "check" }, this.stream, el("span", {}, "Stream the answer")),
      el("label", { class: "field" }, el("span", {}, "System message"), this.system),
      fresh,
    );
    const wide = matchMedia("(min-width: 1000px)");
    const details = el(
      "details",
      { class: "settings", open: wide.matches },
      el("summary", {}, icon("settings"), "Settings"),
      body,
    );
    wide.addEventListener("change", () => {
      details.open = wide.matches;
    });
    return details;
  }

  async #askExample(entry) {
    let medium;
    try {
      medium = await Medium.ofExample(entry);
    } catch (error) {
      this.composer.problem.textContent = error.message;
      return;
    }
    if (!this.#ask(entry.question, [medium])) medium.release();
  }

  /** Whether the question was accepted. */
  #ask(text, media) {
    const values = this.sampling.values();
    if (this.abort || values === null) return false;
    if (!this.models.chosen) {
      this.composer.problem.textContent =
        "No model available: the server is loading, does not answer, or requires a key.";
      return false;
    }
    this.composer.problem.textContent = "";
    this.welcome.hidden = true;
    const turn = this.conversation.add(text, media);
    const view = new TurnView(turn, () => this.#again(turn, view));
    this.views.push(view);
    this.turns.append(view.element);
    this.#run(turn, view, values);
    return true;
  }

  /** Repeats a turn; later turns are removed, since they would not follow from it. */
  #again(turn, view) {
    const values = this.sampling.values();
    if (this.abort || values === null || !this.models.chosen) return;
    const index = this.conversation.turns.indexOf(turn);
    for (const later of this.conversation.turns.splice(index + 1))
      later.media.forEach((medium) => medium.release());
    this.views.splice(index + 1).forEach((later) => later.element.remove());
    Object.assign(turn, {
      answer: "",
      status: "waiting",
      error: null,
      usage: null,
      facts: null,
      finish: null,
      timing: [],
    });
    this.#run(turn, view, values);
  }

  async #run(turn, view, values) {
    this.abort = new AbortController();
    this.composer.setBusy(true);
    view.update();
    this.scroller.scrollTop = this.scroller.scrollHeight;
    try {
      this.conversation.system = this.system.value.trim();
      const messages = await this.conversation.messages(turn);
      const body = { model: this.models.chosen.id, messages, ...values };
      await (this.stream.checked ? this.#streamed(turn, view, body) : this.#whole(turn, body));
      turn.status = "done";
    } catch (error) {
      if (error.name === "AbortError") turn.status = "stopped";
      else {
        turn.status = "failed";
        turn.error = error instanceof ApiError ? error : new ApiError(error.message, { type: "page" });
      }
    } finally {
      this.abort = null;
      this.composer.setBusy(false);
      this.#follow(() => view.update());
      if (!document.querySelector("dialog[open]")) this.composer.focus();
    }
  }

  async #streamed(turn, view, body) {
    const clock = { headers: 0, first: 0 };
    for await (const chunk of this.api.streamChat(body, this.abort.signal)) {
      if (chunk.timing) {
        clock.headers = performance.now();
        turn.timing = chunk.timing.filter(([, value]) => value > 0);
        continue;
      }
      const [choice] = chunk.choices;
      if (choice?.delta.content) {
        clock.first ||= performance.now();
        turn.status = "writing";
        turn.answer += choice.delta.content;
        this.#follow(() => view.update());
      }
      turn.finish = choice?.finish_reason ?? turn.finish;
      turn.usage = chunk.usage ?? turn.usage;
      turn.facts = chunk.media ?? turn.facts;
    }
    // The header left before the first token; what came after is measured here.
    const first = clock.first || performance.now();
    turn.timing = turn.timing.filter(([name]) => name === "fetch" || name === "decode");
    turn.timing.push(
      ["first token", first - clock.headers],
      ["generate", performance.now() - first],
    );
  }

  async #whole(turn, body) {
    const { body: answer, timing } = await this.api.postJson(
      "v1/chat/completions",
      body,
      this.abort.signal,
    );
    const [choice] = answer.choices;
    Object.assign(turn, {
      answer: choice.message.content ?? "",
      finish: choice.finish_reason,
      usage: answer.usage,
      facts: answer.media ?? null,
      timing,
    });
  }

  /** Changes what is shown, and stays at the end if the reader was there. */
  #follow(change) {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END;
    change();
    if (atEnd) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  #clear() {
    this.abort?.abort();
    this.conversation.clear();
    this.views = [];
    this.turns.replaceChildren();
    this.welcome.hidden = false;
    this.composer.focus();
  }
}
