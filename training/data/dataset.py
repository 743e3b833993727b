"""The training dataset: records as token ids, media read on demand.

Text is tokenised once, at construction or in an earlier run. Media are read on access, or come from
a feature cache.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from torch.utils.data import Dataset
from tqdm import tqdm

from lamm_model.conversation import Modality, PromptPreset
from lamm_model.media import PreparedMedia, decode_point_cloud
from lamm_model.processing import LammProcessor
from lamm_model.tokenizer import LammTokenizer
from training.config import DataSource
from training.data.feature_cache import FeatureCache
from training.data.reading import READING_RULES, RecordError, SourceRecord, item_name, read_records
from training.data.records import MediaFile
from training.data.token_store import TokenStore

logger = logging.getLogger(__name__)

_SHOWN_ERRORS = 20
_REMEMBERED_CHUNKS = 1 << 16


class DatasetError(ValueError):
    """An unusable dataset; the message names files and records."""


@dataclass(frozen=True, slots=True)
class MediaInput:
    """One medium of an example: `array` is the encoder input, or its output if `encoded`."""

    modality: Modality
    array: npt.NDArray[np.float32] | npt.NDArray[np.float16]
    encoded: bool


@dataclass(frozen=True, slots=True)
class Example:
    """`input_ids`, `labels` [T] int64 (-100 outside answers), media in placeholder order."""

    name: str
    input_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    media: tuple[MediaInput, ...]


class InstructionDataset(Dataset[Example]):
    """All records of some sources, tokenised.

    Raises:
        DatasetError: invalid records, missing media or media without an encoder in the checkpoint
            (the message lists the first 20), or a prompt preset without answers.
    """

    def __init__(
        self,
        sources: Sequence[DataSource],
        processor: LammProcessor,
        max_length: int,
        token_folder: Path | None = None,
        progress: bool = False,
    ) -> None:
        """`token_folder` caches token ids for later runs with the same files and tokenizer."""
        preset = processor.spec.prompt_preset
        if not preset.trains:
            known = " or ".join(repr(one.value) for one in PromptPreset if one.trains)
            raise DatasetError(
                f"{processor.spec.path} has prompt preset {preset.value!r}, which has no place for "
                f"answers; expected {known}"
            )
        self._media_processor, self._max_length = processor, max_length
        self._processor = LammProcessor(
            processor.spec, _RememberingTokenizer.from_pretrained(processor.spec.path)
        )
        self._features: FeatureCache | None = None
        try:
            self.digests = {str(source.path): _file_digest(source.path) for source in sources}
        except OSError as error:
            raise DatasetError(f"{error.filename}: {error.strerror}") from None
        kept = None if token_folder is None else token_folder / f"{self._key(sources)}.npz"
        store = None if kept is None else TokenStore.load(kept)
        # If a medium is missing, reading again names every record that uses it.
        if store is None or not all(path.is_file() for path in store.media_paths()):
            store = self._tokenise(sources, progress)
            if kept is not None:
                store.save(kept)
        self._store = store
        self.skipped, self.shortened = store.skipped, store.shortened
        if self.shortened or self.skipped:
            logger.warning(
                "%d records lost turns and %d were dropped: longer than %d tokens",
                self.shortened,
                self.skipped,
                max_length,
            )

    def use_features(self, cache: FeatureCache) -> None:
        """Takes encoder outputs from `cache`, which holds all media, instead of reading media."""
        self._features = cache

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Token count of each record."""
        return self._store.lengths

    @property
    def media_files(self) -> list[MediaFile]:
        """Distinct media, in order of appearance."""
        return list(dict.fromkeys(medium for media in self._store.media for medium in media))

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, index: int) -> Example:
        ids, labels = self._store[index]
        media = tuple(self._medium(medium, index) for medium in self._store.media[index])
        return Example(self._store.names[index], ids, labels, media)

    def _medium(self, medium: MediaFile, index: int) -> MediaInput:
        if self._features is not None:
            return MediaInput(medium.modality, self._features[medium], encoded=True)
        try:
            prepared = load_media(medium, self._media_processor)
        except (ValueError, OSError) as error:
            raise DatasetError(f"{self._store.names[index]}: {medium.path}: {error}") from error
        return MediaInput(medium.modality, prepared.array, encoded=False)

    def _key(self, sources: Sequence[DataSource]) -> str:
        """Digest of everything that the token ids depend on."""
        spec = self._processor.spec
        parts = [
            [[str(s.path), self.digests[str(s.path)], str(s.root), s.repeat] for s in sources],
            [_file_digest(spec.path / "tokenizer.json"), repr(spec.image), repr(spec.points)],
            [
                spec.bos_token_id,
                spec.image_token_id,
                spec.point_token_id,
                dict(spec.system_prompts),
            ],
            [spec.prompt_preset, self._max_length, READING_RULES],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def _tokenise(self, sources: Sequence[DataSource], progress: bool) -> TokenStore:
        store, errors = TokenStore(), list[RecordError]()
        for source in sources:
            for repetition in range(source.repeat):
                records = tqdm(
                    read_records(source.path, source.root, errors.append),
                    desc=f"read {source.path.name}",
                    unit=" records",
                    disable=None if progress and not repetition else True,
                )
                for record in records:
                    try:
                        self._append(store, record)
                    except RecordError as error:
                        errors.append(error)
        if errors:
            # A repeated source repeats its errors.
            faults = list(dict.fromkeys(map(str, errors)))
            shown, rest = faults[:_SHOWN_ERRORS], len(faults) - _SHOWN_ERRORS
            tail = f"\n... and {rest} more" if rest > 0 else ""
            raise DatasetError(f"{len(faults)} bad records:\n" + "\n".join(shown) + tail)
        files = ", ".join(str(source.path) for source in sources)
        if store.skipped and not len(store):
            raise DatasetError(
                f"all {store.skipped} records in {files} exceed {self._max_length} tokens "
                "(max_length, or the context length) with their first turn alone"
            )
        if not len(store):
            raise DatasetError(f"no records in {files}")
        return store

    def _append(self, store: TokenStore, source: SourceRecord) -> None:
        missing = {m.modality for m in source.media} - set(self._processor.spec.modalities)
        if missing:
            encoders = ", ".join(sorted(missing))
            raise source.error(f"the base checkpoint has no {encoders} encoder")
        turns, task = source.record.turns(), source.record.task_type
        # Only whole turns are dropped: a truncated answer would teach the model not to stop.
        for kept in range(len(turns), 0, -1):
            ids, labels = self._processor.encode_conversation(turns[:kept], task=task)
            if len(ids) <= self._max_length:
                store.append(item_name(source.file, source.item), ids, labels, source.media)
                store.shortened += kept < len(turns)
                return
        store.skipped += 1


class _RememberingTokenizer(LammTokenizer):
    """Caches the ids of chunks: system prompts and templated questions repeat."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self._remembered = functools.lru_cache(_REMEMBERED_CHUNKS)(super().encode)

    def encode(self, text: str) -> list[int]:
        return self._remembered(text)


def load_media(medium: MediaFile, processor: LammProcessor) -> PreparedMedia:
    """Reads and prepares one file as the service does an upload.

    Raises:
        ValueError: the file cannot be decoded, or exceeds the limits.
        OSError: the file cannot be read.
    """
    data = medium.path.read_bytes()
    if medium.modality is Modality.IMAGE:
        return processor.prepare_image(data)
    cloud = decode_point_cloud(data, medium.path.suffix.removeprefix(".").lower())
    return processor.prepare_point_cloud(cloud)


def media_fault(media: Iterable[MediaFile], processor: LammProcessor) -> str | None:
    """The error of the first medium that cannot be decoded; None if all can."""
    for medium in media:
        try:
            load_media(medium, processor)
        except (ValueError, OSError) as error:
            return f"{medium.path}: {error}"
    return None


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
