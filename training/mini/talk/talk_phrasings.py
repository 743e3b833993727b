"""Phrasings of talk without a medium."""

from __future__ import annotations

from training.mini.talk.grammar import CLOSERS, Grammar

# intent -> (cores, closers); {x} is filled in by the caller.
TALK_GRAMMARS: dict[str, Grammar] = {
    "no_medium": (
        (
            "what is in the picture?",
            "what do you see?",
            "describe the image.",
            "how many products are there?",
            "what object is this?",
            "what does it say?",
            "what colour is it?",
            "where is the bag?",
            "what is this point cloud of?",
            "can you read the word?",
            "list every product with its box.",
        ),
        CLOSERS,
    ),
    "hello": (
        ("hello!", "hi there.", "good morning.", "hey!", "good day to you.", "are you there?"),
        ("",),
    ),
    "who": (
        (
            "who are you?",
            "what are you?",
            "what is your name?",
            "what can you do?",
            "how can you help me?",
            "what should I send you?",
            "introduce yourself.",
            "are you a person?",
        ),
        CLOSERS,
    ),
    "thanks": (
        (
            "thank you!",
            "thanks!",
            "great, thanks.",
            "that helps.",
            "nice, thank you.",
            "good job.",
            "bye!",
            "goodbye.",
        ),
        ("",),
    ),
    "off_topic": (
        (
            "what is the capital of France?",
            "write a poem.",
            "what is two plus two?",
            "who won the match?",
            "tell me a joke.",
            "what time is it?",
            "what is the meaning of life?",
            "write some code.",
            "will it rain tomorrow?",
            "who is the president?",
            "translate this into German.",
            "how do I cook rice?",
        ),
        CLOSERS,
    ),
}
