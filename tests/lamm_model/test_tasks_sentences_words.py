"""Answers in words that are easily misread: articles as letters, echoes, doubts, denials."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lamm_model.tasks import TASKS
from lamm_model.tasks.label_sets import CIFAR10

PETS = ("a dog", "a cat", "a rabbit")
NINE = ("red", "green", "blue", "white", "black", "pink", "brown", "grey", "gold")
SAMPLES = ("neither", "sample A", "sample B")


def read(task: str, text: str, **inputs: Any) -> tuple[Any, str]:
    definition = TASKS[task]
    result = definition.parse(text, definition.inputs_model(**inputs))
    return (None if result.answer is None else result.answer.model_dump(), str(result.status))


@pytest.mark.parametrize(
    ("text", "choice", "status"),
    [
        # An article is no letter.
        ("The answer is a cat.", 1, "ok"),
        ("Answer: a cat", 1, "ok"),
        ("Answer: A cat", 1, "ok"),
        ("My answer is a rabbit", 2, "ok"),
        ("The choice is a difficult one, but I say (B).", 1, "ok"),
        ("The answer is a.", 0, "ok"),
        ("The answer is a", 0, "ok"),
        ("the answer is b) a cat", 1, "ok"),
        ("The answer is A because it barks.", 0, "ok"),
        ("A is the correct answer.", 0, "ok"),
        ("It is A (a dog).", 0, "ok"),
        ("A cat.", 1, "ok"),
        # Letters beyond the options end no search.
        ("The best choice I see is (B).", 1, "ok"),
        ("The answer I would give is (B).", 1, "ok"),
        ("(F) or rather a cat", 1, "ok"),
        # Markup, quotes and brackets of every kind.
        ("The answer is **B**.", 1, "ok"),
        ("**(B)**", 1, "ok"),
        ('"B"', 1, "ok"),
        ("'B'", 1, "ok"),
        ("[B]", 1, "ok"),
        ("`B`", 1, "ok"),
        (r"$\boxed{B}$", 1, "ok"),
        ("\uff08B\uff09", 1, "ok"),
        # Letters stated without the word "answer".
        ("It should be B", 1, "ok"),
        ("probably B", 1, "ok"),
        ("I choose B", 1, "ok"),
        ("I would go with B, as it has whiskers", 1, "ok"),
        ("B is correct", 1, "ok"),
        ("B is the correct option.", 1, "ok"),
        ("not A but B", 1, "ok"),
        ("It is not A, it is B.", 1, "ok"),
        ("A is wrong, so it must be B.", 1, "ok"),
        ("Correct option: C", 2, "ok"),
        ("The correct option is C: a rabbit", 2, "ok"),
        ("Based on the image, the best answer would be option B.", 1, "ok"),
        ("The answer is (B). Option A is wrong because it does not bark.", 1, "ok"),
        ("B. Option A shows a dog.", 1, "ok"),
        ("There is a dog and a rabbit, so the answer is a cat.", 1, "ok"),
        ("ASSISTANT: B", 1, "ok"),
        ("Final answer: B", 1, "ok"),
        # Two answers are no certain one.
        ("The answer could be A or B.", 0, "partial"),
        ("A or B", 0, "partial"),
        ("Both (A) and (B)", 0, "partial"),
        ("The answer is (B) a dog.", 1, "partial"),
        # No answer at all.
        ("Neither A nor B", None, "unparsed"),
        ("It is not a cat.", None, "unparsed"),
        ("The answer is not B.", None, "unparsed"),
        ("I am not sure.", None, "unparsed"),
        ("I cannot tell if it is a cat.", None, "unparsed"),
    ],
)
def test_letters_of_options(text: str, choice: int | None, status: str) -> None:
    answer, read_as = read("vqa_choice", text, question="Which pet?", choices=PETS)
    assert (answer and answer["choice"], read_as) == (choice, status)


@pytest.mark.parametrize(
    ("text", "choices", "choice"),
    [
        ("The answer I would give is gold.", NINE, 8),
        ("The answer is I.", NINE, 8),
        ("I think it is blue.", NINE, 2),
        ("Sample A is hotter.", SAMPLES, 1),
        ("The answer is sample B.", SAMPLES, 2),
        ("It contains vitamin C.", ("iron", "vitamin C", "salt"), 1),
        ("No, it is not.", ("yes", "no"), 1),
        # Signs tell options apart that have the same words.
        ("5", ("5", "-5"), 0),
        ("-5", ("-5", "5"), 0),
        ("It is -5 degrees.", ("-5", "5"), 0),
        ("The answer is 5.", ("5", "-5"), 0),
        ("+", ("+", "-"), 0),
        ("C++", ("C", "C++", "C#"), 1),
        ("(A) -5", ("-5", "5"), 0),
        ("C", ("C", "A", "B"), 2),
        ("About 1000 pounds.", ("100 pounds", "1,000 pounds"), 1),
    ],
)
def test_letters_and_words_of_options(text: str, choices: tuple[str, ...], choice: int) -> None:
    answer = read("vqa_choice", text, question="Which?", choices=choices)
    assert answer == ({"choice": choice}, "ok")


@pytest.mark.parametrize(
    ("text", "smiling", "status"),
    [
        # What was asked is no answer.
        ("Is the person smiling? No.", False, "ok"),
        ("Is the person in this picture smiling? Answer yes or no. Yes", True, "ok"),
        ("Is the person smiling?", None, "unparsed"),
        ("Smiling: no", False, "ok"),
        ("Smiling: Yes", True, "ok"),
        ("The person in this picture is smiling: False", False, "ok"),
        ("smiling = true", True, "ok"),
        ("Q: Is she smiling? A: no", False, "ok"),
        ("Let me look at her mouth. The corners are down, so the answer is no.", False, "ok"),
        ("Final answer: **Yes**", True, "ok"),
        # Nor is not knowing.
        ("I don't know if the person is smiling.", None, "unparsed"),
        ("It is not possible to say whether she smiles.", None, "unparsed"),
        ("I am not sure she is smiling.", None, "unparsed"),
        ("Whether he is smiling is unclear.", None, "unparsed"),
        ("It is hard to tell if she is smiling, but she seems to be smiling.", True, "ok"),
        ("She might be smiling.", True, "partial"),
        # Denials reach a smile, and stop where another statement starts.
        ("A non-smiling man", False, "ok"),
        ("an unsmiling woman", False, "ok"),
        ("He has no smile on his face.", False, "ok"),
        ("There is no sign of a smile.", False, "ok"),
        ("She does not appear to be smiling in this picture", False, "ok"),
        ("He does not have a beard and is smiling.", True, "ok"),
        ("The man is not wearing glasses and smiles.", True, "ok"),
        ("She is not frowning.", None, "unparsed"),
        ("She is not frowning but smiling.", True, "ok"),
        ("He doesn't look sad; he is smiling.", True, "ok"),
        ("The man is neither smiling nor frowning.", False, "ok"),
        ("It is not true that she is smiling.", False, "ok"),
        ("It looks as if she is smiling.", True, "ok"),
        ("No beard, and a big smile.", True, "ok"),
        ("No, the woman is smiling.", False, "partial"),
        ("The person looks serious rather than happy.", False, "ok"),
    ],
)
def test_smiles(text: str, smiling: bool | None, status: str) -> None:
    answer, read_as = read("facial_smile", text)
    assert (answer and answer["smiling"], read_as) == (smiling, status)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The image does not show a cat; it shows a ship.", "ship"),
        ("It does not look like a cat, it looks like a ship.", "ship"),
        ("The picture does not contain a cat but a ship.", "ship"),
        ("There is not a single cat, only a ship.", "ship"),
        ("I don't think that this is a cat. This is a ship.", "ship"),
        ("It isn't a cat or a dog, it's a ship.", "ship"),
        ("There are no cats, dogs, or frogs, just a ship.", "ship"),
        ("No, it is a ship.", "ship"),
        ("Instead it is a ship.", "ship"),
        ("It is a ship instead of a truck.", "ship"),
        ("It does not appear to be a truck", None),
        ("I cannot tell whether this is a cat.", None),
        ("There is no sign of a ship.", None),
    ],
)
def test_denied_classes(text: str, label: str | None) -> None:
    expected = (label and {"label": label}, "ok" if label else "unparsed")
    assert read("classification", text, labels=CIFAR10) == expected


@pytest.mark.parametrize(
    ("text", "label", "status"),
    [
        ("I don't know.", None, "unparsed"),
        ("I cannot tell", None, "unparsed"),
        ("Sorry, I can't help with that.", None, "unparsed"),
        ("This is not a chair.", None, "unparsed"),
        ("This is not a chair. It is a table.", "table", "ok"),
        ("In the image, there is a lamp.", "lamp", "ok"),
        ("Sure! This is a chair.", "chair", "ok"),
        ("The object in the picture is a chair.", "chair", "ok"),
        ("The point cloud depicts a guitar.", "guitar", "ok"),
        ("It appears to be an airplane.", "airplane", "ok"),
        ("no-parking sign", "no-parking sign", "ok"),
    ],
)
def test_classes_in_free_words(text: str, label: str | None, status: str) -> None:
    assert read("classification_3d", text) == (label and {"label": label}, status)


@pytest.mark.parametrize(
    ("text", "word", "status"),
    [
        ("There is no writing in this picture.", None, "unparsed"),
        ("No words", None, "unparsed"),
        ("The picture shows nothing", None, "unparsed"),
        ("None.", None, "unparsed"),
        ("The text is not legible.", None, "unparsed"),
        ("The word is too blurry to make out.", None, "unparsed"),
        ("As an AI language model, I have no access to pictures.", None, "unparsed"),
        ("I am sorry, the image does not contain any text.", None, "unparsed"),
        ("The word is written in white: LAMP", "LAMP", "ok"),
        ('The signs say "HOTEL" and "PARIS".', "HOTEL", "partial"),
        ("NO", "NO", "ok"),
        ("The word in the image is EXIT.", "EXIT", "ok"),
        ("The word displayed is 'open'.", "open", "ok"),
    ],
)
def test_a_word_or_none(text: str, word: str | None, status: str) -> None:
    assert read("ocr", text) == (word and {"text": word}, status)


@pytest.mark.parametrize(
    ("text", "words", "status"),
    [
        ("There is no writing in this picture.", (), "ok"),
        ("No words", (), "ok"),
        ("The picture shows nothing", (), "ok"),
        ("The image does not contain any text.", (), "ok"),
        ("The text is not legible.", None, "unparsed"),
        ("The words are: no, text", ("no", "text"), "ok"),
        ("no entry", ("no", "entry"), "ok"),
    ],
)
def test_words_or_none(text: str, words: tuple[str, ...] | None, status: str) -> None:
    assert read("ocr_words", text) == (None if words is None else {"words": words}, status)


@pytest.mark.parametrize(
    ("task", "words"), [("ocr", "\u201c"), ("ocr_words", "\u201c"), ("vqa_choice", "option ")]
)
def test_endless_words_are_read_at_once(task: str, words: str) -> None:
    inputs = {"question": "Which?", "choices": PETS} if task == "vqa_choice" else {}
    started = time.process_time()
    read(task, (40_000 // len(words)) * words, **inputs)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("mark", ["\n", " - "])
def test_endless_marks_are_read_at_once(mark: str) -> None:
    started = time.process_time()
    assert read("facial_smile", 20_000 * mark) == (None, "unparsed")
    assert read("facial_smile", f"{20 * mark}yes")[0] == {"smiling": True}
    assert time.process_time() - started < 2
