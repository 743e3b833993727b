"""What the exam of upstream's benchmark adds to the questions of its files, for a client of it."""

from __future__ import annotations

from lamm_model.conversation import SECOND_QUESTION, neutralise

__all__ = ["SECOND_QUESTION", "keeps_its_spelling", "two_pass_answer"]


def two_pass_answer(first_answer: str, second_answer: str) -> str:
    """The text that upstream's benchmark scores after asking a multiple-choice question twice."""
    return f"{first_answer}\n The answer is {second_answer}"


def keeps_its_spelling(text: str) -> bool:
    """Whether a server writes a text into the prompt as it is: it spells no tag and no marks."""
    return neutralise(text) == text
