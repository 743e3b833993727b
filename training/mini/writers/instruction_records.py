"""Writes lamm-mini's training data in LAMM's published instruction format: JSON and media."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lamm_model.conversation import Modality
from training.mini import corpus
from training.mini.mixture import MIXTURE, Mixture
from training.mini.sources import Split
from training.mini.writers.media_files import npy_bytes, png_bytes, write_atomic

_PER_FOLDER = 1000


def write_records(
    pools: corpus.Pools, out: Path, count: int, seed: int, split: Split, mixture: Mixture = MIXTURE
) -> Path:
    """Writes `count` conversations to `out`: media and `<split>.json`, whose path it returns.

    Record `i` depends only on `seed`, `split` and `i`. Existing media are not written again.
    """
    records = []
    for index in tqdm(range(count), desc=f"writing {split} records", unit="record", mininterval=5):
        # With the same seed, test record i would repeat the drawing and questions of training
        # record i, with other products of the same classes.
        rng = np.random.default_rng((seed, index) if split == "train" else (seed, index, 1))
        conversation = corpus.draw(pools, rng, mixture)
        records.append(_record(conversation, f"{split}-{index:06d}", out, split, index))
    path = out / f"{split}.json"
    write_atomic(path, json.dumps(records, ensure_ascii=False).encode())
    return path


def _record(
    conversation: corpus.Conversation, name: str, out: Path, split: Split, index: int
) -> dict[str, Any]:
    record: dict[str, Any] = {"id": name, "task_type": "normal"}
    folder = f"{split}_media/{index // _PER_FOLDER:03d}"
    if conversation.modality is Modality.IMAGE and conversation.picture is not None:
        record["image"] = f"{folder}/{name}.png"
        content = png_bytes(conversation.picture.picture)
    elif conversation.modality is Modality.POINT_CLOUD and conversation.cloud is not None:
        record["pcl"] = f"{folder}/{name}.npy"
        content = npy_bytes(conversation.cloud.points)
    media = record.get("image") or record.get("pcl")
    # A file from another seed or mixture shows something else.
    if media is not None and not _holds(out / media, content):
        write_atomic(out / media, content)
    record["conversations"] = [
        {"from": speaker, "value": value}
        for exchange in conversation.exchanges
        for speaker, value in (("human", exchange.question), ("gpt", exchange.answer))
    ]
    return record


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
