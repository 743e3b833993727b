import { el } from "../shared/dom.js";

/** The score of an "answer" or a "place" with what it means; null without one. */
export function scoreBadge(score, what) {
  if (!score) return null;
  const { value, calibrated } = score;
  const means = calibrated
    ? "how often such scores are right on held-out questions"
    : "the model's own probability, not calibrated";
  const title = `score of this ${what}: ${means}`;
  return el("span", { class: "score", title }, `${calibrated ? "" : "~"}${percent(value)}`);
}

export function percent(share) {
  const value = share * 100;
  return value > 0 && value < 0.1 ? "<0.1 %" : `${value.toFixed(value < 10 ? 1 : 0)} %`;
}
