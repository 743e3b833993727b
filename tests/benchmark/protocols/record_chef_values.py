"""Writes what ChEF's own scorers give for seeded random answers; the tests compare ours with it.

It imports ChEF from a checkout of OpenGVLab/LAMM (main, ea57136) and needs torch, tqdm and nltk
with WordNet 3.0 as the corpus `wordnet`:

    python tests/benchmark/protocols/record_chef_values.py LAMM/src > chef_values.json
    python tests/benchmark/protocols/record_chef_values.py LAMM/src --forms    # chef_words.py
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import random
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

_VULGAR = """
bang bangs barf barfs barves bonk bozo bozos crapper crappers eff fuck fucks hump humps jazz puke
pukes screw screws
"""
_NAMES = """
airplane automobile bird cat deer dog frog horse ship truck aeroplane bicycle boat bottle bus car
chair cow diningtable motorbike person pottedplant sheep sofa train tvmonitor trousers pullover
dress coat sandal shirt sneaker bag bed plant lamp cabinet window door table bookshelf picture
counter desk curtain refrigerator showercurtain toilet sink bathtub garbagebin T-shirt
"""
LABELS = [*_NAMES.split(), "ankle boot"]
# Vulgar words.
_LEFT_OUT = frozenset(_VULGAR.split())
_SPOKEN = """
the a is of and there are in It shows dogs puppies mice men women ships sailboats tables bikes
aeroplanes plane cars coaches horses ponies calf hounds Dog PERSON no zero one five twenty 3 12
25. 7, sofas couches motorcycles bookcases geese sheep
"""
_WORDS = _SPOKEN.split()
_SENTENCES = (
    "The {label} object is at [{box}]",
    "There is an object classified as {label} within the box [{box}]",
    "An object categorized as {label} can be seen at [{box}]",
    "It belongs to the category of {label} at [{box}]",
    "It belongs to the {label} category, [{box}]",
    "The box [{box}] falls under the category of {label}",
    "At [{box}], its category is {label}",
    "{label} [{box}]",
    "The {label} object has no box",
)


def main() -> None:
    """Prints the values, or the word forms, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the folder src of the checkout")
    parser.add_argument("--forms", action="store_true")
    options = parser.parse_args()
    _stand_in(options.source)
    if options.forms:
        sys.stdout.write(json.dumps(_forms(), indent=1, sort_keys=True))
        return
    made = {
        "labels": _labels(),
        "words": _answers("CG_Classification", _word_answers()),
        "detection": _answers("LAMM_Detection", _detections()),
        "boxes": _answers("Detection", _detections()),
        "detection_3d": _answers("LAMM_3D_Detection", _scenes()),
        "grounding_3d": _answers("LAMM_3D_Grounding", _groundings()),
        "counting": _answers("Counting", _counts()),
        "choices": _answers("VQA", _choices()),
        "calibration": [_calibration(n) for n in (1, 3, 10, 57, 200)],
        "ppl": _ppl(),
        "retrieval": [_retrieval(n, k) for n, k in ((5, 1), (12, 3), (40, 4))],
    }
    sys.stdout.write(json.dumps(made, separators=(",", ":")) + "\n")


def _stand_in(source: Path) -> None:
    """Makes ChEF's folders importable without their packages' own imports."""
    folders = ("metric", "models", "instruction", "instruction.ice_retriever")
    for name in ("ChEF", *(f"ChEF.{folder}" for folder in folders)):
        package = types.ModuleType(name)
        package.__path__ = [str(source.joinpath(*name.split(".")))]
        sys.modules[name] = package
    nltk = importlib.import_module("nltk.corpus")
    # Its list is loaded by the scorers' modules, but none of the functions below uses it.
    vars(nltk)["stopwords"] = types.SimpleNamespace(words=lambda _language: [])
    for name in ("model", "model.LAMM", "model.LAMM.conversations"):
        sys.modules[name] = types.ModuleType(name)
    vars(sys.modules["model.LAMM"])["LAMMPEFTModel"] = None
    vars(sys.modules["model.LAMM.conversations"])["conv_templates"] = {}
    operators = types.ModuleType("torchvision.ops")
    operators.box_iou = _pairwise_iou  # type: ignore[attr-defined]
    sys.modules["torchvision"] = types.ModuleType("torchvision")
    sys.modules["torchvision.ops"] = operators


def _pairwise_iou(first: Any, second: Any) -> Any:
    """IoU [N, M] of boxes [N, 4] and [M, 4] in float32, as torchvision documents it."""
    torch = importlib.import_module("torch")
    low = torch.max(first[:, None, :2], second[:, :2])
    high = torch.min(first[:, None, 2:], second[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (first, second)]
    return shared / (areas[0][:, None] + areas[1] - shared)


def _chef(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"ChEF.{module}"), name)


