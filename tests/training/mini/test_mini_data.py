"""lamm-mini's pictures, clouds and language: targets and answers say what the scenes show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lamm_model.tasks import TASKS
from training.mini import corpus
from training.mini.parts import encoder_pretraining, geometry
from training.mini.scenes import clouds, facts, pictures
from training.mini.scenes.dense_targets import (
    MAX_LETTERS,
    NUM_CLASSES,
    patch_targets,
    token_targets,
)
from training.mini.sources import PRODUCTS
from training.mini.talk import picture_questions, word_questions
from training.mini.talk.exchanges import Exchange
from training.mini.talk.phrasings import INTENTS, phrasings
from training.mini.writers import quality_suite


def test_every_intent_has_thirty_phrasings_and_none_stands_in_both_splits() -> None:
    for intent in INTENTS:
        train, test = set(phrasings(intent, "train")), set(phrasings(intent, "test"))
        assert len(train) >= 30, intent
        assert test, intent
        assert not train & test, intent


def test_a_scene_is_its_generator(pools: corpus.Pools) -> None:
    first, second = (pictures.scene(pools.products, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first.picture, second.picture)
    assert first.products == second.products


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_products_of_a_scene_do_not_overlap(pools: corpus.Pools, count: int) -> None:
    for seed in range(5):
        scene = pictures.scene(pools.products, np.random.default_rng(seed), count)
        assert len(scene.products) == count
        boxes = [p.box for p in scene.products]
        for k, a in enumerate(boxes):
            assert 0 <= a[0] < a[2] <= pictures.SIZE
            assert 0 <= a[1] < a[3] <= pictures.SIZE
            for b in boxes[k + 1 :]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_patch_targets_mark_each_object_once_and_point_to_its_centre(pools: corpus.Pools) -> None:
    scene = pictures.scene(pools.products, np.random.default_rng(1), 4)
    targets = patch_targets(scene, 8)
    assert targets.centre.sum() == 4
    for product in scene.products:
        x = (product.box[0] + product.box[2]) / 2
        y = (product.box[1] + product.box[3]) / 2
        cell = int(y // 8) * 8 + int(x // 8)
        assert targets.label[cell] == 1 + product.label
        found_x = (cell % 8 + 0.5) * 8 + targets.box[cell, 0] * pictures.SIZE
        assert found_x == pytest.approx(x, abs=1e-3)
        assert targets.box[cell, 2] * pictures.SIZE == pytest.approx(
            product.box[2] - product.box[0]
        )


def test_letters_of_a_word_are_spelled_in_its_slots_and_facts(pools: corpus.Pools) -> None:
    scene = pictures.word(pools.words, np.random.default_rng(2))
    slots = patch_targets(scene, 8).slots
    assert "".join(chr(65 + k) for k in slots if k < 26) == scene.word
    told = facts.picture_facts(scene)
    assert told.shape == (64, facts.PICTURE_FACTS)
    label, place = told[:, :NUM_CLASSES].argmax(1), told[:, NUM_CLASSES + 1 + 7 :][:, :MAX_LETTERS]
    spelled = [label[place[:, k] > 0].tolist() for k in range(len(scene.word))]
    assert [chr(65 + cells[0] - 11) for cells in spelled] == list(scene.word)
    assert not place[:, len(scene.word) :].any()


def test_facts_of_a_picture_hold_every_box(pools: corpus.Pools) -> None:
    scene = pictures.scene(pools.products, np.random.default_rng(5), 3)
    told = facts.picture_facts(scene)
    start = NUM_CLASSES + 1 + len(pictures.COLOURS) + MAX_LETTERS
    centres = told[told[:, NUM_CLASSES] == 1.0]
    found = sorted(tuple((row[start : start + 4] + 1) / 2 * pictures.SIZE) for row in centres)
    assert np.allclose(found, sorted(p.box for p in scene.products), atol=1e-3)


def test_facts_of_a_cloud_hold_its_objects(pools: corpus.Pools) -> None:
    scene = clouds.room(pools.surfaces, np.random.default_rng(3))
    told = facts.cloud_facts(scene, scene.points[:64])
    owners = [scene.objects[k] for k in scene.owner[:64]]
    assert told[:, :10].argmax(1).tolist() == [o.label for o in owners]
    assert np.allclose(told[:, 13:16] * 2, [o.centre for o in owners], atol=1e-4)
    assert np.allclose(told[:, 16:19] * 2, [o.size for o in owners], atol=1e-4)
    # The last wave is one metre long: what comes after the decimal point, and only that.
    sine, cosine = told[:, 10 + 9 * 4 :][:, 3:6], told[:, 10 + 9 * 8 :][:, 3:6]
    turn = np.arctan2(sine, cosine) / (2 * np.pi)
    apart = turn - np.array([o.centre for o in owners])
    assert np.allclose(apart, np.round(apart), atol=1e-3)
    assert told.shape == (64, facts.CLOUD_FACTS)


def test_token_targets_reach_the_centre(pools: corpus.Pools) -> None:
    scene = clouds.room(pools.surfaces, np.random.default_rng(3))
    label, shape = token_targets(scene, scene.points[:50])
    for k in range(50):
        placed = scene.objects[scene.owner[k]]
        assert label[k] == placed.label
        assert np.allclose(scene.points[k] + shape[k, :3], placed.centre, atol=1e-4)


def test_clouds_stand_on_the_floor_in_metres(pools: corpus.Pools) -> None:
    for seed in range(10):
        scene = clouds.room(pools.surfaces, np.random.default_rng(seed))
        assert scene.points.shape == (clouds.NUM_POINTS, 3)
        assert scene.points.dtype == np.float32
        assert abs(float(scene.points[:, 2].min())) < 0.06
        assert 2 <= len(scene.objects) <= 4


def test_true_answers_parse_to_the_suites_targets(pools: corpus.Pools) -> None:
    """What training teaches the model to say, the task's parser reads back as the right answer."""
    makers: dict[str, Callable[..., Exchange]] = {
        "classification": picture_questions.identify,
        "counting": picture_questions.count_products,
        "detection": picture_questions.detect,
        "ocr": word_questions.read,
    }
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scenes = {
            "classification": pictures.alone(pools.products, rng),
            "counting": pictures.scene(pools.products, rng),
            "detection": pictures.scene(pools.products, rng),
            "ocr": pictures.word(pools.words, rng),
        }
        for name, make in makers.items():
            scene = scenes[name]
            answer = make(scene, rng).answer
            task = TASKS[name]
            read = task.parse(
                answer,
                task.inputs_model(
                    **({"labels": PRODUCTS} if name in {"classification", "detection"} else {})
                ),
            )
            assert read.answer is not None, (name, answer)
            if name == "classification":
                assert read.answer.label == PRODUCTS[scene.products[0].label], answer
            elif name == "counting":
                assert read.answer.count == len(scene.products), answer
            elif name == "detection":
                assert len(read.answer.objects) == len(scene.products), answer
            else:
                assert read.answer.text.upper() == scene.word, answer


