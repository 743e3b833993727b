// A conversation: turns of a question with media and an answer, and the messages to send.

/** One question and its answer. `status`: waiting, writing, done, stopped or failed. */
export class Turn {
  constructor(text, media) {
    Object.assign(this, {
      text,
      media,
      answer: "",
      status: "waiting",
      error: null,
      usage: null,
      facts: null,
      finish: null,
      timing: [],
    });
  }

  /** Whether later questions include it; a failed turn is left out. */
  get counts() {
    return this.status === "done" || (this.status === "stopped" && this.answer !== "");
  }

  async question() {
    if (!this.media.length) return { role: "user", content: this.text };
    const parts = await Promise.all(this.media.map((medium) => medium.part()));
    return {
      role: "user",
      content: this.text ? [...parts, { type: "text", text: this.text }] : parts,
    };
  }
}

/** All turns, and the system message before them. */
export class Conversation {
  constructor() {
    this.turns = [];
    this.system = "";
  }

  add(text, media) {
    const turn = new Turn(text, media);
    this.turns.push(turn);
    return turn;
  }

  get last() {
    return this.turns.at(-1) ?? null;
  }

  /** The messages that ask `turn`, with all that came before and counts. */
  async messages(turn) {
    const before = this.turns.slice(0, this.turns.indexOf(turn)).filter((one) => one.counts);
    const messages = this.system ? [{ role: "system", content: this.system }] : [];
    for (const one of before)
      messages.push(await one.question(), { role: "assistant", content: one.answer });
    return [...messages, await turn.question()];
  }

  clear() {
    for (const turn of this.turns) turn.media.forEach((medium) => medium.release());
    this.turns = [];
  }
}
