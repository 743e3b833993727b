// Scores as percentages, with what they mean.

import { el } from "../shared/dom.js";

const MEASURED = "right this often on held-out questions with such a score";
const OWN = "the model's own probability, not calibrated: it only ranks answers of one task";

/** A badge for {value, calibrated}; null without a score. `what` is "answer" or "place". */
export function scoreBadge(score, what) {
  if (!score) return null;
  const title = `score of this ${what}: ${score.calibrated ? MEASURED : OWN}`;
  const shown = score.calibrated ? percent(score.value) : `~${percent(score.value)}`;
  return el("span", { class: "score", title }, shown);
}

/** A share of 0-1 as text. */
export function percent(share) {
  const value = share * 100;
  return value > 0 && value < 0.1 ? "<0.1 %" : `${value.toFixed(value < 10 ? 1 : 0)} %`;
}
