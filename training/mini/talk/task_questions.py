"""Questions in the exact words of `lamm_model.tasks`, with answers in the form that tasks parse.

Conversations mix these with free phrasings.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamm_model.tasks import TASKS
from training.mini.scenes.clouds import CloudScene, PlacedObject
from training.mini.scenes.pictures import SIZE, PictureScene, middle
from training.mini.sources import FURNITURE, PRODUCTS
from training.mini.talk import exchanges
from training.mini.talk.exchanges import Exchange
from training.mini.talk.phrasings import ask
from training.mini.talk.picture_questions import detection_text, from_left, listing


def task_prompt(task: str, **inputs: Any) -> str:
    definition = TASKS[task]
    return definition.prompt(definition.inputs_model.model_validate(inputs))


def task_classify(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """Which of the listed products the picture shows."""
    labels = exchanges.reordered(PRODUCTS, rng) if rng.random() < 0.5 else PRODUCTS
    name = PRODUCTS[scene.products[0].label]
    return Exchange(task_prompt("classification", labels=tuple(labels)), name + ".")


def task_count(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """How many items, as a bare number."""
    del rng
    return Exchange(task_prompt("counting"), f"{len(scene.products)}.")


def task_detect(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """Labels and boxes; most questions list the closed set."""
    labels = PRODUCTS if rng.random() < 0.7 else None
    text = detection_text(scene.products) + "."
    return Exchange(task_prompt("detection", labels=labels), text)


def task_points(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """Labels and centres, from left to right."""
    labels = PRODUCTS if rng.random() < 0.5 else None
    found = [(PRODUCTS[p.label], *middle(p.box)) for p in from_left(scene.products)]
    text = "; ".join(f"{name} {point_text(x / SIZE, y / SIZE)}" for name, x, y in found)
    return Exchange(task_prompt("locating", labels=labels), text + ".")


def task_caption(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """One sentence about everything in the picture, in a fixed form."""
    del rng
    return Exchange(task_prompt("caption"), f"The picture shows {listing(scene)}.")


def task_read(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """The word in quotes, as a list of one; or as the single-word task asks for it."""
    task = "ocr_words" if rng.random() < 0.6 else "ocr"
    return Exchange(task_prompt(task), f'"{scene.word}"')


def cloud_task_classify(scene: CloudScene, rng: np.random.Generator) -> Exchange:
    """Which of the listed kinds of furniture the cloud shows."""
    labels = exchanges.reordered(FURNITURE, rng) if rng.random() < 0.5 else FURNITURE
    name = FURNITURE[scene.objects[0].label]
    return Exchange(task_prompt("classification_3d", labels=tuple(labels)), name + ".")


def cloud_detect(scene: CloudScene, rng: np.random.Generator) -> Exchange:
    """Labels and boxes in metres, by rising x."""
    labels = FURNITURE if rng.random() < 0.7 else None
    by_task = rng.random() < 0.6
    question = task_prompt("detection_3d", labels=labels) if by_task else ask("cloud_detect", rng)
    ordered = sorted(scene.objects, key=lambda o: o.centre[0])
    text = "; ".join(f"{FURNITURE[o.label]} {box_3d_text(o)}" for o in ordered)
    return Exchange(question, text + ".")


def cloud_ground(scene: CloudScene, rng: np.random.Generator) -> Exchange:
    """The box of the only object of its kind; sometimes of an absent one."""
    unique = exchanges.only_ones(scene.objects)
    if not unique or rng.random() < 0.1:
        name = exchanges.absent(FURNITURE, [o.label for o in scene.objects], rng)
        return Exchange(ask("cloud_ground", rng, x=name), f"I see no {name} here.")
    return grounding(exchanges.pick(unique, rng), rng)


def grounding(wanted: PlacedObject, rng: np.random.Generator) -> Exchange:
    """The box of an object that is the only one of its kind."""
    name = FURNITURE[wanted.label]
    description = exchanges.pick((f"It is the {name}.", f"The {name}.", f"the {name}"), rng)
    question = (
        task_prompt("grounding_3d", description=description)
        if rng.random() < 0.6
        else ask("cloud_ground", rng, x=name)
    )
    return Exchange(question, box_3d_text(wanted))


def point_text(x: float, y: float) -> str:
    """A point as LAMM writes it: `[x, y]`, 0 to 1, two decimals."""
    return f"[{min(max(x, 0.0), 0.99):.2f}, {min(max(y, 0.0), 0.99):.2f}]"


def box_3d_text(placed: PlacedObject) -> str:
    """A box in metres: `[x, y, z, l, w, h]`, centre first, in centimetres' precision."""
    # Adding zero turns a rounded -0.0 into 0.0.
    values = (round(float(v), 2) + 0.0 for v in (*placed.centre, *placed.size))
    return "[" + ", ".join(f"{value:.2f}" for value in values) + "]"
