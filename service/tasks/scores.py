"""Scores of an answer and of its places, from the log-probabilities of the tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lamm_model.sampling_params import SamplingParams
from lamm_model.tasks import AnyTask
from lamm_model.tasks.calibration import (
    Calibration,
    Scored,
    answer_features,
    likelihood_features,
    place_features,
    raw_answer,
    raw_place,
)
from lamm_model.tasks.models import AnswerModel, TaskModel
from service.engine.base import TokenLogprob
from service.schemas.tasks import PlaceScore, Score
from service.tasks.token_spans import TokenSpans

# JSON has no infinity; OpenAI's value for an impossible token.
LEAST_LOGPROB = -9999.0


class Scorer:
    """Scores of one task's answers under a checkpoint's calibration, None without one."""

    def __init__(self, task: AnyTask, calibration: Calibration | None) -> None:
        self._task, self._calibration = task, calibration

    def of_text(
        self,
        text: str,
        tokens: Sequence[TokenLogprob],
        inputs: TaskModel,
        answer: AnswerModel,
    ) -> tuple[Score | None, list[PlaceScore] | None]:
        """The answer's score, and one per place in the order of `answer.places()`.

        Both are None if the tokens have no log-probabilities.
        """
        spans = TokenSpans.of(text, tokens)
        if spans is None:
            return None, None
        total = max(spans.total, LEAST_LOGPROB)
        places, raws = self._places(text, spans, inputs, answer)
        raw = raw_answer(total, raws)
        value, calibrated = self._value(Scored.ANSWER, answer_features(total), raw)
        return Score(value=value, calibrated=calibrated, logprob=total), places

    def of_option(self, probability: float) -> Score:
        """The score of an answer that was chosen by likelihood, from its share of all options."""
        logprob = max(math.log(probability), LEAST_LOGPROB) if probability > 0 else LEAST_LOGPROB
        features = likelihood_features(probability)
        value, calibrated = self._value(Scored.LIKELIHOOD, features, probability)
        return Score(value=value, calibrated=calibrated, logprob=logprob)

    def _places(
        self, text: str, spans: TokenSpans, inputs: TaskModel, answer: AnswerModel
    ) -> tuple[list[PlaceScore], list[float]]:
        """The scores, and what they are without a calibration."""
        written = self._task.place_spans(text, inputs)
        found: list[PlaceScore] = []
        raws: list[float] = []
        for place, span in zip(answer.places(), written, strict=True):
            logprob = max(spans.logprob(*span.place), LEAST_LOGPROB)
            label = None if span.label is None else max(spans.logprob(*span.label), LEAST_LOGPROB)
            features = place_features(logprob, label)
            raw = raw_place(logprob, label, len(place.values))
            raws.append(raw)
            value, calibrated = self._value(Scored.PLACE, features, raw)
            found.append(
                PlaceScore(
                    path=place.path,
                    value=value,
                    calibrated=calibrated,
                    logprob=logprob,
                    label_logprob=label,
                )
            )
        return found, raws

    def _value(self, kind: Scored, features: Mapping[str, float], raw: float) -> tuple[float, bool]:
        """The calibrated probability, or else the model's own; and which of them it is."""
        curve = None
        if self._calibration is not None:
            curve = self._calibration.curve(self._task.name, kind)
        return (raw, False) if curve is None else (curve(features), True)


def calibration_for(
    params: SamplingParams, constrained: bool, calibration: Calibration | None
) -> Calibration | None:
    """The calibration if it holds for answers with these parameters.

    It is fitted on the most likely answer in the model's own words. Sampled, biased, penalised and
    constrained answers have other probabilities of being right.
    """
    changed = (
        params.logit_bias
        or params.frequency_penalty
        or params.presence_penalty
        or params.repetition_penalty != 1.0
    )
    return calibration if params.greedy and not changed and not constrained else None
