"""The sets of the mini-benchmark: the published files of each, and how its samples are made.

Products, furniture and words are lamm-mini's held-out ones; faces, people and land are drawn.
Questions are the prompts of the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamm_model.tasks.label_sets import JOINTS
from training.mini import corpus
from training.mini.scenes import clouds, drawings, pictures
from training.mini.scenes.pictures import PictureScene
from training.mini.sources import FURNITURE, PRODUCTS
from training.mini.talk import cloud_questions, exchanges, picture_questions
from training.mini.talk.task_questions import task_prompt
from training.mini.writers.media_files import npy_bytes, png_bytes

_PHOTOGRAPHS = "photographs of products (Fashion-MNIST, test split), tinted, on drawn grounds"
_MESHES = "points on held-out furniture models (Sweet Home 3D)"

Fields = dict[str, Any]
# Content of the medium, and the fields of its record per file of the set.
Made = tuple[bytes, Mapping[str, Fields]]


@dataclass(frozen=True, slots=True)
class MiniSet:
    """Files about the same media, and the function that makes a sample. `drawn`: no real data."""

    files: tuple[str, ...]
    shows: str
    make: Callable[[corpus.Pools, np.random.Generator], Made]
    drawn: bool = False


def labelled_boxes(scene: PictureScene) -> list[Fields]:
    """Labels and boxes of a picture's products, as fractions of its size."""
    return [
        {"label": PRODUCTS[p.label], "bbox": [round(v / pictures.SIZE, 4) for v in p.box]}
        for p in scene.products
    ]


