"""Classes of a closed set in free text, by label, synonym or spelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from lamm_model.tasks.reading.words import LabelMatch, find_labels, tokens

# A word that may name two classes of a set is not a synonym.
SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "airplane": ("aeroplane", "plane", "aircraft", "jet", "jetliner", "airliner"),
        "aeroplane": ("airplane", "plane", "aircraft", "jet", "jetliner", "airliner"),
        "automobile": ("car", "sedan", "taxi"),
        "car": ("automobile", "sedan", "taxi"),
        "cat": ("kitten", "kitty"),
        "dog": ("puppy",),
        "horse": ("pony", "foal"),
        "deer": ("fawn", "stag", "elk", "moose"),
        "frog": ("toad",),
        "ship": ("boat", "vessel", "sailboat", "yacht"),
        "boat": ("ship", "vessel", "sailboat", "yacht", "canoe", "kayak"),
        "truck": ("lorry",),
        "bicycle": ("bike", "cycle"),
        "motorbike": ("motorcycle", "scooter"),
        "cow": ("calf", "bull", "cattle", "ox"),
        "sheep": ("lamb",),
        "diningtable": ("dining table", "table"),
        "pottedplant": ("potted plant", "plant", "houseplant"),
        "tvmonitor": ("tv monitor", "tv", "television", "monitor", "tv screen"),
        "sofa": ("couch", "settee"),
        "train": ("locomotive",),
        "person": (
            "man", "woman", "child", "boy", "girl", "baby", "guy", "lady", "human", "pedestrian",
            "kid", "player", "rider"
        ),
        "bookshelf": ("bookcase", "book shelf"),
        "picture": ("painting", "photograph", "poster"),
        "refrigerator": ("fridge",),
        "showercurtrain": ("shower curtain", "showercurtain"),
        "bathtub": ("bath tub", "tub"),
        "garbagebin": ("garbage bin", "trash can", "trash bin", "garbage can", "bin", "waste bin"),
        "agricultural": ("farmland", "cropland", "agriculture", "agricultural field"),
        "harbor": ("harbour", "marina"),
        "freeway": ("highway", "motorway", "expressway"),
        "buildings": ("building",),
        "blond": ("blonde",),
        "gray": ("grey",),
        "brown": ("brunette",),
    }
)  # fmt: skip


def find_classes(text: str, labels: Sequence[str]) -> list[LabelMatch]:
    """Classes of a closed set that a text names, by label or synonym, in order.

    A label of several words may be written as one ("golfcourse"). `label` of a match is the index
    in `labels`.
    """
    owner: dict[str, int] = {}
    taken = {tuple(tokens(label)) for label in labels}
    for index, label in enumerate(labels):
        joined = "".join(label.split())
        for other in (*SYNONYMS.get(label, ()), *((joined,) if joined != label else ())):
            if tuple(tokens(other)) not in taken:
                owner[other] = -1 if other in owner else index
    others = [other for other, index in owner.items() if index >= 0]
    found = find_labels(text, [*labels, *others])
    classes = [*range(len(labels)), *(owner[other] for other in others)]
    return [replace(match, label=classes[match.label]) for match in found]


def class_index(name: str, labels: Sequence[str]) -> int | None:
    """Index of a label, ignoring spaces, hyphens and case; None if it is not in the set.

    The data sets spell their own classes in several ways ("golfcourse", "golf course").
    """
    spellings = ["".join(tokens(label)) for label in labels]
    spelling = "".join(tokens(name))
    return spellings.index(spelling) if spelling in spellings else None
