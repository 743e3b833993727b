"""Conversations about pictures, about clouds, and without a medium.

`picture_turns`, `drawn_turns`, `cloud_turns` and `small_talk` make conversations of several turns
from question families. This module also exports the families that the mini suite uses.
"""

from __future__ import annotations

import numpy as np

from training.mini.scenes.clouds import CloudScene
from training.mini.scenes.drawn_scenes import shows_body, shows_face
from training.mini.scenes.pictures import PictureScene
from training.mini.sources import Split
from training.mini.talk.cloud_questions import (
    cloud_choice,
    cloud_choice_parts,
    cloud_classify,
    cloud_colour,
    cloud_count,
    cloud_exists,
    cloud_height,
    cloud_identify,
    cloud_list,
)
from training.mini.talk.drawn_questions import (
    body_describe,
    body_points,
    face_describe,
    hair,
    joint,
    land,
    land_describe,
    smile,
)
from training.mini.talk.exchanges import Exchange, Family, converse, options_text, pick, unknown
from training.mini.talk.phrasings import ask
from training.mini.talk.picture_questions import (
    choice,
    choice_parts,
    classify,
    colour,
    count_class,
    count_products,
    describe,
    detect,
    exists,
    identify,
    its_colour,
    locate,
    no_text,
)
from training.mini.talk.task_questions import (
    cloud_detect,
    cloud_ground,
    cloud_task_classify,
    task_caption,
    task_classify,
    task_count,
    task_detect,
    task_points,
    task_read,
)
from training.mini.talk.word_questions import (
    absent_product,
    first_letter,
    letters,
    read,
    word_choice,
    word_describe,
)

__all__ = [
    "Exchange",
    "choice",
    "choice_parts",
    "classify",
    "cloud_choice",
    "cloud_choice_parts",
    "cloud_classify",
    "cloud_identify",
    "cloud_turns",
    "count_products",
    "detect",
    "drawn_turns",
    "identify",
    "options_text",
    "picture_turns",
    "read",
    "small_talk",
]


def picture_turns(scene: PictureScene, rng: np.random.Generator, count: int = 4) -> list[Exchange]:
    """A conversation of `count` turns about one picture.

    With several products, questions that name one (its colour, its box) may occur three times:
    finding the named one is the hardest to learn, and one question per conversation is too few.
    """
    if scene.word:
        families: list[tuple[float, Family]] = [
            (4.0, read),
            (1.5, task_read),
            (1.0, letters),
            (1.0, first_letter),
            (0.6, absent_product),
            (0.5, unknown),
            (0.8, word_describe),
            (0.8, word_choice),
        ]
    elif len(scene.products) == 1 and scene.products[0].box[2] - scene.products[0].box[0] > 20:
        families = [
            (3.0, identify),
            (1.2, classify),
            (0.8, task_classify),
            (3.0, choice),
            (1.2, its_colour),
            (0.8, exists),
            (0.8, count_products),
            (0.8, describe),
            (0.6, unknown),
            (0.5, no_text),
            (0.7, detect),
        ]
    else:
        families = [
            (2.0, count_products),
            (0.4, task_count),
            (3.0, detect),
            (1.2, task_detect),
            *[(1.6, choice)] * 3,
            (1.2, task_points),
            (0.8, count_class),
            *[(1.6, colour)] * 3,
            (0.8, exists),
            *[(1.2, locate)] * 3,
            (0.6, describe),
            (0.3, task_caption),
            (0.4, unknown),
            (0.4, no_text),
        ]
    return converse(scene, families, rng, count)


def drawn_turns(scene: PictureScene, rng: np.random.Generator, count: int = 4) -> list[Exchange]:
    """A conversation of `count` turns about a drawing; people with questions on several joints."""
    if shows_face(scene):
        families: list[tuple[float, Family]] = [
            (3.0, smile),
            (3.0, hair),
            (1.0, face_describe),
            (0.4, unknown),
            (0.4, no_text),
        ]
    elif shows_body(scene):
        families = [*[(1.5, joint)] * 6, (1.0, body_describe), (1.0, body_points), (0.4, unknown)]
    else:
        families = [(3.0, land), (1.0, land_describe), (0.4, unknown), (0.4, no_text)]
    return converse(scene, families, rng, count)


def cloud_turns(scene: CloudScene, rng: np.random.Generator, count: int = 4) -> list[Exchange]:
    """A conversation of `count` turns about one cloud; rooms with questions on several objects."""
    if len(scene.objects) == 1:
        families: list[tuple[float, Family]] = [
            (3.0, cloud_identify),
            (1.2, cloud_classify),
            (0.6, cloud_task_classify),
            (3.0, cloud_choice),
            (1.2, cloud_ground),
            (0.8, cloud_detect),
            (0.8, cloud_exists),
            (0.8, cloud_count),
            (1.0, cloud_height),
            (0.4, cloud_colour),
            (0.5, unknown),
        ]
    else:
        families = [
            (2.0, cloud_count),
            (2.0, cloud_list),
            (3.0, cloud_choice),
            (3.0, cloud_detect),
            *[(1.5, cloud_ground)] * 3,
            (1.2, cloud_exists),
            (0.4, cloud_colour),
            (0.4, unknown),
        ]
    return converse(scene, families, rng, count)


def small_talk(rng: np.random.Generator, split: Split = "train") -> list[Exchange]:
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
        "thanks": ("You are welcome!", "Glad to help.", "My pleasure."),
    }
    order = [
        str(k) for k in rng.permutation(["hello", "who", "off_topic", "no_medium", "no_medium"])[:2]
    ]
    if rng.random() < 0.3:
        order[1] = "thanks"
    return [Exchange(ask(k, rng, split), pick(talk[k], rng)) for k in order]