def _classification(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = pictures.alone(pools.products, rng)
    label = PRODUCTS[scene.products[0].label]
    query = task_prompt("classification", labels=PRODUCTS)
    return png_bytes(scene.picture), {
        "Classification_CIFAR10.json": {"query": query, "label": label}
    }


def _detection(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = pictures.scene(pools.products, rng)
    found = labelled_boxes(scene)
    return png_bytes(scene.picture), {
        "Detection_VOC2012.json": {
            "query": task_prompt("detection", labels=PRODUCTS),
            "object": found,
        },
        "Locating_VOC2012.json": {
            "query": task_prompt("locating", labels=PRODUCTS),
            "object": found,
        },
    }


def _choice(file: str, single: bool) -> Callable[[corpus.Pools, np.random.Generator], Made]:
    def make(pools: corpus.Pools, rng: np.random.Generator) -> Made:
        draw = pictures.alone if single else pictures.scene
        scene = draw(pools.products, rng)
        question, options, right, _ = picture_questions.choice_parts(scene, rng)
        return png_bytes(scene.picture), {file: _options(question, options, right)}

    return make


def _options(question: str, options: list[str], right: int) -> Fields:
    query = exchanges.options_text(question, options)
    return {"query": query, "gt_choices": options, "gt_choice": right}


def _caption(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = pictures.scene(pools.products, rng, count=int(rng.integers(1, 4)))
    names = [_coloured(product) for product in scene.products]
    listed = exchanges.join(names)
    verb = "is" if len(names) == 1 else "are"
    sentences = [
        f"The picture shows {listed}.",
        f"There {verb} {listed} in the picture.",
        f"{listed[0].upper()}{listed[1:]}.",
    ]
    return png_bytes(scene.picture), {
        "Caption_flickr30k.json": {"query": task_prompt("caption"), "sentences": sentences}
    }


def _coloured(product: pictures.PlacedProduct) -> str:
    colour, name = pictures.COLOUR_NAMES[product.colour], PRODUCTS[product.label]
    return f"{colour} trousers" if name == "trousers" else exchanges.noun(f"{colour} {name}")


def _counting(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = pictures.scene(pools.products, rng)
    points = [list(pictures.middle(p.box)) for p in scene.products]
    counted: Fields = {"num": len(points), "points": points}
    return png_bytes(scene.picture), {
        "Counting_FSC147.json": {"query": task_prompt("counting")} | counted,
        "Locating_FSC147.json": {"query": task_prompt("locating")} | counted,
    }


def _words(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = pictures.word(pools.words, rng)
    fields = {"query": task_prompt("ocr_words"), "word_list": [scene.word.lower()]}
    return png_bytes(scene.picture), {"OCR_SVT.json": fields}


def _land(_: corpus.Pools, rng: np.random.Generator) -> Made:
    label = str(rng.choice(list(drawings.LAND)))
    fields = {"query": task_prompt("fine_grained_classification"), "label": label}
    picture = drawings.land(rng, label)
    return png_bytes(picture), {"Fine-grained_Classification_UCMerced.json": fields}


def _faces(_: corpus.Pools, rng: np.random.Generator) -> Made:
    smile, hair = bool(rng.random() < 0.5), str(rng.choice(list(drawings.HAIR)))
    return png_bytes(drawings.face(rng, smile, hair)[0]), {
        "Facial_Classification_CelebA(Smile).json": {
            "query": task_prompt("facial_smile"),
            "attr": "1" if smile else "-1",
        },
        "Facial_Classification_CelebA(Hair).json": {
            "query": task_prompt("facial_hair"),
            "attr": hair,
        },
    }


def _body(_: corpus.Pools, rng: np.random.Generator) -> Made:
    picture, points = drawings.body(rng)
    joints = [[round(x, 2), round(y, 2), 1] for x, y in points]
    # The published query has a gap for the name of the joint.
    query = task_prompt("keypoints", joint=JOINTS[-1]).replace(JOINTS[-1], "{}")
    return png_bytes(picture), {
        "Keypoints_Dectection_LSP.json": {"query": query, "gt_joints": joints},
        "Locating_LSP.json": {"query": task_prompt("locating"), "gt_joints": joints},
    }


def _room(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = clouds.room(pools.surfaces, rng)
    found = [{"label": FURNITURE[o.label], "bbox": _box(o)} for o in scene.objects]
    query = task_prompt("detection_3d", labels=FURNITURE)
    fields = {"query": query, "object": found}
    return npy_bytes(scene.points), {"Detection_ScanNet.json": fields}


def _grounding(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    while True:
        scene = clouds.room(pools.surfaces, rng)
        if unique := exchanges.only_ones(scene.objects):
            break
    wanted = exchanges.pick(unique, rng)
    query = task_prompt("grounding_3d", description=f"It is the {FURNITURE[wanted.label]}.")
    fields = {"query": query, "object": _box(wanted)}
    return npy_bytes(scene.points), {"VG_ScanRefer.json": fields}


def _choice_3d(pools: corpus.Pools, rng: np.random.Generator) -> Made:
    scene = clouds.room(pools.surfaces, rng)
    question, options, right, _ = cloud_questions.cloud_choice_parts(scene, rng)
    fields = _options(question, options, right)
    return npy_bytes(scene.points), {"VQA_ScanQA_multiplechoice.json": fields}


def _box(placed: clouds.PlacedObject) -> list[float]:
    return [round(float(v), 4) for v in (*placed.centre, *placed.size)]


MINI_SETS = (
    MiniSet(("Classification_CIFAR10.json",), _PHOTOGRAPHS, _classification),
    MiniSet(("Detection_VOC2012.json", "Locating_VOC2012.json"), _PHOTOGRAPHS, _detection),
    MiniSet(("VQA_SQAimage.json",), _PHOTOGRAPHS, _choice("VQA_SQAimage.json", single=True)),
    MiniSet(("VQA_AI2D.json",), _PHOTOGRAPHS, _choice("VQA_AI2D.json", single=False)),
    MiniSet(("Caption_flickr30k.json",), _PHOTOGRAPHS, _caption),
    MiniSet(
        ("Fine-grained_Classification_UCMerced.json",),
        f"drawn land from above, {len(drawings.LAND)} of UCMerced's 21 classes",
        _land,
        drawn=True,
    ),
    MiniSet(("Counting_FSC147.json", "Locating_FSC147.json"), _PHOTOGRAPHS, _counting),
    MiniSet(("OCR_SVT.json",), "held-out English words, set in held-out fonts", _words),
    MiniSet(
        ("Facial_Classification_CelebA(Smile).json", "Facial_Classification_CelebA(Hair).json"),
        "drawn faces",
        _faces,
        drawn=True,
    ),
    MiniSet(
        ("Keypoints_Dectection_LSP.json", "Locating_LSP.json"), "drawn people", _body, drawn=True
    ),
    MiniSet(("Detection_ScanNet.json",), _MESHES, _room),
    MiniSet(("VG_ScanRefer.json",), _MESHES, _grounding),
    MiniSet(("VQA_ScanQA_multiplechoice.json",), _MESHES, _choice_3d),
)
