"""Sentences of the kinds that LLaVA, MiniGPT-4, GPT-4 and small LLaMAs write, a list a task.

Each stands for a form; what may be read in two ways is partial or unparsed, never surely wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from lamm_model.tasks import TASKS, ParseStatus
from lamm_model.tasks.label_sets import CIFAR10

PETS = {"question": "Which?", "choices": ("a dog", "a cat", "a rabbit")}
CASES: Mapping[str, tuple[Mapping[str, Any], str, Mapping[Any, Sequence[str]]]] = {
    "vqa_choice": (
        PETS,
        "choice",
        {
            0: ["A dog is shown.", "I think A.", "I think the answer is a dog", "A dog, not B"],
            1: [
                "B: a cat", "B) a cat", "(B) a cat", "B a cat", "Option B: a cat", "Choice B",
                "The animal in the image is a cat, so the answer is (B).",
                "So the correct choice is B) a cat.", "I believe the answer is (B), a cat.",
                "I believe the answer is B because of the whiskers.", "It's (B).",
                "The answer is most likely B.", "Answer: (B). Explanation: A is too big.",
                "I'd say B", "###B",
                "Answer: B\nExplanation: the other options, A and C, are wrong.", "I pick B!",
                "The answer is B, not A.", "The answer isn't A. It's B.", 'The answer is "a cat".',
                "The answer to the question is B.", "Thus, B is the answer.",
                "The answer is likely to be B.", "The answer is not a dog, it is a cat.",
            ],
            2: [
                "The best answer is C, a rabbit.", "It is neither a dog nor a cat, so a rabbit.",
                "C is the best answer as it has long ears.", "C seems right", "Hence (C).",
                "Options: (A) a dog (B) a cat (C) a rabbit. Answer: (C)",
                "Options: (A) a dog (B) a cat (C) a rabbit. I think C",
            ],
            None: [
                "None of these, it is a fish.", "A. a dog B. a cat C. a rabbit", "I", "(D)",
                "The animal is shown in figure B.", "A is not correct.", "E is correct",
            ],
        },
    ),
    "facial_smile": (
        {},
        "smiling",
        {
            True: [
                "It appears that the person is smiling.", "yes he smiles", "A slight smile.",
                "There is no doubt that she is smiling.", "He never stops smiling.",
                "She can't help smiling.", "The answer is yes because she shows her teeth.",
                "The woman is not wearing sunglasses, and she is smiling.", "smile: 1", "True",
                "She isn't looking at the camera but smiling.", "Yes, but it's a faint smile.",
                "She is not only smiling, she is laughing.", "Q: Is he smiling?\nA: Yes",
            ],
            False: [
                "The expression is neutral with no hint of a smile.", "No one is smiling.",
                "The woman is wearing sunglasses and she is not smiling.", "smiling: 0", "False.",
                "No, the man is not smiling. He has a serious expression.", "I would say no.",
                "The man does not smile at the camera.", "Her smile is not visible.",
                "I do not see the person smiling.", "Without smiling, he looks at us.",
                "No, I don't think she is smiling.", "The person does not smile or laugh.",
                "Smiling - no", "She has stopped smiling.",
            ],
            None: [
                "I'm sorry, but I can't tell whether the person is smiling.", "not really",
                "Smiling: yes/no", "There is no person in this picture.",
                "It is hard to say. The mouth is hidden.",
                "It is unclear whether the man is smiling or not.", "The face shows joy.",
                "He looks like he is about to smile.", "The person is not frowning, sad or angry.",
            ],
        },
    ),
    "counting": (
        {},
        "count",
        {
            0: ["There is not a single dog.", "None of them.", "I see nobody.", "There are none."],
            1: ["A single dog", "There is only one.", "There is one."],
            4: ["There are not 3 but 4 people.", "There aren't 3 people, there are 4."],
            5: ["There are 3 dogs and 2 cats, so 5 animals.", "**5**", '"5"'],
            7: ["One of the seven is red.", "The picture has a 4:3 ratio with 7 people"],
            9: ["I count 5 boxes on the left, 4 on the right, totaling 9.", "total = 9"],
            11: ["There are eleven players: 5 in red and 6 in blue"],
            12: ["There are 12 items in total.", "about a dozen"],
            50: ["There are many people, around 50."],
            123: ["one hundred and twenty-three"],
            1_000_000: ["1 million"],
            None: [
                "There are several apples.", "half of them", "two and a half", "one half", "1/2",
                "100%", "2 million", "It's impossible to count them.", "first", "hundreds", "-5",
                "The number is not 5",
            ],
        },
    ),
    "classification": (
        {"labels": CIFAR10},
        "label",
        {
            "cat": [
                "The image features a cat.", "It is not a dog or a horse. It is a cat.",
                "I'm not sure, but it could be a cat.", "It is more like a cat than a dog.",
                "No doubt it is a cat.", "Nothing but a cat.", "If I had to guess, a cat.",
                "This doesn't seem to be a dog. Rather a cat.",
            ],
            "dog": ["I can't see a cat; I see a dog.", "A dog, not a cat or a bird."],
            None: [
                "No dogs, cats or birds are shown.", "It cannot possibly be a cat",
                "I would not call it a cat.", "Hardly a cat.", "A catfish", "It is no cat.",
                "It's hard to say whether it's a cat or a dog",
            ],
        },
    ),
    "classification_3d": (
        {},
        "label",
        {
            "chair": [
                "A 3D model of a chair.", "The object is most likely a chair.", "Possibly a chair",
                "In this point cloud, we can see a chair.", "This point cloud shows a chair.",
                "I think it's a chair.", "Based on the point cloud, it looks like a chair.",
            ],
            None: [
                "Unknown", "It is unclear.", "The object cannot be identified.", "No object",
                "There is nothing.", "None", "Hard to tell", "The picture is blurry.",
            ],
        },
    ),
    "ocr": (
        {},
        "text",
        {
            "LAMP": [
                "The word written in the picture is LAMP.", "I see LAMP", "**LAMP**",
                'The word "LAMP" is written in white letters.', "The picture shows the word LAMP.",
            ],
            "Don't": ["The sign says Don't"],
            "no": ["The word is no"],
            None: [
                "I cannot make out the word", "It is too blurry.", "Nothing is written.", "nothing",
                "Answer: I cannot read it.", "The word is hard to read", "Unclear.",
                "The picture does not show a word.",
            ],
        },
    ),
    "ocr_words": (
        {},
        "words",
        {
            ("STOP", "EXIT"): [
                "1. STOP 2. EXIT", "I can see the words STOP and EXIT.", "['STOP', 'EXIT']",
                "There are two words: STOP and EXIT.", "Sure! Here is the list: STOP, EXIT.",
                "The following words are written in the picture: STOP, EXIT",
            ],
            (): ["None", "The words are: none", "The sign has no letters", "There isn't any text."],
            None: ["The letters are too small", "I can't read it.", "As an AI, I can't see it."],
        },
    ),
    "keypoints": (
        {"joint": "neck"},
        "point",
        {
            (0.5, 0.25): [
                "(x, y) = (0.5, 0.25)", "Point(x=0.5, y=0.25)", "The point [x, y] is [0.5, 0.25].",
                "Neck: [0.5, 0.25] (confidence 0.9)", '{"point": {"x": 0.5, "y": 0.25}}',
                "The neck isn't visible, but it would be at [0.5, 0.25].",
            ],
            None: [
                "The neck is not at [0.5, 0.25]", "Not visible. [0, 0]", "size [0.2, 0.2]",
                "The neck is not visible.",
            ],
        },
    ),
    "grounding_3d": (
        {"description": "the chair"},
        "bbox",
        {
            (1.0, 2.0, 0.5, 0.4, 0.6, 1.0): [
                '{"cx": 1, "cy": 2, "cz": 0.5, "l": 0.4, "w": 0.6, "h": 1}',
                "position (1, 2, 0.5), dimensions (0.4, 0.6, 1)", "[1, 2, 0.5], [0.4, 0.6, 1]",
                "min: (0.8, 1.7, 0), max: (1.2, 2.3, 1)",
                "between (0.8, 1.7, 0) and (1.2, 2.3, 1)",
                "corners (0.8, 1.7, 0) and (1.2, 2.3, 1)",
            ],
            None: ["The chair is not in [1, 2, 0.5, 0.4, 0.6, 1].", "I cannot find the chair."],
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_models_write(name: str) -> None:
    inputs, field, answers = CASES[name]
    task = TASKS[name]
    for right, texts in answers.items():
        for text in texts:
            result = task.parse(text, task.inputs_model(**inputs))
            said = None if result.answer is None else getattr(result.answer, field)
            status = ParseStatus.UNPARSED if right is None else ParseStatus.OK
            assert (said, result.status) == (right, status), text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vqa_choice", "A. a dog B. a cat"),
        ("counting", "30+"),
        ("counting", "4 or more"),
        ("counting", "1, 2, 3, 4, 5"),
        ("counting", "There are between 20 and 30 people."),
        ("classification_3d", "A table or a chair"),
        ("ocr_words", "The words STOP and EXIT are written."),
        ("ocr_words", "A man and a dog stand near a sign."),
        ("ocr_words", "I see a street"),
        ("grounding_3d", "(0.8, 1.7, 0) - (1.2, 2.3, 1)"),
        ("locating", "dog: from (0.1, 0.2) to (0.5, 0.6)"),
    ],
)
def test_what_may_be_read_in_two_ways_is_partial(name: str, text: str) -> None:
    task = TASKS[name]
    inputs = CASES[name][0] if name in CASES else {}
    assert task.parse(text, task.inputs_model(**inputs)).status is ParseStatus.PARTIAL


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("The dog's bounding box is [0.1, 0.2, 0.5, 0.6].", ["dog"]),
        ("The bounding box of the dog is [0.1, 0.2, 0.5, 0.6].", ["dog"]),
        ("The dog next to the cat is at [0.1, 0.2, 0.5, 0.6].", ["dog"]),
        ("two dogs: [0.1, 0.2, 0.5, 0.6], [0.5, 0.5, 0.9, 0.9]", ["dog", "dog"]),
        ("dog: none; cat: [0.5, 0.5, 0.9, 0.9]", ["cat"]),
        ("No dog, cat [0.5, 0.5, 0.9, 0.9]", ["cat"]),
        ("dog: top-left (0.1, 0.2), bottom-right (0.5, 0.6)", ["dog"]),
        ('{"name": "dog", "type": "object", "bbox_2d": [0.1, 0.2, 0.5, 0.6]}', ["dog"]),
        ("There are no dogs or cats.", []),
        ("The dog is not visible, so [0, 0, 0, 0]", None),
        ("I can't find a dog. [0.1, 0.2, 0.5, 0.6]", None),
        ("There are no dogs, there is a cat on the left.", None),
        ("I'm sorry, I cannot provide bounding boxes.", None),
    ],
)
def test_whose_box_it_is(text: str, labels: list[str] | None) -> None:
    task = TASKS["detection"]
    result = task.parse(text, task.inputs_model(labels=("dog", "cat")))
    found = None if result.answer is None else [o.label for o in result.answer.objects]
    assert (found, result.status) == (
        labels, ParseStatus.UNPARSED if labels is None else ParseStatus.OK
    )  # fmt: skip
