"""Questions about drawings: faces, people, land."""

from __future__ import annotations

import numpy as np

from lamm_model.tasks.label_sets import JOINTS
from training.mini.scenes.drawn_scenes import HAIRS, PARTS, SMILES, joint_point
from training.mini.scenes.pictures import PictureScene, middle
from training.mini.talk.exchanges import Exchange, noun, pick, say, terse
from training.mini.talk.phrasings import ask
from training.mini.talk.task_questions import point_text, task_prompt


def smile(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    question = task_prompt("facial_smile") if rng.random() < 0.5 else ask("smile", rng)
    if scene.parts[0].kind == 0:
        return Exchange(question, pick(("Yes, the person is smiling.", "Yes."), rng))
    return Exchange(question, pick(("No, the person is not smiling.", "No."), rng))


def hair(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    name = HAIRS[scene.parts[1].kind - len(SMILES)]
    question = task_prompt("facial_hair") if rng.random() < 0.5 else ask("hair", rng)
    if terse(question) or "Choose one" in question:
        return Exchange(question, f"{name}.")
    return Exchange(question, say(("The hair is {}.", "{}.", "It is {}."), rng, name))


def face_describe(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    name = HAIRS[scene.parts[1].kind - len(SMILES)]
    mood = "A smiling person" if scene.parts[0].kind == 0 else "A person"
    return Exchange(_describe(rng), f"{mood} with {name} hair.")


def joint(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """Where one joint is; a conversation may ask several for one person."""
    name = pick(JOINTS, rng)
    by_task = rng.random() < 0.75
    question = task_prompt("keypoints", joint=name) if by_task else ask("joint", rng, x=name)
    return Exchange(question, point_text(*joint_point(scene, name)))


def body_describe(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    del scene
    return Exchange(_describe(rng), pick(("A drawn person.", "I see a person."), rng))


def body_points(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """Where the person is, as one point."""
    del rng
    points = [middle(part.box) for part in scene.parts]
    x, y = (sum(values) / len(points) / 64 for values in zip(*points, strict=True))
    return Exchange(task_prompt("locating"), f"person {point_text(x, y)}.")


def land(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    name = PARTS[scene.parts[0].kind]
    if rng.random() < 0.6:
        return Exchange(task_prompt("fine_grained_classification"), f"{name}.")
    question = ask("land", rng)
    return Exchange(question, f"{name}." if terse(question) else f"It shows {_land_noun(name)}.")


def land_describe(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    name = _land_noun(PARTS[scene.parts[0].kind])
    return Exchange(_describe(rng), f"{name[0].upper()}{name[1:]} from above.")


def _describe(rng: np.random.Generator) -> str:
    return task_prompt("caption") if rng.random() < 0.3 else ask("describe", rng)


def _land_noun(name: str) -> str:
    return {"agricultural": "agricultural land", "storage tanks": name}.get(name, noun(name))
