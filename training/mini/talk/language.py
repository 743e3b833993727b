"""Conversations about pictures, about clouds, and without a medium.

Each conversation has several turns, drawn from weighted question families.
"""

from __future__ import annotations

import numpy as np

from training.mini.scenes.clouds import CloudScene
from training.mini.scenes.drawn_scenes import shows_body, shows_face
from training.mini.scenes.pictures import PictureScene
from training.mini.talk import cloud_questions as clouds
from training.mini.talk import drawn_questions as drawn
from training.mini.talk import picture_questions as products
from training.mini.talk import task_questions as tasks
from training.mini.talk import word_questions as words
from training.mini.talk.exchanges import (
    WELCOMES,
    Exchange,
    Family,
    converse,
    pick,
    reordered,
    unknown,
)
from training.mini.talk.phrasings import ask


def picture_turns(scene: PictureScene, rng: np.random.Generator) -> list[Exchange]:
    """A conversation of four turns about one picture.

    With several products, questions that name one (its colour, its box) may occur three times:
    finding the named one is the hardest to learn, and one question per conversation is too few.
    """
    if scene.word:
        families: list[tuple[float, Family]] = [
            (4.0, words.read),
            (1.5, tasks.task_read),
            (1.0, words.letters),
            (1.0, words.first_letter),
            (0.6, words.absent_product),
            (0.5, unknown),
            (0.8, words.word_describe),
            (0.8, words.word_choice),
        ]
    elif len(scene.products) == 1 and scene.products[0].box[2] - scene.products[0].box[0] > 20:
        families = [
            (3.0, products.identify),
            (1.2, products.classify),
            (0.8, tasks.task_classify),
            (3.0, products.choice),
            (1.2, products.its_colour),
            (0.8, products.exists),
            (0.8, products.count_products),
            (0.8, products.describe),
            (0.6, unknown),
            (0.5, products.no_text),
            (0.7, products.detect),
        ]
    else:
        families = [
            (2.0, products.count_products),
            (0.4, tasks.task_count),
            (3.0, products.detect),
            (1.2, tasks.task_detect),
            *[(1.6, products.choice)] * 3,
            (1.2, tasks.task_points),
            (0.8, products.count_class),
            *[(1.6, products.colour)] * 3,
            (0.8, products.exists),
            *[(1.2, products.locate)] * 3,
            (0.6, products.describe),
            (0.3, tasks.task_caption),
            (0.4, unknown),
            (0.4, products.no_text),
        ]
    return converse(scene, families, rng)


def drawn_turns(scene: PictureScene, rng: np.random.Generator) -> list[Exchange]:
    """A conversation of four turns about a drawing; people with questions on several joints."""
    if shows_face(scene):
        families: list[tuple[float, Family]] = [
            (3.0, drawn.smile),
            (3.0, drawn.hair),
            (1.0, drawn.face_describe),
            (0.4, unknown),
            (0.4, products.no_text),
        ]
    elif shows_body(scene):
        families = [
            *[(1.5, drawn.joint)] * 6,
            (1.0, drawn.body_describe),
            (1.0, drawn.body_points),
            (0.4, unknown),
        ]
    else:
        families = [
            (3.0, drawn.land),
            (1.0, drawn.land_describe),
            (0.4, unknown),
            (0.4, products.no_text),
        ]
    return converse(scene, families, rng)


def cloud_turns(scene: CloudScene, rng: np.random.Generator) -> list[Exchange]:
    """A conversation of four turns about one cloud; rooms with questions on several objects."""
    if len(scene.objects) == 1:
        families: list[tuple[float, Family]] = [
            (3.0, clouds.cloud_identify),
            (1.2, clouds.cloud_classify),
            (0.6, tasks.cloud_task_classify),
            (3.0, clouds.cloud_choice),
            (1.2, tasks.cloud_ground),
            (0.8, tasks.cloud_detect),
            (0.8, clouds.cloud_exists),
            (0.8, clouds.cloud_count),
            (1.0, clouds.cloud_height),
            (0.4, clouds.cloud_colour),
            (0.5, unknown),
        ]
    else:
        families = [
            (2.0, clouds.cloud_count),
            (2.0, clouds.cloud_list),
            (3.0, clouds.cloud_choice),
            (3.0, tasks.cloud_detect),
            *[(1.5, tasks.cloud_ground)] * 3,
            (1.2, clouds.cloud_exists),
            (0.4, clouds.cloud_colour),
            (0.4, unknown),
        ]
    return converse(scene, families, rng)


def small_talk(rng: np.random.Generator) -> list[Exchange]:
    """Two turns without a medium: greetings, questions that need a medium, unanswerable ones."""
    talk: dict[str, tuple[str, ...]] = {
        "hello": (
            "Hello! Send me a picture or a point cloud and ask away.",
            "Hi! What would you like to know about your picture?",
            "Hello, I am here. Show me a picture or a scan.",
        ),
        "who": (
            "I am LAMM-mini, a small assistant that looks at pictures and point clouds.",
            "My name is LAMM-mini. I can name products, count them, find them, "
            "read words and recognise furniture scans.",
            "I am a small program called LAMM-mini; I answer questions about pictures and scans.",
        ),
        "off_topic": (
            "I only know about pictures and point clouds.",
            "That is beyond me; I look at pictures and scans.",
            "I am too small a model for that. Ask me about a picture.",
        ),
        "no_medium": (
            "I see no picture or point cloud. Please attach one.",
            "There is nothing attached that I could look at.",
            "Please send a picture or a point cloud first; I have none here.",
        ),
        "thanks": WELCOMES,
    }
    order = reordered(["hello", "who", "off_topic", "no_medium", "no_medium"], rng)[:2]
    if rng.random() < 0.3:
        order[1] = "thanks"
    return [Exchange(ask(k, rng), pick(talk[k], rng)) for k in order]
