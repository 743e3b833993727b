// The page's header: API key, models, and the server's health.

import { el, icon } from "./dom.js";

const KEY = "lamm.key";
// Browsers send nothing else in a header.
const SENDABLE = /^[\x20-\x7e]*$/;
const POLL_MS = 5000;
const SLOW_POLL_MS = 15000;

/** The API key of this tab: in its session storage, never in an address. */
export class Key {
  #unstored = "";

  get value() {
    try {
      return sessionStorage.getItem(KEY) ?? "";
    } catch {
      return this.#unstored; // the reader's browser keeps nothing of any site
    }
  }

  set value(text) {
    try {
      if (text) sessionStorage.setItem(KEY, text);
      else sessionStorage.removeItem(KEY);
    } catch {
      this.#unstored = text;
    }
  }
}

/** The dialog that asks for the key. `onChange` is called when there is another one. */
export function watchKey(key, api, onChange) {
  const [button, dialog, form, input, forget, reason] = [
    "key-button",
    "key-dialog",
    "key-form",
    "key-input",
    "key-forget",
    "key-reason",
  ].map((id) => document.getElementById(id));
  const usual = reason.textContent;
  const show = (text) => {
    reason.textContent = text;
    input.value = key.value;
    if (!dialog.open) dialog.showModal();
    input.select();
  };
  const use = (text) => {
    key.value = text.trim();
    button.classList.toggle("set", Boolean(key.value));
    docs.hidden = Boolean(key.value);
    onChange();
  };
  button.append(icon("key"));
  button.classList.toggle("set", Boolean(key.value));
  // A browser that follows a link sends no key.
  const docs = document.getElementById("docs-link");
  docs.hidden = Boolean(key.value);
  button.addEventListener("click", () => show(usual));
  form.addEventListener("submit", (event) => {
    if (SENDABLE.test(input.value.trim())) {
      use(input.value);
      return;
    }
    event.preventDefault();
    reason.textContent = "The key contains an invalid character; it may be incomplete.";
    input.select();
  });
  forget.addEventListener("click", () => {
    use("");
    dialog.close();
  });
  api.addEventListener("keyneeded", (event) => {
    button.classList.add("wanted");
    docs.hidden = true;
    show(
      key.value
        ? `The server rejected this key: ${event.detail.message}.`
        : "This server requires an API key. It is kept in this tab until the tab closes.",
    );
  });
}

/** The models of the server; keeps the select of the page's head filled. */
export class Models extends EventTarget {
  constructor(api, select) {
    super();
    this.api = api;
    this.select = select;
    this.list = [];
    select.addEventListener("change", () => this.dispatchEvent(new Event("change")));
  }

  /** The chosen one's card, or null before any is known. */
  get chosen() {
    return this.list.find((model) => model.id === this.select.value) ?? null;
  }

  async load() {
    const before = this.select.value;
    this.list = (await this.api.getJson("v1/models")).data;
    this.select.replaceChildren(
      ...this.list.map((model) =>
        el("option", { value: model.id, selected: model.id === before }, model.id),
      ),
    );
    this.select.disabled = this.list.length === 0;
    document.getElementById("key-button").classList.remove("wanted");
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * Asks /health now and then, less often where nobody looks. When it is ready `onReady` is called, and
 * again until it promises true.
 */
export function watchHealth(api, element, onReady) {
  const text = element.querySelector(".status-text");
  let state = "unknown";
  let told = false;
  const look = async () => {
    const next = document.hidden ? null : await healthOf(api);
    if (next) {
      element.dataset.state = next.state;
      text.textContent = next.text;
      element.title = next.title;
      state = next.state;
      if (state !== "ready") told = false;
      else if (!told) {
        told = true;
        onReady().then((done) => {
          told &&= done;
        });
      }
    }
    setTimeout(look, state === "ready" ? POLL_MS : document.hidden ? SLOW_POLL_MS : POLL_MS / 2);
  };
  look();
}

async function healthOf(api) {
  let body;
  try {
    // A failing health is a 503 with the same body.
    const response = await fetch(api.address("health"), { cache: "no-store", credentials: "omit" });
    body = await response.json();
  } catch {
    return { state: "gone", text: "no answer", title: "The server does not answer" };
  }
  const { status, phase, running, waiting } = body;
  const title = `${running} running, ${waiting} waiting; last step ${body.last_step_age_s} s ago`;
  if (status !== "healthy") return { state: "bad", text: status, title };
  if (phase !== "ready") return { state: "wait", text: phase, title };
  const busy = running + waiting > 0;
  return {
    state: "ready",
    text: busy ? `${running} running${waiting ? `, ${waiting} waiting` : ""}` : "ready",
    title,
  };
}
