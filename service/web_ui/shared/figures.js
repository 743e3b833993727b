// Small bars that tell where an answer's tokens and its time went.

import { el } from "./dom.js";

const TIMING_ORDER = ["fetch", "decode", "encode", "queue", "prefill", "first token", "generate"];
const TIMING_HELP = {
  fetch: "fetching media",
  decode: "decoding media",
  encode: "the encoder",
  queue: "waiting in the queue",
  prefill: "processing the prompt",
  generate: "generating the answer",
  "first token": "from the response headers to the first token, measured here",
};

/** Tokens by modality; `usage` is the server's. */
export function usageBar(usage) {
  const details = usage.prompt_tokens_details ?? {};
  const image = details.image_tokens ?? 0;
  const cloud = details.point_cloud_tokens ?? 0;
  const parts = [
    ["text", usage.prompt_tokens - image - cloud],
    ["picture", image],
    ["cloud", cloud],
    ["answer", usage.completion_tokens ?? 0],
  ].filter(([, value]) => value > 0);
  const cached = details.cached_tokens ? `; ${details.cached_tokens} of them cached` : "";
  return bar("Tokens", parts, (value) => String(value), `${usage.total_tokens} tokens${cached}`);
}

/** Milliseconds by stage. */
export function timingBar(timing) {
  const known = timing.filter(([name, value]) => TIMING_ORDER.includes(name) && value >= 0.05);
  known.sort(([a], [b]) => TIMING_ORDER.indexOf(a) - TIMING_ORDER.indexOf(b));
  const total = known.reduce((sum, [, value]) => sum + value, 0);
  return bar("Time", known, milliseconds, milliseconds(total), TIMING_HELP);
}

/** 0.4 -> "0.4 ms", 1234 -> "1.23 s". */
export function milliseconds(value) {
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return `${value >= 10 ? Math.round(value) : value.toFixed(1)} ms`;
}

function bar(name, parts, format, total, help = {}) {
  const sum = parts.reduce((all, [, value]) => all + value, 0) || 1;
  const pieces = parts.map(([kind, value]) => {
    const piece = el("span", {
      class: `piece k-${kind.replace(" ", "-")}`,
      title: help[kind] ? `${kind}: ${help[kind]}` : kind,
    });
    piece.style.flexGrow = String(Math.max(value / sum, 0.012));
    return piece;
  });
  const legend = parts.map(([kind, value]) =>
    el(
      "li",
      { title: help[kind] },
      el("span", { class: `swatch k-${kind.replace(" ", "-")}`, "aria-hidden": "true" }),
      `${kind} `,
      el("b", {}, format(value)),
    ),
  );
  return el(
    "div",
    { class: "figures" },
    el(
      "div",
      { class: "figures-head" },
      el("span", {}, name),
      el("span", { class: "total" }, total),
    ),
    el("div", { class: "bar", "aria-hidden": "true" }, pieces),
    el("ul", { class: "legend" }, legend),
  );
}
