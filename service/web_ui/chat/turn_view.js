// One turn: the question with its media, and the answer as it arrives.

import { copyWith, el, iconButton } from "../shared/dom.js";
import { errorCard } from "../shared/error_card.js";
import { timingBar, usageBar } from "../shared/figures.js";
import { sentMedium } from "../shared/medium_view.js";

const ENDS = { length: "cut off by the token limit", stop: null };

const KINDS = { image: "picture", point_cloud: "cloud" };

/** What the server did to the media of the conversation, in one sentence; "" if nothing. */
function factsOf(media) {
  const several = media.length > 1;
  const noted = media.flatMap(({ modality, note }, index) => {
    const kind = KINDS[modality] ?? modality;
    const name = several ? `medium ${index + 1} (${kind})` : `the ${kind}`;
    return note ? [`${name}, ${note}`] : [];
  });
  return noted.length ? `Changed before the model saw it: ${noted.join("; ")}.` : "";
}

/** Draws a turn; `again` asks it once more. */
export class TurnView {
  constructor(turn, again) {
    this.turn = turn;
    this.again = again;
    this.text = el("div", { class: "answer-text" });
    this.foot = el("div", { class: "answer-foot" });
    this.answer = el("div", { class: "answer", "aria-busy": "true" }, this.text, this.foot);
    this.element = el("article", { class: "turn" }, this.#question(), this.answer);
    this.update();
  }

  /** To be called whenever the turn changed. */
  update() {
    const { turn } = this;
    const open = turn.status === "waiting" || turn.status === "writing";
    this.answer.dataset.status = turn.status;
    this.answer.setAttribute("aria-busy", String(open));
    if (turn.status === "waiting")
      this.text.replaceChildren(el("span", { class: "thinking", role: "status" }, "Looking"));
    else this.#write(turn.answer);
    if (open) this.foot.replaceChildren();
    else this.#close();
  }

  /** Only what is new is added, so that a reader's selection and a screen reader's place stay. */
  #write(answer) {
    const node = this.text.firstChild;
    if (node?.nodeType !== Node.TEXT_NODE || !answer.startsWith(node.data))
      this.text.replaceChildren(answer);
    else node.appendData(answer.slice(node.data.length));
  }

  #question() {
    const media = this.turn.media.map(sentMedium);
    return el(
      "div",
      { class: "question" },
      media.length ? el("div", { class: "sent-media" }, media) : null,
      this.turn.text ? el("p", { class: "bubble" }, this.turn.text) : null,
    );
  }

  #close() {
    const { turn } = this;
    const parts = [];
    if (turn.error) parts.push(errorCard(turn.error, this.again));
    const note = turn.status === "stopped" ? "stopped" : ENDS[turn.finish];
    const copy = turn.answer
      ? iconButton("copy", "Copy", { onclick: () => copyWith(copy, turn.answer) })
      : null;
    const again = turn.error
      ? null
      : iconButton("again", "Ask again", { onclick: this.again, class: "regenerate" });
    parts.push(
      el(
        "div",
        { class: "row actions" },
        copy,
        again,
        note ? el("span", { class: "note" }, note) : null,
      ),
    );
    const told = factsOf(turn.facts ?? []);
    if (told) parts.push(el("p", { class: "hint media-facts" }, told));
    if (turn.usage)
      parts.push(
        el(
          "div",
          { class: "measures" },
          usageBar(turn.usage),
          turn.timing.length ? timingBar(turn.timing) : null,
        ),
      );
    this.foot.replaceChildren(...parts);
  }
}
