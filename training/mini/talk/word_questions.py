"""Questions about pictures of a written word."""

from __future__ import annotations

import numpy as np

from training.mini.scenes.pictures import PictureScene
from training.mini.sources import Split
from training.mini.talk.exchanges import Exchange, chosen, counted, distract, pick, say, terse
from training.mini.talk.phrasings import ask


def read(scene: PictureScene, rng: np.random.Generator, split: Split = "train") -> Exchange:
    question = ask("read", rng, split)
    free = ('It says "{}".', 'The word is "{}".', 'I read "{}".', '"{}"')
    return Exchange(question, say(('"{}"',) if terse(question) else free, rng, scene.word))


def letters(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    return counted("letters", len(scene.word), "letter", rng, verb="It has")


def first_letter(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    return Exchange(ask("first_letter", rng), f'"{scene.word[0]}"')


def word_describe(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    forms = (
        'A picture of the word "{}".',
        'The word "{}" on a plain ground.',
        'I see the word "{}".',
    )
    return Exchange(ask("describe", rng), say(forms, rng, scene.word))


def word_choice(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    number = str(len(scene.word))
    question = "How many letters does the word have?"
    return chosen(*distract(question, number, "3456", f"I count {number}", rng), rng)


def absent_product(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """A question about products in a picture of a word only."""
    del scene
    if rng.random() < 0.5:
        forms = (
            "I see no product, only a word.",
            "There is no product here; the picture shows a word.",
        )
        return Exchange(ask("identify", rng), pick(forms, rng))
    forms = ("None; there is only a word.", "There are no products, only a word.")
    return Exchange(ask("count", rng), pick(forms, rng))
