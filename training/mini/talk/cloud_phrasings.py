"""Phrasings of questions about point clouds."""

from __future__ import annotations

from training.mini.talk.grammar import CLOSERS, NUMBER, WORD, Grammar

# intent -> (cores, closers); {x} is filled in by the caller.
CLOUD_GRAMMARS: dict[str, Grammar] = {
    "cloud_identify": (
        (
            "what object is this?",
            "what is this point cloud of?",
            "what does the scan show?",
            "which kind of furniture is it?",
            "what do the points show?",
            "can you name the object?",
            "what thing was scanned here?",
            "what is this?",
            "how would you classify this cloud?",
            "what type of object do you see?",
            "which object does the point cloud show?",
        ),
        WORD,
    ),
    "cloud_classify": (
        (
            "which category is the object: {x}?",
            "choose the right label for the cloud from {x}.",
            "what is it? Pick from {x}.",
            "classify the point cloud as one of {x}.",
            "what does this point cloud show? Choose one of: {x}.",
            "which of these is it: {x}?",
        ),
        ("", " Answer with the label."),
    ),
    "cloud_count": (
        (
            "how many objects are there?",
            "how many pieces of furniture do you see?",
            "count the objects.",
            "what is the number of objects in the scan?",
            "how many things stand in the room?",
        ),
        NUMBER,
    ),
    "cloud_list": (
        (
            "which objects are in the room?",
            "what stands in the room?",
            "list the objects.",
            "describe the scene.",
            "what do you see in the scan?",
            "name all objects in the cloud.",
        ),
        CLOSERS,
    ),
    "cloud_detect": (
        (
            "list every object with its box.",
            "detect all objects and give their boxes in metres.",
            "where are the objects? Give a box for each.",
            "find all furniture with its boxes.",
        ),
        CLOSERS,
    ),
    "cloud_ground": (
        (
            "where is the {x}?",
            "give the box of the {x}.",
            "find the {x} and give its box.",
            "locate the {x} in the scan.",
        ),
        CLOSERS,
    ),
    "cloud_exists": (
        (
            "is there {x} in the scan?",
            "do you see {x}?",
            "can you find {x} in the cloud?",
            "does the scan show {x}?",
            "is {x} in the room?",
        ),
        CLOSERS,
    ),
    "cloud_height": (
        (
            "how tall is it?",
            "what is its height?",
            "how high is the object?",
            "estimate the height in metres.",
            "how many metres does it reach up?",
        ),
        CLOSERS,
    ),
    "cloud_colour": (
        (
            "what colour is it?",
            "which colour does it have?",
            "what is its colour?",
            "is it red?",
        ),
        CLOSERS,
    ),
}
