"""Phrasings of questions about drawings of faces, people and land."""

from __future__ import annotations

from training.mini.talk.grammar import CLOSERS, WORD, Grammar

# intent -> (cores, closers); {x} is filled in by the caller.
DRAWN_GRAMMARS: dict[str, Grammar] = {
    "smile": (
        (
            "is the person smiling?",
            "does the person smile?",
            "is this a smiling face?",
            "do you see a smile?",
            "is the face happy?",
            "is there a smile on the face?",
        ),
        CLOSERS,
    ),
    "hair": (
        (
            "what colour is the hair?",
            "which colour of hair does the person have?",
            "what is the hair colour?",
            "tell me the colour of the hair.",
            "what color is the person's hair?",
        ),
        WORD,
    ),
    "joint": (
        (
            "where is the {x}?",
            "find the {x}.",
            "at which point is the {x}?",
            "give the {x} as a point.",
            "what are the coordinates of the {x}?",
        ),
        CLOSERS,
    ),
    "land": (
        (
            "what land is this from above?",
            "what does this picture from above show?",
            "which use of land do you see?",
            "what is down there?",
            "what kind of place is this, seen from above?",
        ),
        WORD,
    ),
}
