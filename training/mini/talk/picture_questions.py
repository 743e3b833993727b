"""Questions about pictures of products.

Each function takes a scene, a random generator and, if the mini suite uses it too, the split of its
phrasings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.mini.scenes.pictures import COLOUR_NAMES, SIZE, PictureScene, PlacedProduct
from training.mini.sources import PRODUCTS, Split
from training.mini.talk.exchanges import (
    Choice,
    Exchange,
    absent,
    chosen,
    counted,
    distract,
    existence,
    join,
    label_list,
    named,
    noun,
    only_ones,
    pick,
    plural,
    say,
    terse,
    which_is_shown,
)
from training.mini.talk.phrasings import ask


def identify(scene: PictureScene, rng: np.random.Generator, split: Split = "train") -> Exchange:
    return named("identify", PRODUCTS[scene.products[0].label], rng, split)


def classify(scene: PictureScene, rng: np.random.Generator, split: Split = "train") -> Exchange:
    """Which of the ten classes, listed in the question."""
    question = ask("classify", rng, split, label_list(PRODUCTS, rng))
    return Exchange(question, PRODUCTS[scene.products[0].label] + ".")


def count_products(
    scene: PictureScene, rng: np.random.Generator, split: Split = "train"
) -> Exchange:
    what = str(rng.choice(["product", "item"]))
    return counted("count", len(scene.products), what, rng, split)


def detect(scene: PictureScene, rng: np.random.Generator, split: Split = "train") -> Exchange:
    return Exchange(ask("detect", rng, split), detection_text(scene.products) + ".")


def choice(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    return chosen(*choice_parts(scene, rng), rng)


def choice_parts(scene: PictureScene, rng: np.random.Generator) -> Choice:
    """A four-way question on a class, a colour or a number, in parts."""
    labels, unique = [p.label for p in scene.products], only_ones(scene.products)
    kind = rng.random()
    if unique and kind < 0.35:
        return colour_choice_parts(pick(unique, rng), rng)
    if len(labels) > 1 and kind < 0.65:
        right = str(len(labels))
        return distract("How many products are there?", right, "123456", f"I count {right}", rng)
    questions = (
        "Which product is in the picture?",
        "What does the picture show?",
        "Which of these do you see?",
    )
    return which_is_shown(PRODUCTS, labels, questions, rng)


def colour_choice_parts(item: PlacedProduct, rng: np.random.Generator) -> Choice:
    """As `choice_parts`, about the colour of the only product of its class."""
    name, right = PRODUCTS[item.label], COLOUR_NAMES[item.colour]
    question, reason = f"What colour is the {name}?", f"The {name} is {right}"
    return distract(question, right, COLOUR_NAMES, reason, rng)


def its_colour(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    question = ask("its_colour", rng)
    tint = COLOUR_NAMES[scene.products[0].colour]
    if terse(question):
        return Exchange(question, f"{tint}.")
    return Exchange(question, say(("It is {}.", "{}.", "I would say {}."), rng, tint))


def colour(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """One product's colour; sometimes of a product that is absent."""
    unique = only_ones(scene.products)
    if not unique or rng.random() < 0.15:
        name = absent(PRODUCTS, [p.label for p in scene.products], rng)
        question = ask("colour", rng, x=name)
        forms = ("I see no {} here.", "There is no {} in this picture.")
        return Exchange(question, say(forms, rng, name))
    return colour_of(pick(unique, rng), rng)


def colour_of(item: PlacedProduct, rng: np.random.Generator) -> Exchange:
    """The colour of the only product of its class."""
    name, tint = PRODUCTS[item.label], COLOUR_NAMES[item.colour]
    question = ask("colour", rng, x=name)
    verb = "are" if name == "trousers" else "is"
    return Exchange(question, tint + "." if terse(question) else f"The {name} {verb} {tint}.")


def exists(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    return existence("exists", [PRODUCTS[p.label] for p in scene.products], PRODUCTS, rng)


def count_class(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """How many products of one class; sometimes none."""
    labels = [p.label for p in scene.products]
    label = pick(labels, rng) if rng.random() < 0.8 else int(rng.integers(10))
    name = PRODUCTS[label]
    question = ask("count_class", rng, x=plural(name))
    number = labels.count(label)
    if terse(question):
        return Exchange(question, f"{number}.")
    if number == 0:
        return Exchange(question, f"There are no {plural(name)}.")
    one = number == 1 and name != "trousers"
    return Exchange(question, f"There is one {name}." if one else f"I count {number}.")


def locate(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """One product's box; sometimes of a product that is absent."""
    unique = only_ones(scene.products)
    if not unique or rng.random() < 0.12:
        name = absent(PRODUCTS, [p.label for p in scene.products], rng)
        return Exchange(ask("locate", rng, x=name), f"I see no {name} here.")
    return box_of(pick(unique, rng), rng)


def box_of(item: PlacedProduct, rng: np.random.Generator) -> Exchange:
    """The box of the only product of its class."""
    name = PRODUCTS[item.label]
    form = pick(("The {} is at {}.", "{} {}."), rng)
    return Exchange(ask("locate", rng, x=name), form.format(name, box_text(item.box)))


def describe(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """All products with their colours, from left to right."""
    form = pick(("I see {}.", "The picture shows {}.", "There is {}."), rng)
    return Exchange(ask("describe", rng), form.format(listing(scene)))


def listing(scene: PictureScene) -> str:
    """All products with their colours, from left to right."""
    return join([_coloured_noun(p) for p in from_left(scene.products)])


def no_text(scene: PictureScene, rng: np.random.Generator) -> Exchange:
    """A question about text in a picture of products only."""
    del scene
    forms = (
        "There is no writing in this picture.",
        "I see no text here.",
        "Nothing is written here.",
    )
    return Exchange(ask("read", rng), pick(forms, rng))


def box_text(box: Sequence[float]) -> str:
    """A box as LAMM writes it: `[x1, y1, x2, y2]`, 0 to 1, two decimals."""
    return "[" + ", ".join(f"{min(max(v / SIZE, 0.0), 0.99):.2f}" for v in box) + "]"


def detection_text(products: Sequence[PlacedProduct]) -> str:
    """All products with their boxes, from left to right."""
    return "; ".join(f"{PRODUCTS[p.label]} {box_text(p.box)}" for p in from_left(products))


def from_left(products: Sequence[PlacedProduct]) -> list[PlacedProduct]:
    """The products by their left edges."""
    return sorted(products, key=lambda p: p.box[0])


def _coloured_noun(product: PlacedProduct) -> str:
    name, tint = PRODUCTS[product.label], COLOUR_NAMES[product.colour]
    return noun(f"{tint} pair of trousers" if name == "trousers" else f"{tint} {name}")
