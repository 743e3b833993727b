"""Calibration of answers' scores: from log-probabilities to the probability of being right.

`lamm bench calibrate` fits a checkpoint's `calibration.json` on held-out questions; the service
reads it beside the weights. Torch-free.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

CALIBRATION_FILE = "calibration.json"

_LIMIT = 30.0  # of a logit, where a float64 probability is 0 or 1 for any purpose
_LEAST = 1e-6
_LEAST_SURPRISAL = 1e-4


class CalibrationError(ValueError):
    """A calibration file cannot be used; the message names the file and the reason."""


class Scored(StrEnum):
    """What a score is about, and which log-probabilities it follows from."""

    ANSWER = "answer"
    PLACE = "place"
    LIKELIHOOD = "likelihood"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Precision(_Part):
    """Mean AP over classes of boxes ranked by a score.

    `calibrated` ranks them by the curve, `raw` by the model's own probability. With `constant`, all
    boxes have one score, so those that were written first are the first.
    """

    calibrated: float = Field(ge=0, le=1)
    raw: float = Field(ge=0, le=1)
    constant: float = Field(ge=0, le=1)


class Check(_Part):
    """Check on `n` scores of other questions.

    `ece` is the expected calibration error, `raw_ece` that of the scores before calibration, and
    `auroc` the area under the ROC curve (None if all answers are right, or none is). `ap` has the
    average precision at each IoU of the task's benchmark (`ap@0.5`) if its places are boxes.
    """

    n: int = Field(ge=1)
    hits: int = Field(ge=0)
    ece: float = Field(ge=0, le=1)
    raw_ece: float = Field(ge=0, le=1)
    auroc: float | None = Field(default=None, ge=0, le=1)
    ap: Mapping[str, Precision] | None = None


class Curve(_Part):
    """Logistic regression of being right on `features` (Platt scaling), fitted on `n` scores.

    The features may have been chosen by the errors on `held_out`; nothing is chosen by `test`.
    """

    intercept: float
    weights: Mapping[str, float]
    n: int = Field(ge=1)
    hits: int = Field(ge=0)
    held_out: Check | None = None
    test: Check | None = None

    def __call__(self, features: Mapping[str, float]) -> float:
        """The probability that an answer or a place with these features is right."""
        logit = self.intercept + sum(w * features[name] for name, w in self.weights.items())
        return 1 / (1 + math.exp(-min(max(logit, -_LIMIT), _LIMIT)))


class Suite(_Part):
    """Questions of a fit or a check: the suite's name and seed, as its provenance states them."""

    name: str
    seed: int | None = None


class Calibration(_Part):
    """The curves of one checkpoint by task and kind of score."""

    format: Literal["lamm-calibration/1"] = "lamm-calibration/1"
    method: Literal["logistic"] = "logistic"
    checkpoint: str = Field(description="digest of the weights")
    fit: tuple[Suite, ...]
    held_out: tuple[Suite, ...] = Field(
        default=(), description="other questions; the features may have been chosen by them"
    )
    test: tuple[Suite, ...] = Field(
        default=(), description="questions that were looked at after all choices"
    )
    tasks: Mapping[str, Mapping[Scored, Curve]]

    def curve(self, task: str, kind: Scored) -> Curve | None:
        """The curve of a task; None if it was not fitted."""
        return self.tasks.get(task, {}).get(kind)

    @classmethod
    def beside(cls, directory: Path, digest: str) -> Calibration | None:
        """The calibration in a checkpoint's directory; None without the file.

        Args:
            directory: the checkpoint, or an adapter.
            digest: digest of the weights that are served.

        Raises:
            CalibrationError: the file is malformed, or belongs to other weights.
        """
        path = directory / CALIBRATION_FILE
        try:
            text = path.read_text(encoding="utf8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeError) as error:
            raise CalibrationError(f"{path} cannot be read: {error}") from error
        try:
            found = cls.model_validate_json(text)
            _check_features(found)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise CalibrationError(f"{path}: {where}: {first['msg']}") from error
        except ValueError as error:
            raise CalibrationError(f"{path}: {error}") from error
        if found.checkpoint != digest:
            raise CalibrationError(
                f"{path} belongs to the weights {found.checkpoint}, but those served have the "
                f"digest {digest}; make it again with `lamm bench calibrate`, or remove it"
            )
        return found

    def written(self) -> str:
        """The file's text."""
        value: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return json.dumps(value, indent=1) + "\n"


def answer_features(logprob: float) -> dict[str, float]:
    """Features of a whole answer.

    Args:
        logprob: sum over all generated tokens, the end included.
    """
    return {"log_surprisal": _log_surprisal(logprob)}


def place_features(logprob: float, label_logprob: float | None) -> dict[str, float]:
    """Features of a place.

    Args:
        logprob: sum over the tokens of its numbers.
        label_logprob: sum over the tokens of its label; None without words for one.
    """
    return {"logprob": logprob, "label_log_surprisal": _log_surprisal(label_logprob or 0.0)}


def likelihood_features(probability: float) -> dict[str, float]:
    """Features of the best option, from its share of the options' probability."""
    share = min(max(probability, _LEAST), 1 - _LEAST)
    return {"logit": math.log(share / (1 - share))}


def raw_answer(logprob: float, places: Sequence[float] = ()) -> float:
    """The model's own probability of an answer's words, or that all its places are right.

    Args:
        logprob: sum over all generated tokens.
        places: `raw_place` of each place, if the answer has any.
    """
    return math.prod(places) if places else math.exp(min(logprob, 0.0))


def raw_place(logprob: float, label_logprob: float | None, numbers: int) -> float:
    """The probability of the label times the geometric mean of those of the place's numbers.

    The mean, because near numbers are about as right as the ones written: their product is far
    below the probability that the place is right.

    Args:
        logprob: sum over the tokens of the place.
        label_logprob: sum over the tokens of its label; None without words for one.
        numbers: how many numbers the place has.
    """
    return math.exp(min((label_logprob or 0.0) + logprob / numbers, 0.0))


def _check_features(found: Calibration) -> None:
    for task, curves in found.tasks.items():
        for kind, curve in curves.items():
            if unknown := curve.weights.keys() - _FEATURES[kind]:
                known = ", ".join(sorted(_FEATURES[kind]))
                raise ValueError(
                    f"tasks.{task}.{kind} has a weight of {sorted(unknown)[0]!r}; expected {known}"
                )


def _log_surprisal(logprob: float) -> float:
    """Logarithm of a surprisal in nats.

    The surprisals of words differ by orders of magnitude, most of them near 0.
    """
    return math.log(max(-logprob, _LEAST_SURPRISAL))


_FEATURES = {
    Scored.ANSWER: frozenset(answer_features(0.0)),
    Scored.PLACE: frozenset(place_features(0.0, None)),
    Scored.LIKELIHOOD: frozenset(likelihood_features(0.0)),
}
