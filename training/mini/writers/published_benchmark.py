"""Writes a small benchmark in the published layout: `lamm data mini`.

Products, furniture and words are the held-out ones of lamm-mini's source packages; faces, people
and land are drawn. Scores on it are not comparable with published results: its sets share only
names and form with the published files. `provenance.json` states what they show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.datasets.layout import META_FOLDER, PUBLISHED_FILES, DatasetFile
from training.mini.corpus import Pools
from training.mini.writers.benchmark_sets import MINI_SETS, Fields
from training.mini.writers.media_files import write_atomic

# The seed of the published scores.
SEED = 20230701


def write_benchmark(
    pools: Pools,
    out: Path,
    count: int,
    sources: Mapping[str, str],
    progress: bool = True,
    seed: int = SEED,
) -> Path:
    """Writes `count` samples for each of the 14 2D and 3 3D files to `out`; returns `out`.

    Sample `i` of a set depends only on the seed and `i`. `provenance.json` is written last.
    """
    for number, mini in enumerate(MINI_SETS):
        datasets = [_dataset(name) for name in mini.files]
        records: dict[str, list[Fields]] = {name: [] for name in mini.files}
        first = datasets[0]
        key, suffix = ("image", "png") if first.folder == "2D_Benchmark" else ("pcl", "npy")
        stem = first.names[0].removesuffix(".json")
        bar = tqdm(range(count), desc=stem, unit="sample", disable=None if progress else True)
        for index in bar:
            content, fields = mini.make(pools, np.random.default_rng((seed, number, index)))
            media = f"{first.media_folders[0]}/{number:02d}-{index:05d}.{suffix}"
            write_atomic(out / first.folder / media, content)
            # The published 3D files prefix their paths with "./".
            name = media if key == "image" else f"./{media}"
            for dataset, file in zip(datasets, mini.files, strict=True):
                record = {"id": f"{index:06d}", key: name} | fields[file]
                dataset.record.model_validate(record)
                records[file].append(record)
        for dataset, file in zip(datasets, mini.files, strict=True):
            text = json.dumps(records[file], ensure_ascii=False, indent=1)
            write_atomic(out / dataset.folder / META_FOLDER / file, text.encode())
    write_atomic(
        out / "provenance.json", json.dumps(_provenance(count, sources, seed), indent=2).encode()
    )
    return out


def _dataset(name: str) -> DatasetFile:
    return next(dataset for dataset in PUBLISHED_FILES if name in dataset.names)


def _provenance(count: int, sources: Mapping[str, str], seed: int) -> Fields:
    return {
        "name": "mini-benchmark",
        "comparable_with_published_results": False,
        "samples_per_file": count,
        "seed": seed,
        "sets": {
            file: {"shows": mini.shows, "drawn": mini.drawn}
            for mini in MINI_SETS
            for file in mini.files
        },
        "sources": dict(sources),
    }
