"""A small tree in the published layout: every file, two records each, and their media."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.datasets.layout import META_FOLDER, PUBLISHED_FILES, DatasetFile

Edit = Callable[[list[dict[str, Any]]], None]

_BOX = [0.1, 0.2, 0.5, 0.9]
_ROOM_BOX = [1.0, -2.0, 0.5, 0.4, 0.6, 1.1]
_JOINTS = [[10.0 + n, 20.5, 1] for n in range(14)]
# By the beginning of the file's name: the fields of its answers.
_ANSWERS: dict[str, dict[str, Any]] = {
    "Classification": {"label": "frog"},
    "Fine-grained": {"label": "runway"},
    "Detection_VOC2012": {"object": [{"label": "dog", "bbox": _BOX}]},
    "Locating_VOC2012": {"object": [{"label": "dog", "bbox": _BOX}]},
    "VQA": {"gt_choice": 1, "gt_choices": ["red", "blue"]},
    "Caption": {"sentences": ["A man walks.", "Someone walks ."]},
    "Counting": {"num": 12},
    "Locating_FSC147": {"num": 2, "points": [[3, 4], [50.5, 6]]},
    "OCR": {"word_list": ["hotel", "1984"]},
    "Facial_Classification_CelebA(Smile)": {"attr": "-1"},
    "Facial_Classification_CelebA(Hair)": {"attr": "brown"},
    "Keypoints": {"gt_joints": _JOINTS},
    "Locating_LSP": {"gt_joints": [[x, y] for x, y, _ in _JOINTS]},
    "Detection_ScanNet": {"object": [{"label": "chair", "bbox": _ROOM_BOX}]},
    "VG": {"object": _ROOM_BOX},
}


class Tree:
    """The tree at `root`, and what tests do to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for dataset in PUBLISHED_FILES:
            path = self.path(dataset.names[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            records = [self._record(dataset, number) for number in range(2)]
            path.write_text(json.dumps(records), encoding="utf8")

    def path(self, name: str) -> Path:
        """Where the published file of that name belongs."""
        folder = next(d.folder for d in PUBLISHED_FILES if name in d.names)
        return self.root / folder / META_FOLDER / name

    def edit(self, name: str, edit: Edit) -> None:
        """Changes the records of a file in place."""
        records = json.loads(self.path(name).read_text())
        edit(records)
        self.path(name).write_text(json.dumps(records), encoding="utf8")

    def set(self, name: str, index: int, **fields: Any) -> None:
        """Changes fields of one record; None takes one away."""

        def change(records: list[dict[str, Any]]) -> None:
            records[index] |= fields
            for key in [key for key, value in fields.items() if value is None]:
                del records[index][key]

        self.edit(name, change)

    def _record(self, dataset: DatasetFile, number: int) -> dict[str, Any]:
        folder = dataset.media_folders[number % len(dataset.media_folders)]
        key = "image" if dataset.folder.startswith("2D") else "pcl"
        suffix = "png" if key == "image" else "npy"
        media = f"{folder}/{number}.{suffix}"
        self._write_medium(self.root / dataset.folder / media)
        prefix = "./" if dataset.folder == "3D_Benchmark" else ""
        record: dict[str, Any] = {"id": f"{number:06d}", key: prefix + media}
        if dataset.task == "instruction":
            return record | {
                "task_type": "VQA" if key == "image" else "classification3d",
                "conversations": [
                    {"from": "human", "value": f"<{key}>\nWhat is it?"},
                    {"from": "gpt", "value": "A boat."},
                    {"from": "human", "value": "Which colour has it, and how many masts?"},
                    {"from": "gpt", "value": "It is red, and has two masts."},
                ],
            }
        name = dataset.names[0]
        answer = next(fields for start, fields in _ANSWERS.items() if name.startswith(start))
        return record | {"query": "What is there?"} | answer

    def _write_medium(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Different bytes for different paths: only what a test copies is a duplicate.
        seed = list(str(path.relative_to(self.root)).encode())
        rng = np.random.default_rng(seed)
        if path.suffix == ".png":
            Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(path)
        else:
            np.save(path, rng.normal(size=(5, 3)).astype(np.float32))
