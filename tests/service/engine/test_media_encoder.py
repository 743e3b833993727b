"""Media are encoded in batches, once each, and fail one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from lamm_model.modeling import LammForConditionalGeneration
from service.engine.media_encoder import MediaEncoder
from tests.service.engine.harness import Oracle, cloud, picture


class Recorder:
    """The two encoders of a model, with a note of each batch; pictures with NaN break."""

    def __init__(self, model: LammForConditionalGeneration) -> None:
        self._model = model
        self.batches: list[int] = []

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(pixels))
        if pixels.isnan().any():
            raise RuntimeError("not a number")
        return self._model.encode_images(pixels)

    def encode_points(self, points: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(points))
        return self._model.encode_points(points)


@pytest.fixture
def model(oracle: Oracle) -> Recorder:
    return Recorder(oracle.model)


def test_each_medium_is_encoded_once_with_its_likes(model: Recorder) -> None:
    encoder = MediaEncoder([model], torch.device("cpu"), 1 << 20)
    media = [picture(1), cloud(1), picture(2), picture(1)]
    output = encoder.encode(media)
    features, failures = output.features, output.failures
    assert (model.batches, failures) == ([2, 1], {})
    assert {digest: tuple(f.shape) for digest, f in features.items()} == {
        "picture-1": (16, 64),
        "picture-2": (16, 64),
        "cloud-1": (8, 64),
    }
    again = encoder.encode(media).features
    assert model.batches == [2, 1]
    assert (encoder.queries_total, encoder.hits_total) == (8, 5)
    for digest, feature in features.items():
        torch.testing.assert_close(again[digest], feature)


def test_the_guilty_one_of_a_batch_fails_alone(model: Recorder) -> None:
    broken = picture(3)
    broken = dataclasses.replace(broken, array=broken.array * float("nan"))
    encoder = MediaEncoder([model], torch.device("cpu"), 1 << 20)
    output = encoder.encode([picture(1), broken, picture(2)])
    features, failures = output.features, output.failures
    assert set(features) == {"picture-1", "picture-2"}
    assert {digest: str(error) for digest, error in failures.items()} == {
        "picture-3": "not a number"
    }


def test_the_least_recently_used_goes_first(model: Recorder) -> None:
    # Two pictures of 16 x 64 floats fit.
    encoder = MediaEncoder([model], torch.device("cpu"), 2 * 4096)
    for seed in (1, 2, 1, 3, 1, 2):
        encoder.encode([picture(seed)])
    assert encoder.hits_total == 2


def test_what_is_encoded_twice_is_counted_once(
    model: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = MediaEncoder([model], torch.device("cpu"), 2 * 4096)
    keep, kept = MediaEncoder._keep, []

    def fragile(self: Any, key: Any, result: Any) -> None:
        kept.append(key)
        if len(kept) == 2:
            raise torch.OutOfMemoryError("out of memory")
        keep(self, key, result)

    monkeypatch.setattr(MediaEncoder, "_keep", fragile)
    output = encoder.encode([picture(1), picture(2)])
    features, failures = output.features, output.failures
    assert (set(features), failures) == ({"picture-1", "picture-2"}, {})
    encoder.encode([picture(1), picture(2)])
    assert encoder.hits_total == 2


def test_features_that_are_not_finite_fail_their_medium_alone(oracle: Oracle) -> None:
    huge = cloud(3)
    huge = dataclasses.replace(huge, array=huge.array * 1e38)
    encoder = MediaEncoder([oracle.model], torch.device("cpu"), 1 << 20)
    output = encoder.encode([cloud(1), huge])
    features, failures = output.features, output.failures
    assert set(features) == {"cloud-1"}
    assert {digest: str(error) for digest, error in failures.items()} == {
        "cloud-3": "the features are not finite"
    }
