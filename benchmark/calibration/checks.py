"""Checks of curves on questions that they were not fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from benchmark.answers import Answer
from benchmark.calibration.fit import auroc, calibration_error
from benchmark.calibration.precision import box_precision
from benchmark.calibration.samples import Key, ScoredSample, gathered
from benchmark.suite import Item
from lamm_model.tasks.calibration import Check, Curve, Precision, Scored

Role = Literal["held_out", "test"]
_DIGITS = 4


def with_checks(
    curves: Mapping[Key, Curve], role: Role, answered: Sequence[tuple[Item, Answer]]
) -> dict[Key, Curve]:
    """The curves with their errors on some answers; a curve without samples stays as it is."""
    samples = gathered(answered)
    found = dict(curves)
    for key, curve in curves.items():
        if key in samples:
            task, kind = key
            ap = box_precision(task, answered, curve) if kind is Scored.PLACE else None
            found[key] = curve.model_copy(update={role: check(curve, samples[key], ap)})
    return found


def check(
    curve: Curve, samples: Sequence[ScoredSample], ap: Mapping[str, Precision] | None = None
) -> Check:
    """The errors of a curve on samples, with the average precision of its boxes if it has any."""
    hits = [one.hit for one in samples]
    values = [curve(one.features) for one in samples]
    area = auroc(values, hits)
    return Check(
        n=len(samples),
        hits=sum(hits),
        ece=round(calibration_error(values, hits), _DIGITS),
        raw_ece=round(calibration_error([one.raw for one in samples], hits), _DIGITS),
        auroc=None if area is None else round(area, _DIGITS),
        ap=ap,
    )
