"""Outputs of the frozen encoders, computed once per medium and cached as float16 on disk.

Rows are keyed by the SHA-256 of the medium's file. The folder is named after the encoder's weights
and preprocessing, so another checkpoint never reads the wrong rows.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn
from tqdm import tqdm

from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from training.data.records import MediaFile

Feature = npt.NDArray[np.float16]
Encode = Callable[[Modality, Sequence[PreparedMedia]], npt.NDArray[np.float32]]
_Item = TypeVar("_Item")

_BATCH = 32


class FeatureCacheError(ValueError):
    """A feature that cannot be cached; the message names the medium."""


class FeatureCache:
    """Features [N, D] float16 of media files.

    Shards of up to `shard_rows` rows are written atomically: `NAME.npy`, then `NAME.json` with the
    digests of the rows. An interrupted `fill` resumes after the last complete shard.
    """

    def __init__(
        self, directory: Path, keys: Mapping[Modality, str], shard_rows: int = 512
    ) -> None:
        """`keys` name the encoder of each modality (see `encoder_key`)."""
        self._shard_rows = shard_rows
        self._folders = {m: directory / f"{m.value}-{key[:16]}" for m, key in keys.items()}
        self._rows: dict[tuple[Modality, str], tuple[Path, int]] = {}
        self._shards: dict[Path, Feature] = {}
        self._digests: dict[MediaFile, str] = {}
        for modality, folder in self._folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            for index in sorted(folder.glob("*.json")):
                self._open(modality, index.with_suffix(".npy"), json.loads(index.read_text()))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, medium: MediaFile) -> Feature:
        """Features [N, D] of a medium passed to `fill`.

        Raises:
            KeyError: the medium was not passed to `fill`.
        """
        shard, row = self._rows[medium.modality, self._digests[medium]]
        return np.array(self._shards[shard][row])

    def fill(
        self,
        media: Sequence[MediaFile],
        load: Callable[[MediaFile], PreparedMedia],
        encode: Encode,
        progress: bool = False,
    ) -> int:
        """Encodes the media that are not cached yet; returns their number.

        Raises:
            FeatureCacheError: a medium cannot be decoded, or its features exceed float16.
        """
        missing: dict[tuple[Modality, str], MediaFile] = {}
        for medium in media:
            digest = hashlib.sha256(medium.path.read_bytes()).hexdigest()
            self._digests[medium] = digest
            if (medium.modality, digest) not in self._rows:
                missing[medium.modality, digest] = medium
        with tqdm(
            total=len(missing),
            desc="encode media",
            unit="",
            disable=None if progress and missing else True,
        ) as bar:
            for modality, folder in self._folders.items():
                wanted = [(d, medium) for (m, d), medium in missing.items() if m is modality]
                for part in _parts(wanted, self._shard_rows):
                    features = self._encode(modality, [m for _, m in part], load, encode, bar)
                    self._write(modality, folder, features, [digest for digest, _ in part])
        return len(missing)

    def _encode(
        self,
        modality: Modality,
        media: Sequence[MediaFile],
        load: Callable[[MediaFile], PreparedMedia],
        encode: Encode,
        bar: tqdm[Any],
    ) -> Feature:
        encoded: list[Feature] = []
        for part in _parts(media, _BATCH):
            prepared = []
            for medium in part:
                try:
                    prepared.append(load(medium))
                except (ValueError, OSError) as error:
                    raise FeatureCacheError(f"{medium.path}: {error}") from error
            features = encode(modality, prepared)
            with np.errstate(over="ignore"):
                half = features.astype(np.float16)
            for medium, row in zip(part, half, strict=True):
                if not np.isfinite(row).all():
                    raise FeatureCacheError(f"{medium.path}: features exceed float16's 65504")
            encoded.append(half)
            bar.update(len(part))
        return np.concatenate(encoded)

    def _write(
        self, modality: Modality, folder: Path, features: Feature, digests: list[str]
    ) -> None:
        name = hashlib.sha256("".join(digests).encode()).hexdigest()[:24]
        shard = folder / f"{name}.npy"
        temporary = folder / f".{name}.{os.getpid()}.tmp"
        try:
            with temporary.open("wb") as stream:
                np.save(stream, features)
            os.replace(temporary, shard)
            temporary.write_text(json.dumps(digests))
            os.replace(temporary, shard.with_suffix(".json"))
        finally:  # a full disk must not keep the partial file
            temporary.unlink(missing_ok=True)
        self._open(modality, shard, digests)

    def _open(self, modality: Modality, shard: Path, digests: Sequence[str]) -> None:
        self._shards[shard] = np.load(shard, mmap_mode="r")
        for row, digest in enumerate(digests):
            self._rows[modality, digest] = (shard, row)


def encoder_key(encoder: nn.Module, preprocessing: object) -> str:
    """SHA-256 of an encoder's weights and of its preprocessing."""
    digest = hashlib.sha256(repr(preprocessing).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        array = np.ascontiguousarray(tensor.detach().cpu().float().numpy())
        digest.update(f"{name} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _parts(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