def test_true_choices_parse_to_the_right_option(pools: corpus.Pools) -> None:
    task = TASKS["vqa_choice"]
    for seed in range(100):
        rng = np.random.default_rng(seed)
        scene = pictures.scene(pools.products, rng)
        exchange = picture_questions.choice(scene, rng)
        _, options, right, _ = picture_questions.choice_parts(scene, _skip_to_choice(seed, pools))
        read = task.parse(
            exchange.answer, task.inputs_model(question=exchange.question, choices=options)
        )
        assert read.answer is not None
        assert read.answer.choice == right, exchange


def test_the_suite_reads_back_with_sound_records(pools: corpus.Pools, tmp_path: Path) -> None:
    quality_suite.write_suite(pools, tmp_path, 3, {"sources": {}})
    for row in quality_suite.ROWS:
        lines = (tmp_path / f"{row.name}.jsonl").read_text().splitlines()
        assert len(lines) == 3
    before = {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    quality_suite.write_suite(pools, tmp_path, 3, {"sources": {}})
    assert {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def _skip_to_choice(seed: int, pools: corpus.Pools) -> np.random.Generator:
    rng = np.random.default_rng(seed)
    pictures.scene(pools.products, rng)
    return rng


def test_a_batch_without_a_word_or_product_has_a_finite_loss(pools: corpus.Pools) -> None:
    both = (pools.products, pools.words)
    task = encoder_pretraining.ImageTask(geometry.vision_config(), both, both)
    rng = np.random.default_rng(0)
    assert task.loss_of([pictures.scene(pools.products, rng) for _ in range(2)]).isfinite()
    assert task.loss_of([pictures.word(pools.words, rng) for _ in range(2)]).isfinite()
