"""Questions about point clouds."""

from __future__ import annotations

import numpy as np

from training.mini.scenes.clouds import CloudScene
from training.mini.sources import FURNITURE, Split
from training.mini.talk.exchanges import (
    Choice,
    Exchange,
    chosen,
    counted,
    distract,
    existence,
    join,
    label_list,
    named,
    noun,
    pick,
    say,
    which_is_shown,
)
from training.mini.talk.phrasings import ask


def cloud_identify(scene: CloudScene, rng: np.random.Generator, split: Split = "train") -> Exchange:
    return named("cloud_identify", FURNITURE[scene.objects[0].label], rng, split)


def cloud_classify(scene: CloudScene, rng: np.random.Generator, split: Split = "train") -> Exchange:
    """Which of the ten classes, listed in the question."""
    question = ask("cloud_classify", rng, split, label_list(FURNITURE, rng))
    return Exchange(question, FURNITURE[scene.objects[0].label] + ".")


def cloud_choice(scene: CloudScene, rng: np.random.Generator) -> Exchange:
    return chosen(*cloud_choice_parts(scene, rng), rng)


def cloud_choice_parts(scene: CloudScene, rng: np.random.Generator) -> Choice:
    """A four-way question on a class or a number, in parts."""
    labels = [o.label for o in scene.objects]
    if len(labels) > 1 and rng.random() < 0.4:
        right = str(len(labels))
        question = "How many objects are in the room?"
        return distract(question, right, "12345", f"I count {right}", rng)
    questions = (
        "Which object is in the scan?",
        "What does the point cloud show?",
        "Which of these do you see?",
    )
    return which_is_shown(FURNITURE, labels, questions, rng)


def cloud_count(scene: CloudScene, rng: np.random.Generator) -> Exchange:
    return counted("cloud_count", len(scene.objects), "object", rng)


def cloud_list(scene: CloudScene, rng: np.random.Generator) -> Exchange:
    """Which objects, in alphabetical order."""
    names = [noun(FURNITURE[o.label]) for o in scene.objects]
    question, forms = ask("cloud_list", rng), ("I see {}.", "The room has {}.", "There is {}.")
    return Exchange(question, say(forms, rng, join(sorted(names))))


def cloud_exists(scene: CloudScene, rng: np.random.Generator) -> Exchange:
    return existence("cloud_exists", [FURNITURE[o.label] for o in scene.objects], FURNITURE, rng)


def cloud_height(scene: CloudScene, rng: np.random.Generator) -> Exchange:
    """The one object's height in metres."""
    forms = ("About {:.1f} metres.", "It is about {:.1f} m tall.", "Roughly {:.1f} metres.")
    return Exchange(ask("cloud_height", rng), say(forms, rng, scene.objects[0].size[2]))


def cloud_colour(scene: CloudScene, rng: np.random.Generator) -> Exchange:
    """A question about colour, which points without colour cannot answer."""
    del scene
    forms = (
        "The points carry no colour, so I cannot say.",
        "A scan like this shows shape, not colour.",
    )
    return Exchange(ask("cloud_colour", rng), pick(forms, rng))
