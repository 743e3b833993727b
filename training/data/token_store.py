"""Token ids of many records in flat arrays, cached on disk for later runs."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lamm_model.conversation import Modality
from lamm_model.processing import IGNORE_INDEX
from training.data.records import MediaFile

_FORMAT = 1


class TokenStore:
    """Ids, loss mask, media and a name per record.

    A token takes five bytes: 100,000 records of 300 tokens take 150 MB.
    """

    def __init__(self) -> None:
        self._ids, self._trains, self._offsets = array("i"), array("b"), array("q", [0])
        self.media: list[tuple[MediaFile, ...]] = []
        self.names: list[str] = []
        self.shortened = self.skipped = 0

    def __len__(self) -> int:
        return len(self.names)

    def append(
        self, name: str, ids: Sequence[int], labels: Sequence[int], media: tuple[MediaFile, ...]
    ) -> None:
        """Adds a record; `labels` are -100 where a token bears no loss, else equal to `ids`."""
        self._ids.frombytes(np.asarray(ids, dtype=np.int32).tobytes())
        self._trains.frombytes((np.asarray(labels) != IGNORE_INDEX).tobytes())
        self._offsets.append(len(self._ids))
        self.media.append(media)
        self.names.append(name)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Ids and labels [T] of one record."""
        start, end = self._offsets[index], self._offsets[index + 1]
        ids = np.array(self._ids[start:end], dtype=np.int64)
        trains = np.array(self._trains[start:end], dtype=np.bool_)
        return ids, np.where(trains, ids, IGNORE_INDEX)

    def media_paths(self) -> set[Path]:
        return {medium.path for media in self.media for medium in media}

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        offsets = np.array(self._offsets, dtype=np.int64)
        return offsets[1:] - offsets[:-1]

    def save(self, path: Path) -> None:
        """Writes the store as one npz file, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rest = {
            "format": _FORMAT,
            "names": self.names,
            "media": [[(m.modality.value, str(m.path)) for m in media] for media in self.media],
            "shortened": self.shortened,
            "skipped": self.skipped,
        }
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as stream:
                np.savez(
                    stream,
                    ids=np.array(self._ids, dtype=np.int32),
                    trains=np.array(self._trains, dtype=np.int8),
                    offsets=np.array(self._offsets, dtype=np.int64),
                    rest=np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8),
                )
            os.replace(temporary, path)
        finally:  # a full disk must not keep the partial file
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> TokenStore | None:
        """Reads a store that `save` wrote; None if there is none of this format."""
        if not path.is_file():
            return None
        store = cls()
        with np.load(path, allow_pickle=False) as arrays:
            rest: dict[str, Any] = json.loads(arrays["rest"].tobytes())
            if rest["format"] != _FORMAT:
                return None
            store._ids = array("i", arrays["ids"].tobytes())
            store._trains = array("b", arrays["trains"].tobytes())
            store._offsets = array("q", arrays["offsets"].tobytes())
        store.names = rest["names"]
        store.media = [
            tuple(MediaFile(Modality(modality), Path(file)) for modality, file in media)
            for media in rest["media"]
        ]
        store.shortened, store.skipped = rest["shortened"], rest["skipped"]
        return store
