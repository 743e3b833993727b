// The input of a question: text, and media by button, drop or paste.

import { el, iconButton } from "../shared/dom.js";
import { ACCEPT, Medium } from "../shared/medium.js";
import { mediumTile } from "../shared/medium_view.js";

const MAX_HEIGHT = 200;

/** `send(text, media)` and `stop()` are called; `zone` is where files may be dropped. */
export class Composer {
  constructor(zone, { send, stop }) {
    this.media = [];
    this.busy = false;
    this.send = send;
    this.tray = el("ul", { class: "tray", "aria-label": "Attached" });
    this.problem = el("p", { class: "problem", role: "alert" });
    this.picker = el("input", {
      type: "file",
      multiple: true,
      accept: ACCEPT,
      hidden: true,
      onchange: () => this.#picked(),
    });
    this.input = el("textarea", {
      rows: "1",
      placeholder: "Ask a question",
      "aria-label": "Question",
      oninput: () => this.#grow(),
      onkeydown: (event) => this.#key(event, stop),
      onpaste: (event) => this.#paste(event),
    });
    this.button = el("button", { type: "submit", class: "primary round" });
    this.element = el(
      "form",
      {
        class: "composer",
        onsubmit: (event) => {
          event.preventDefault();
          this.busy ? stop() : this.#submit();
        },
      },
      this.tray,
      this.problem,
      el(
        "div",
        { class: "write" },
        this.picker,
        iconButton(
          "attach",
          "Attach pictures or point clouds",
          { onclick: () => this.picker.click() },
          true,
        ),
        this.input,
        this.button,
      ),
    );
    this.#acceptDrops(zone);
    this.setBusy(false);
  }

  /** While an answer comes in, the button stops it. */
  setBusy(busy) {
    this.busy = busy;
    const [name, label] = busy ? ["stop", "Stop"] : ["send", "Send"];
    const face = iconButton(name, label, {}, true);
    this.button.setAttribute("aria-label", label);
    this.button.title = busy ? "Stop (Esc)" : "Send (Enter; Shift+Enter for a new line)";
    this.button.replaceChildren(face.firstChild);
  }

  attach(files) {
    this.problem.textContent = "";
    for (const file of files) {
      try {
        this.media.push(Medium.of(file));
      } catch (error) {
        this.problem.textContent = error.message;
      }
    }
    this.#showTray();
    this.input.focus();
  }

  focus() {
    this.input.focus();
  }

  #submit() {
    const text = this.input.value.trim();
    if (!text && !this.media.length) return;
    const media = this.media;
    if (!this.send(text, media)) return;
    this.media = [];
    this.input.value = "";
    this.problem.textContent = "";
    this.#showTray();
    this.#grow();
  }

  #showTray() {
    this.tray.replaceChildren(
      ...this.media.map((medium) =>
        mediumTile(medium, () => {
          this.media = this.media.filter((one) => one !== medium);
          medium.release();
          this.#showTray();
        }),
      ),
    );
  }

  #picked() {
    this.attach(this.picker.files);
    this.picker.value = "";
  }

  #paste(event) {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    this.attach(event.clipboardData.files);
  }

  #key(event, stop) {
    if (event.key === "Escape" && this.busy) stop();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!this.busy) this.#submit();
  }

  #grow() {
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight, MAX_HEIGHT)}px`;
  }

  #acceptDrops(zone) {
    acceptDrops(zone, (files) => this.attach(files));
  }
}

/** Files dropped onto an element; it has the class "dropping" while some hang over it. */
export function acceptDrops(zone, onFiles) {
  const over = (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    zone.classList.add("dropping");
  };
  zone.addEventListener("dragenter", over);
  zone.addEventListener("dragover", over);
  zone.addEventListener("dragleave", (event) => {
    if (!zone.contains(event.relatedTarget)) zone.classList.remove("dropping");
  });
  zone.addEventListener("drop", (event) => {
    zone.classList.remove("dropping");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    onFiles(event.dataTransfer.files);
  });
}
