// Starts the page: shared objects, tabs, and the server's health.

import { Chat } from "./chat/chat.js";
import { Api, ApiError } from "./shared/api.js";
import { loadExamples } from "./shared/medium.js";
import { Key, Models, watchHealth, watchKey } from "./shared/server.js";
import { Tasks } from "./tasks/tasks.js";

/** Tabs after the ARIA pattern: arrows move between them, the address remembers which. */
function startTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const show = (chosen, focus) => {
    for (const tab of tabs) {
      const on = tab === chosen;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !on;
    }
    history.replaceState(null, "", `#${chosen.id.replace("tab-", "")}`);
    if (focus) chosen.focus();
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => show(tab, false));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) show(tabs[(index + step + tabs.length) % tabs.length], true);
    });
  });
  const named = document.getElementById(`tab-${location.hash.slice(1)}`);
  if (tabs.includes(named)) show(named, false);
}

async function start() {
  startTabs();
  const key = new Key();
  const api = new Api(key);
  const models = new Models(api, document.getElementById("model"));
  const examples = await loadExamples().catch(() => []);
  const panels = ["panel-chat", "panel-tasks"].map((id) => document.getElementById(id));
  new Chat(panels[0], api, models, examples);
  const tasks = new Tasks(panels[1], api, models, examples);
  // Whether nothing is left to try again; the server's message is in its dialog or panel.
  const load = () =>
    Promise.all([models.load(), tasks.load()]).then(
      () => true,
      (error) => {
        if (!(error instanceof ApiError)) throw error;
        return ![0, 429, 503].includes(error.status);
      },
    );
  watchKey(key, api, load);
  watchHealth(api, document.getElementById("status"), load);
}

start();