_MODULES = {
    "CG_Classification": "classification", "LAMM_Detection": "detection",
    "Detection": "detection", "LAMM_3D_Detection": "detection", "LAMM_3D_Grounding": "detection",
    "Counting": "counting", "VQA": "vqa",
}  # fmt: skip


def _answers(scorer: str, sets: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each set of answers with the results of one of ChEF's scorers."""
    made = []
    for answers in sets:
        given = json.loads(json.dumps(answers))
        results, _ = _chef(f"metric.{_MODULES[scorer]}", scorer)("recorded").metric_func(given)
        made.append({"answers": answers, "results": results})
    return made


def _labels() -> list[list[Any]]:
    """Whether a text counts as naming a label."""
    names: Callable[[str, str], bool] = _chef("metric.utils", "classification_acc")
    rng = random.Random(0)
    every = sorted({word for words in _forms().values() for word in words})
    pairs = [(label, _said(rng, 3)) for label in LABELS for _ in range(6)]
    pairs += [(label, f"{word} {_said(rng, 1)}") for word in every for label in _akin(rng, word)]
    return [[label, text, bool(names(label, text))] for label, text in pairs]


def _akin(rng: random.Random, word: str) -> list[str]:
    """A label that a word names, and one that it may not."""
    return [next(label for label, words in _forms().items() if word in words), rng.choice(LABELS)]


def _said(rng: random.Random, most: int) -> str:
    words = [rng.choice([*_WORDS, *LABELS]) for _ in range(rng.randint(1, most))]
    return rng.choice([" ", " ", " ", "  ", ", "]).join(words)


def _word_answers() -> Iterable[list[dict[str, Any]]]:
    rng = random.Random(1)
    for size in (1, 40, 150):
        answers = []
        for _ in range(size):
            label, text = rng.choice(LABELS), _said(rng, 5)
            if rng.random() < 0.4:
                text = rng.choice(["It is a {}.", "{}", "A {}, no?", "({})", "the {}\n", "[{}]"])
                text = text.format(label)
            answers.append({"gt_answers": label, "answer": text})
        yield answers


def _box(rng: random.Random) -> list[float]:
    x, y = rng.uniform(0, 0.6), rng.uniform(0, 0.6)
    return [round(v, 2) for v in (x, y, x + rng.uniform(0.1, 0.4), y + rng.uniform(0.1, 0.4))]


def _near(rng: random.Random, box: Sequence[float]) -> list[float]:
    return [round(max(0.0, v + rng.uniform(-0.06, 0.06)), 2) for v in box]


def _detections() -> Iterable[list[dict[str, Any]]]:
    rng = random.Random(2)
    labels = ["person", "dog", "boat", "diningtable", "bus", "sofa", "bicycle"]
    spoken = [*labels, "woman", "puppy", "ship", "bike", "couch", "large dog", "Dog"]
    for size in (1, 5, 60):
        answers = []
        for _ in range(size):
            objects: list[dict[str, Any]] = [
                {"label": rng.choice(labels), "bbox": _box(rng)} for _ in range(rng.randint(1, 5))
            ]
            said = []
            for found in objects * rng.randint(0, 2):
                box = _near(rng, found["bbox"]) if rng.random() < 0.8 else _box(rng)
                label = found["label"] if rng.random() < 0.6 else rng.choice(spoken)
                numbers = ", ".join(map(str, box))
                said.append(rng.choice(_SENTENCES).format(label=label, box=numbers))
            rng.shuffle(said)
            answers.append(
                {"gt_answers": objects, "answer": ". ".join(said) + rng.choice(["", "."])}
            )
        # A set without any box divides by zero in one of the scorers.
        answers.append(
            {
                "gt_answers": [{"label": "dog", "bbox": [0.1, 0.1, 0.5, 0.5]}],
                "answer": "The dog object is at [0.1, 0.1, 0.5, 0.5].",
            }
        )
        yield answers


def _solid(rng: random.Random) -> list[float]:
    return [round(rng.uniform(-1, 1), 2) for _ in range(3)] + [
        round(rng.uniform(0.4, 2), 2) for _ in range(3)
    ]


def _scenes() -> Iterable[list[dict[str, Any]]]:
    rng = random.Random(3)
    labels = ["chair", "table", "bed", "showercurtain", "sofa"]
    for size in (1, 50):
        answers = []
        for _ in range(size):
            objects: list[dict[str, Any]] = [
                {"label": rng.choice(labels), "bbox": _solid(rng)} for _ in range(3)
            ]
            said = [
                f"{rng.choice([o['label'], 'chairs', 'Table'])} "
                f"[{', '.join(str(round(v + rng.uniform(-0.1, 0.1), 2)) for v in o['bbox'])}]"
                for o in objects
            ]
            answers.append({"gt_answers": objects, "answer": rng.choice(["; ", " "]).join(said)})
        yield answers


def _groundings() -> Iterable[list[dict[str, Any]]]:
    rng = random.Random(4)
    for size in (1, 60):
        answers = []
        for _ in range(size):
            box = _solid(rng)
            near = [str(round(v + rng.uniform(-0.15, 0.15), 2)) for v in box]
            text = rng.choice(["[{}]", "It is at ({}).", "{}", "nothing"]).format(", ".join(near))
            answers.append({"gt_answers": box, "answer": text})
        yield answers


def _counts() -> Iterable[list[dict[str, Any]]]:
    rng = random.Random(5)
    for size in (1, 30, 120):
        yield [
            {"gt_answers": rng.randint(0, 60), "answer": _said(rng, 4).replace(",", " ")}
            for _ in range(size)
        ]


def _choices() -> Iterable[list[dict[str, Any]]]:
    rng = random.Random(6)
    forms = (
        "The answer is ({})", "({}", "{}", "{}.", "Answer: {}", "A dog is ({}).", "Option {}, so",
        "({}) or (B)", "I think {} is right", ":{}", "###({})", "Assistant: ({})", "A B C D",
    )  # fmt: skip
    for size in (1, 30, 200):
        answers = []
        for _ in range(size):
            choices = rng.sample(["a dog", "a cat", "dog", "the red car", "A", "two", "12"], 4)
            said = [
                rng.choice(forms).format(rng.choice("ABCD")),
                rng.choice(choices),
                _said(rng, 3),
            ]
            text = rng.choice([said[0], said[0], said[1], " ".join(said[1:]), said[2]])
            answers.append({"choices": choices, "gt_choice": rng.randrange(4), "answer": text})
        yield answers


def _calibration(n: int) -> dict[str, Any]:
    rng = random.Random(n)
    answers = [
        {"prob": round(rng.uniform(0.25, 1), 1 if n == 57 else 4), "correct": rng.randint(0, 1)}
        for _ in range(n)
    ]
    return {"answers": answers, "results": _chef("metric.desiderata", "compute_ECE")(answers)}


def _ppl() -> list[dict[str, Any]]:
    """The score of options by ChEF's model of LAMM, from given logits.

    `logprobs` are those of all tokens of an answer, `own` is the number of the option's tokens.
    """
    torch = importlib.import_module("torch")
    torch.manual_seed(8)
    made = []
    for given, own in ((0, 1), (3, 2), (5, 4), (4, 1)):
        # Before the answer is a prompt, after it a line break and two marks.
        labels = torch.cat([torch.full((7,), -100), torch.randint(40, (given + own + 3,))])[None]
        logits = torch.randn(1, labels.shape[1], 40)
        option = labels[0, -3 - own : -3]
        model = types.SimpleNamespace(
            llama_tokenizer=types.SimpleNamespace(
                encode=lambda *_, option=option, **__: option[None]
            ),
            ppl_forward=lambda _, logits=logits, labels=labels: (logits, labels),
        )
        lamm = types.SimpleNamespace(model=model, task_type="normal")
        [score] = _chef("models.test_lamm", "TestLAMM").do_ppl(lamm, ["picture"], ["?"], ["option"])
        before = logits[0, 6 : 6 + given + own].log_softmax(dim=-1)
        answer = labels[0, 7 : 7 + given + own]
        logprobs = before[torch.arange(len(answer)), answer].tolist()
        made.append({"logprobs": logprobs, "own": own, "score": score})
    return made


def _retrieval(n: int, k: int) -> dict[str, Any]:
    """Which of `n` records are the `k` examples of each, by two of the retrievers with seed 1."""
    found: dict[str, Any] = {"n": n, "k": k}
    for kind, name in (("fixed", "FixedRetriever"), ("random", "RandomRetriever")):
        made = _chef(f"instruction.ice_retriever.{kind}_retriever", name)
        retriever = made(range(n), range(n), ice_num=k)
        retriever.seed = 1
        found[kind] = retriever.retrieve()
    return found


@functools.cache
def _forms() -> dict[str, list[str]]:
    """For each label the words that count as naming it."""
    names: Callable[[str, str], bool] = _chef("metric.utils", "classification_acc")
    people: dict[str, str] = _chef("metric.utils", "voc_syndict")
    corpus = importlib.import_module("nltk.corpus").wordnet
    irregular = corpus._exception_map["n"]
    found = {}
    for label in LABELS:
        lemmas = {name for sense in corpus.synsets(label) for name in sense.lemma_names()}
        inflected = {word for word, bases in irregular.items() if lemmas & set(bases)}
        tried = lemmas | inflected | set(people)
        for lemma in lemmas:
            tried |= {lemma + end for end in ("s", "es", "ses", "ves", "ies")}
            tried |= {
                lemma[:-1] + "ies",
                lemma[:-1] + "ves",
                lemma[:-2] + "ves",
                lemma[:-3] + "men",
            }
        found[label] = sorted(
            word for word in tried - _LEFT_OUT if "_" not in word and names(label, word)
        )
    return found


if __name__ == "__main__":
    main()
