// Shows an error: message, field, time to wait, and the id to report.

import { copyWith, el, icon, iconButton } from "./dom.js";

const TITLES = {
  page: "Error in this page",
  0: "No connection",
  400: "Invalid request",
  401: "API key required",
  403: "Not permitted with this key",
  404: "Not found",
  408: "Upload timed out",
  413: "Too large",
  415: "Unsupported file format",
  422: "Unreadable file",
  429: "Rate limit reached",
  499: "Cancelled",
  500: "Server error",
  503: "The server is busy",
  507: "Server storage is full",
};

/** The card; `again` is called by its button, which waits as long as the server asked to. */
export function errorCard(error, again = null) {
  const facts = [
    error.param && ["where", error.param],
    error.code && ["code", error.code],
    error.status && ["status", String(error.status)],
  ].filter(Boolean);
  const card = el(
    "div",
    { class: "error-card", role: "alert" },
    el(
      "div",
      { class: "error-title" },
      icon("warn"),
      el("strong", {}, title(error)),
    ),
    el("p", {}, sentence(error.message)),
    facts.length
      ? el(
          "dl",
          { class: "facts" },
          facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
        )
      : null,
  );
  const row = el("div", { class: "row" });
  if (again) row.append(retryButton(error, again));
  if (error.requestId) {
    const copy = iconButton("copy", "Copy", { onclick: () => copyWith(copy, error.requestId) });
    row.append(
      el("span", { class: "request-id" }, "request ", el("code", {}, error.requestId)),
      copy,
    );
  }
  if (row.childElementCount) card.append(row);
  return card;
}

/** What went wrong in the page itself has no status, and says nothing of the connection. */
function title({ type, status }) {
  return TITLES[type === "page" ? "page" : status] ?? `Error ${status}`;
}

function retryButton(error, again) {
  const label = el("span", {}, "Try again");
  const button = el(
    "button",
    { type: "button", class: "quiet", onclick: again },
    icon("again"),
    label,
  );
  let left = error.retryAfter ?? 0;
  const tick = () => {
    button.disabled = left > 0;
    label.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left-- > 0) setTimeout(tick, 1000);
  };
  tick();
  return button;
}

function sentence(text) {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}
