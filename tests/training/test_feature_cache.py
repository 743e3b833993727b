"""Encoder outputs: computed once, kept through a kill, never another encoder's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lamm_model.checkpoint.load import load_model
from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from lamm_model.processing import LammProcessor
from training.config import DataSource
from training.data.dataset import InstructionDataset, load_media
from training.data.feature_cache import FeatureCache, FeatureCacheError
from training.data.records import MediaFile
from training.frozen_encoders import encode_media, encoder_keys

KEYS = {Modality.IMAGE: "a" * 64, Modality.POINT_CLOUD: "b" * 64}


class CountingEncoder:
    """Gives every medium its array's mean; counts what it was asked for, and may fail."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.encoded = 0
        self.fail_after = fail_after

    def __call__(self, _: Modality, media: Sequence[PreparedMedia]) -> npt.NDArray[np.float32]:
        self.encoded += len(media)
        if self.fail_after is not None and self.encoded > self.fail_after:
            raise KeyboardInterrupt
        return np.stack([np.full((2, 3), m.array.mean(), np.float32) for m in media])


@pytest.fixture
def media(processor: LammProcessor, tiny_source: DataSource) -> list[MediaFile]:
    return InstructionDataset([tiny_source], processor, 512).media_files


def test_each_medium_is_encoded_once(
    processor: LammProcessor, media: list[MediaFile], tmp_path: Path
) -> None:
    encoder = CountingEncoder()
    cache = FeatureCache(tmp_path, KEYS)
    load = partial(load_media, processor=processor)
    assert cache.fill(media, load, encoder) == 20
    assert cache.fill(media, load, encoder) == 0
    again = FeatureCache(tmp_path, KEYS)
    assert again.fill(media, load, encoder) == 0
    assert encoder.encoded == len(again) == 20
    for medium in media:
        expected = np.float16(load(medium).array.mean())
        assert again[medium].dtype == np.float16
        assert np.array_equal(again[medium], np.full((2, 3), expected))


def test_a_killed_fill_goes_on_after_its_last_whole_shard(
    processor: LammProcessor,
    media: list[MediaFile],
    tmp_path: Path,
) -> None:
    load = partial(load_media, processor=processor)
    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path, KEYS, shard_rows=4).fill(media, load, CountingEncoder(fail_after=6))
    # A shard without its index, as a kill between the two writes leaves it, counts for nothing.
    index = next(tmp_path.rglob("*.json"))
    index.unlink()
    encoder = CountingEncoder()
    assert FeatureCache(tmp_path, KEYS).fill(media, load, encoder) == 20
    assert encoder.encoded == 20


def test_a_full_disk_is_not_left_fuller(
    processor: LammProcessor,
    tiny_source: DataSource,
    media: list[MediaFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(stream: BinaryIO, *_: object, **__: object) -> None:
        stream.write(b"as much as there was room for")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    monkeypatch.setattr(np, "savez", full)
    load = partial(load_media, processor=processor)
    with pytest.raises(OSError, match="No space left"):
        FeatureCache(tmp_path / "features", KEYS).fill(media, load, CountingEncoder())
    with pytest.raises(OSError, match="No space left"):
        InstructionDataset([tiny_source], processor, 512, tmp_path / "tokens")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_another_encoder_shares_nothing(
    processor: LammProcessor, media: list[MediaFile], tmp_path: Path
) -> None:
    load = partial(load_media, processor=processor)
    FeatureCache(tmp_path, KEYS).fill(media, load, CountingEncoder())
    other = FeatureCache(tmp_path, KEYS | {Modality.IMAGE: "c" * 64})
    assert len(other) == 10
    with pytest.raises(KeyError):
        other[media[0]]


def test_the_key_follows_weights_and_preprocessing(
    processor: LammProcessor, tiny_base: Path
) -> None:
    model = load_model(tiny_base)
    before = encoder_keys(model, processor.spec)
    assert before == encoder_keys(load_model(tiny_base), processor.spec)
    assert model.vision_tower is not None
    with torch.no_grad():
        next(model.vision_tower.parameters())[0] += 1
    after = encoder_keys(model, processor.spec)
    assert before[Modality.IMAGE] != after[Modality.IMAGE]
    assert before[Modality.POINT_CLOUD] == after[Modality.POINT_CLOUD]


def test_cached_features_are_the_encoders_own(
    processor: LammProcessor, tiny_base: Path, media: list[MediaFile], tmp_path: Path
) -> None:
    model = load_model(tiny_base, torch.float32)
    load = partial(load_media, processor=processor)
    cache = FeatureCache(tmp_path, encoder_keys(model, processor.spec))
    cache.fill(media, load, partial(encode_media, model, torch.device("cpu")))
    for medium in (media[0], media[-1]):
        inputs = torch.from_numpy(load(medium).array)[None]
        with torch.no_grad():
            expected = (
                model.encode_image_features(inputs)
                if medium.modality is Modality.IMAGE
                else model.encode_point_features(inputs)
            )
        np.testing.assert_allclose(cache[medium], expected[0].numpy(), rtol=2e-3, atol=1e-4)


def test_what_cannot_be_cached_names_its_file(
    processor: LammProcessor, media: list[MediaFile], tmp_path: Path
) -> None:
    load = partial(load_media, processor=processor)

    def huge(_: Modality, prepared: Sequence[PreparedMedia]) -> npt.NDArray[np.float32]:
        return np.full((len(prepared), 1, 1), 1e6, np.float32)

    with pytest.raises(FeatureCacheError, match=r"0\.png: features exceed float16"):
        FeatureCache(tmp_path, KEYS).fill(media, load, huge)
    broken = MediaFile(Modality.IMAGE, tmp_path / "broken.png")
    broken.path.write_bytes(b"rubbish")
    with pytest.raises(FeatureCacheError, match=r"broken.png: "):
        FeatureCache(tmp_path, KEYS).fill([broken], load, huge)
