"""True answers to the tasks' own questions are read back by the tasks, as what the scene shows."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from lamm_model.tasks import TASKS
from lamm_model.tasks.base import ParseStatus
from lamm_model.tasks.label_sets import HAIR_COLOURS, JOINTS, UCMERCED
from training.mini import corpus
from training.mini.scenes import clouds, drawn_scenes, pictures
from training.mini.scenes.dense_targets import NUM_CLASSES, patch_targets
from training.mini.scenes.pictures import PictureScene
from training.mini.sources import FURNITURE, PRODUCTS
from training.mini.talk import drawn_questions, task_questions
from training.mini.talk.exchanges import Exchange

_SEEDS = range(12)


@pytest.mark.parametrize("seed", _SEEDS)
def test_boxes_and_points_of_products(pools: corpus.Pools, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = pictures.scene(pools.products, rng)
    found = _read("detection", task_questions.task_detect(scene, rng), labels=PRODUCTS)
    assert sorted(o.label for o in found.objects) == _labels(scene)
    wanted = sorted(p.box[0] / pictures.SIZE for p in scene.products)
    assert np.allclose(sorted(o.bbox[0] for o in found.objects), wanted, atol=0.011)
    points = _read("locating", task_questions.task_points(scene, rng), labels=PRODUCTS)
    assert sorted(o.label for o in points.objects) == _labels(scene)
    assert all(0 <= v <= 1 for o in points.objects for v in o.point)


@pytest.mark.parametrize("seed", _SEEDS)
def test_names_numbers_and_words(pools: corpus.Pools, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = pictures.alone(pools.products, rng)
    read = _read("classification", task_questions.task_classify(one, rng), labels=PRODUCTS)
    assert read.label == PRODUCTS[one.products[0].label]
    many = pictures.scene(pools.products, rng)
    assert _read("counting", task_questions.task_count(many, rng)).count == len(many.products)
    caption = _read("caption", task_questions.task_caption(many, rng)).text
    assert all(label in caption for label in _labels(many))
    written = pictures.word(pools.words, rng)
    asked = task_questions.task_read(written, rng)
    task = "ocr" if asked.question == task_questions.task_prompt("ocr") else "ocr_words"
    answer = _read(task, asked)
    assert (answer.text if task == "ocr" else " ".join(answer.words)) == written.word


def test_articles_fit_what_follows(pools: corpus.Pools) -> None:
    rng = np.random.default_rng(0)
    scenes = [pictures.scene(pools.products, rng) for _ in range(300)]
    said = " ".join(task_questions.task_caption(scene, rng).answer for scene in scenes)
    assert "an orange pair of trousers" in said
    said += "".join(turn.answer for _ in range(300) for turn in corpus.draw(pools, rng).exchanges)
    assert re.findall(r"\ba [aeio]\w+|\ban [^aeiou ]\w+", said) == []


@pytest.mark.parametrize("seed", _SEEDS)
def test_furniture(pools: corpus.Pools, seed: int) -> None:
    rng = np.random.default_rng(seed)
    single = clouds.single(pools.surfaces, rng)
    asked = task_questions.cloud_task_classify(single, rng)
    assert _read("classification_3d", asked, labels=FURNITURE).label == _label(single)
    room = clouds.room(pools.surfaces, rng)
    found = _read("detection_3d", task_questions.cloud_detect(room, rng), labels=FURNITURE)
    ordered = sorted(room.objects, key=lambda o: o.centre[0])
    assert [o.label for o in found.objects] == [FURNITURE[o.label] for o in ordered]
    wanted = [(*o.centre, *o.size) for o in ordered]
    assert np.allclose([o.bbox for o in found.objects], wanted, atol=0.0051)


@pytest.mark.parametrize("seed", range(40))
def test_an_object_that_is_meant_is_found_or_denied(pools: corpus.Pools, seed: int) -> None:
    rng = np.random.default_rng(seed)
    room = clouds.room(pools.surfaces, rng)
    answer = task_questions.cloud_ground(room, rng).answer
    if answer.startswith("I see no"):
        return
    task = TASKS["grounding_3d"]
    read = task.parse(answer, task.inputs_model(description="it")).answer
    boxes = np.array([(*o.centre, *o.size) for o in room.objects])
    assert np.isclose(boxes, read.bbox, atol=0.0051).all(1).any()


@pytest.mark.parametrize("seed", _SEEDS)
def test_drawings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    face = drawn_scenes.face(rng)
    smiles = _read("facial_smile", drawn_questions.smile(face, rng)).smiling
    assert smiles == (face.parts[0].kind == 0)
    hair = _read("facial_hair", drawn_questions.hair(face, rng)).label
    assert f"{hair} hair" == drawn_scenes.PARTS[face.parts[1].kind]
    assert hair in HAIR_COLOURS
    place = drawn_scenes.land(rng)
    use = _read("fine_grained_classification", drawn_questions.land(place, rng)).label
    assert use == drawn_scenes.PARTS[place.parts[0].kind]
    assert use in UCMERCED


def test_a_joint_is_where_it_was_drawn() -> None:
    body = drawn_scenes.body(np.random.default_rng(4))
    for name in JOINTS:
        x, y = drawn_scenes.joint_point(body, name)
        text = task_questions.point_text(x, y)
        task = TASKS["keypoints"]
        read = task.parse(text, task.inputs_model(joint=name))
        assert read.status is ParseStatus.OK
        assert read.answer.point == pytest.approx((x, y), abs=0.0051)


@pytest.mark.parametrize("make", [drawn_scenes.face, drawn_scenes.body, drawn_scenes.land])
def test_every_part_of_a_drawing_owns_a_patch_that_names_it(
    make: Callable[[np.random.Generator], PictureScene],
) -> None:
    seen, wanted = 0, 0
    for seed in _SEEDS:
        scene = make(np.random.default_rng(seed))
        targets = patch_targets(scene, 8)
        assert targets.label.max() < NUM_CLASSES
        kinds = {p.kind for p in scene.parts}
        assert set(targets.label[targets.label > 0] - 37) <= kinds
        seen += len(set(targets.label[targets.label > 0]))
        wanted += len(kinds)
    # Two joints that meet in one patch can leave one of them without a place.
    assert seen >= 0.85 * wanted


def _read(task: str, exchange: Exchange, **inputs: object):  # type: ignore[no-untyped-def]
    definition = TASKS[task]
    result = definition.parse(exchange.answer, definition.inputs_model(**inputs))
    assert result.status is ParseStatus.OK, exchange.answer
    return result.answer


def _labels(scene: PictureScene) -> list[str]:
    return sorted(PRODUCTS[p.label] for p in scene.products)


def _label(scene: clouds.CloudScene) -> str:
    return FURNITURE[scene.objects[0].label]
