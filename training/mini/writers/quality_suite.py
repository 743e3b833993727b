"""Writes the mini suite for `lamm bench quality`: held-out pictures, meshes, words, phrasings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lamm_model.tasks import Sample
from training.mini import corpus
from training.mini.scenes import clouds, pictures
from training.mini.sources import FURNITURE, PRODUCTS
from training.mini.talk import cloud_questions, exchanges, picture_questions, word_questions
from training.mini.writers.benchmark_sets import labelled_boxes
from training.mini.writers.media_files import npy_bytes, png_bytes, write_atomic

# The seed of the published scores.
SEED = 20230606

# Question, target, content of the picture or cloud, and extra fields of the sample.
Made = tuple[str, Any, bytes, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: its task, the score of guessing, the goal, and how to make a sample."""

    name: str
    task: str
    chance: float
    target: float
    make: Callable[[corpus.Pools, np.random.Generator], Made]
    cloud: bool = False


def write_suite(
    pools: corpus.Pools, out: Path, count: int, provenance: dict[str, Any], seed: int = SEED
) -> Path:
    """Writes `count` samples per row to `out`, then `suite.json`; returns the path of that.

    Sample `i` of a row depends only on the seed and `i`.
    """
    for number, row in enumerate(ROWS):
        lines = []
        for index in tqdm(range(count), desc=row.name, unit="sample", mininterval=5):
            rng = np.random.default_rng((seed, number, index))
            question, target, content, extra = row.make(pools, rng)
            media = f"{row.name}/{index:05d}.{'npy' if row.cloud else 'png'}"
            write_atomic(out / media, content)
            sample = Sample(
                id=f"{row.name}-{index:05d}",
                task=row.task,
                question=question,
                target=target,
                **{"pcl" if row.cloud else "image": media},
                **extra,
            )
            lines.append(sample.model_dump_json(exclude_none=True))
        write_atomic(out / f"{row.name}.jsonl", ("\n".join(lines) + "\n").encode())
    rows = [
        {"name": row.name, "task": row.task, "file": f"{row.name}.jsonl"}
        | {"chance": row.chance, "target": row.target}
        for row in ROWS
    ]
    provenance = {**provenance, "seed": seed}
    path, suite = out / "suite.json", {"name": "mini", "rows": rows, "provenance": provenance}
    write_atomic(path, json.dumps(suite, indent=2).encode())
    return path


def _classification(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = pictures.alone(pools.products, rng)
    question = picture_questions.identify(scene, rng, "test").question
    label = PRODUCTS[scene.products[0].label]
    return question, label, png_bytes(scene.picture), {"labels": PRODUCTS}


def _counting(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = pictures.scene(pools.products, rng)
    question = picture_questions.count_products(scene, rng, "test").question
    return question, len(scene.products), png_bytes(scene.picture), {}


def _detection(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = pictures.scene(pools.products, rng)
    question = picture_questions.detect(scene, rng, "test").question
    return question, labelled_boxes(scene), png_bytes(scene.picture), {"labels": PRODUCTS}


def _vqa(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    draw = pictures.scene if rng.random() < 0.7 else pictures.alone
    scene = draw(pools.products, rng)
    question, options, right, _ = picture_questions.choice_parts(scene, rng)
    target = {"choice": right, "choices": options}
    return exchanges.options_text(question, options), target, png_bytes(scene.picture), {}


def _ocr(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = pictures.word(pools.words, rng)
    return (
        word_questions.read(scene, rng, "test").question,
        scene.word,
        png_bytes(scene.picture),
        {},
    )


def _classification_3d(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = clouds.single(pools.surfaces, rng)
    question = cloud_questions.cloud_identify(scene, rng, "test").question
    label = FURNITURE[scene.objects[0].label]
    return question, label, npy_bytes(scene.points), {"labels": FURNITURE}


def _vqa_3d(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    draw = clouds.room if rng.random() < 0.5 else clouds.single
    scene = draw(pools.surfaces, rng)
    question, options, right, _ = cloud_questions.cloud_choice_parts(scene, rng)
    target = {"choice": right, "choices": options}
    return exchanges.options_text(question, options), target, npy_bytes(scene.points), {}


ROWS = (
    Row("classification", "classification", 0.1, 0.85, _classification),
    Row("counting", "counting", 1 / 6, 0.80, _counting),
    Row("detection", "detection", 0.0, 0.50, _detection),
    Row("vqa_choice", "vqa_choice", 0.25, 0.85, _vqa),
    Row("ocr", "ocr", 0.0, 0.60, _ocr),
    Row("classification_3d", "classification_3d", 0.1, 0.70, _classification_3d, cloud=True),
    Row("vqa_choice_3d", "vqa_choice_3d", 0.25, 0.80, _vqa_3d, cloud=True),
)
