"""Inputs, and what upstream's scorers and pycocotools gave for them, kept in `facts/`.

`python tests/benchmark/upstream_facts.py CHECKOUT` runs `VQAvisionacc` and `BLEU4` of OpenLAMM
`src/common_eval_2d.py` @ d5ca246 and `ennum2numerical` of its `src/datasets/utils.py`, and
pycocotools' `COCOeval`. CHECKOUT is a git directory of OpenLAMM. It needs nltk 3.8.1 and
pycocotools 2.0.11, and nothing of this project.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

FACTS = Path(__file__).with_name("facts")
COMMIT = "d5ca246"
OPTIONS = ("red", "dark red", "blue", "2", "a cat", "cat")
CHOICE_TEXTS = (
    "The answer is ({}).", "The answer is {}", "ANSWER: {}", "({})", "I choose ({}) or ({}).",
    "{}", "The answer is [{}].", "it is {}", "It is [{}], I think.", "nothing",
)  # fmt: skip
COUNTS = (
    "\u00b2", "2\u00b2", "\u2461", "about \u2460 cats", "25", "25.", "there are \u00b2 and 25",
    "no doubt 25", "twelve cats", "many", "\u0662\u0665 cats", "x\u00b2 25",
)  # fmt: skip
WORDS = ("a", "A", "man", "dog", "runs", "on", "the", "beach", "red", "ball", ".", '"', "plays")


def functions(checkout: Path, path: str, names: set[str]) -> dict[str, Any]:
    """Functions and constants of a file of upstream, run by themselves."""
    command = ["git", "-C", str(checkout), "show", f"{COMMIT}:{path}"]
    source = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    tree = ast.parse(source)
    tree.body = [
        node
        for node in tree.body
        if (isinstance(node, ast.FunctionDef) and node.name in names)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in names)
    ]
    found: dict[str, Any] = {"tqdm": lambda rows: rows}
    exec(compile(tree, path, "exec"), found)  # noqa: S102
    return found


def printed(call: Any, record: dict[str, Any], text: str) -> float:
    """The score that one of upstream's scorers prints for a single record."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        call([record], [{"text": text}])
    return float(re.findall(r"[-\d.e]+", out.getvalue())[-1])


def choices(score: Any, rng: random.Random) -> list[Any]:
    """Questions with two equal options or more."""
    rows = []
    for _ in range(400):
        options = rng.choices(OPTIONS, k=rng.randint(2, 4))
        options[rng.randrange(len(options))] = options[rng.randrange(len(options))]
        choice = rng.randrange(len(options))
        names = [rng.choice("ABCD"[: len(options)]) for _ in range(2)]
        if rng.random() < 0.4:
            names = [rng.choice(options)] * 2
        text = rng.choice(CHOICE_TEXTS).format(*names)
        record = {"gt_choice": choice, "gt_choices": options}
        rows.append([options, choice, text, printed(score, record, text)])
    return rows


def counts(read: Any) -> list[Any]:
    """Counts; "stops" where upstream raises an error."""
    rows: list[Any] = []
    for text in COUNTS:
        try:
            rows.append([text, read(text.lower())])
        except ValueError:
            rows.append([text, "stops"])
    return rows


def captions(score: Any, rng: random.Random) -> list[Any]:
    """Captions, many of them with quotation marks."""
    rows = []
    for _ in range(300):
        references = [" ".join(rng.choices(WORDS[:10], k=rng.randint(4, 9))) for _ in range(3)]
        said = references[0].split() if rng.random() < 0.6 else rng.choices(WORDS, k=6)
        for _ in range(rng.randint(0, 3)):
            said.insert(rng.randint(0, len(said)), '"')
        text = " ".join(said)
        rows.append([references, text, printed(score, {"sentences": references}, text)])
    return rows


def boxes(rng: random.Random) -> dict[str, Any]:
    """Pictures with objects and scored boxes of three classes, and COCO's two numbers."""
    coco_class = importlib.import_module("pycocotools.coco").COCO
    evaluation = importlib.import_module("pycocotools.cocoeval").COCOeval

    pictures: list[Any] = []
    annotations: list[Any] = []
    results: list[Any] = []
    for image in range(1, 26):
        there: list[Any] = []
        said: list[Any] = []
        for _ in range(rng.randint(0, 5)):
            x, y, w, h = (
                round(rng.uniform(*r), 4) for r in ((0, 0.6), (0, 0.6), (0.1, 0.4), (0.1, 0.4))
            )
            label = rng.randint(1, 3)
            there.append([label, [x, y, round(x + w, 4), round(y + h, 4)]])
            for _ in range(rng.randint(0, 3)):
                near = [min(1.0, max(0.0, round(v + rng.gauss(0, 0.03), 4))) for v in there[-1][1]]
                near[2:] = [max(near[0] + 0.01, near[2]), max(near[1] + 0.01, near[3])]
                other = label if rng.random() < 0.8 else rng.randint(1, 3)
                # Few distinct confidences, so that some are equal.
                said.append([other, [round(v, 4) for v in near], round(rng.random(), 1)])
        pictures.append([there, said])
        annotations += [(image, label, box) for label, box in there]
        results += [(image, label, box, score) for label, box, score in said]

    def wide(box: list[float]) -> list[float]:
        return [1000 * box[0], 1000 * box[1], 1000 * (box[2] - box[0]), 1000 * (box[3] - box[1])]

    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_class()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(1, len(pictures) + 1)],
            "categories": [{"id": label} for label in (1, 2, 3)],
            "annotations": [
                {
                    "id": number,
                    "image_id": image,
                    "category_id": label,
                    "bbox": wide(box),
                    "area": wide(box)[2] * wide(box)[3],
                    "iscrowd": 0,
                }
                for number, (image, label, box) in enumerate(annotations, start=1)
            ],
        }
        coco.createIndex()
        found = coco.loadRes(
            [
                {"image_id": image, "category_id": label, "bbox": wide(box), "score": score}
                for image, label, box, score in results
            ]
        )
        evaluated = evaluation(coco, found, "bbox")
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return {
        "pictures": pictures,
        "ap": float(evaluated.stats[0]),
        "ap_50": float(evaluated.stats[1]),
    }


def main() -> None:
    """Writes the facts."""
    checkout, rng = Path(sys.argv[1]), random.Random(5)
    scorers = functions(checkout, "src/common_eval_2d.py", {"VQAvisionacc", "BLEU4", "CHOICE"})
    readers = functions(
        checkout, "src/datasets/utils.py", {"ennum2numerical", "num_dict", "parse_sentence"}
    )
    scorers["parse_sentence"] = readers["parse_sentence"]
    facts = {
        "choices": choices(scorers["VQAvisionacc"], rng),
        "counts": counts(readers["ennum2numerical"]),
        "captions": captions(scorers["BLEU4"], rng),
        "coco": [boxes(rng) for _ in range(4)],
    }
    for name, rows in facts.items():
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (FACTS / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf8")


if __name__ == "__main__":
    main()
