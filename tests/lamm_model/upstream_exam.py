"""Prompt token counts of upstream's benchmark, made by running upstream's own code.

`golden/upstream_exam.json` has numbers only: for each of 24 questions the text tokens that
upstream's `prepare_generation_embedding` embeds, and of upstream's texts the tokens per line. Texts
of our own with as many tokens per line therefore have the same counts, so that the numbers are
checked without a sentence of upstream's. Run this file to write it anew from a checkout of OpenLAMM
at d5ca246, with LLaMA's vocabulary from npm:

    python -m tests.lamm_model.upstream_exam CHECKOUT
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.lamm_model.golden_prompts import build_tokenizer, excerpt, fetch_vocabulary

GOLDEN = Path(__file__).with_name("golden") / "upstream_exam.json"
MEDIUM_TOKENS = 256
CHOICE = "Which animal is in the picture?\nOptions: (A) a cat (B) a dog\n"
SEEN = "It has a leash, so it is a dog.\n"


@dataclass(frozen=True)
class Case:
    """One question of upstream's benchmark.

    `system` is upstream's name of its system text, `task` what a request says for it. The query is
    made of upstream's constants `parts`, of our own words, or of both; `fill` goes into a gap. With
    `first`, the question is asked a second time, after that answer.
    """

    system: str
    task: str
    parts: tuple[str, ...] = ()
    words: str = ""
    fill: str = ""
    first: str | None = None
    joint: str | None = None
    is_cloud: bool = False

    def query(self, constants: Mapping[str, str]) -> str:
        """The query as a published file has it."""
        text = "".join(constants[name] for name in self.parts)
        return (text.format(self.fill) if self.fill else text) + self.words


CASES: dict[str, Case] = {
    "VOC2012": Case("Detection", "detection", ("DETECTION_QS", "DETECTION_INS")),
    "VOC2012, in short": Case("Detection", "detection", ("DETECTION_QS",)),
    "VOC2012, with blanks": Case("Detection", "detection", words="  Where is it? \n \n"),
    "CIFAR10": Case("Classification", "classification", ("CLASSIFICATION_QS",)),
    "SQAimage": Case("VQA", "vqa_choice", words=CHOICE),
    "SQAimage, again": Case("VQA", "vqa_choice", words=CHOICE, first=SEEN),
    "AI2D": Case("VQA", "vqa_choice", words="Which is it: (A) an egg or (B) a pupa?"),
    "AI2D, again": Case(
        "VQA", "vqa_choice", words="Which is it: (A) an egg or (B) a pupa?", first=""
    ),
    "SVT": Case("OCR", "ocr_words", ("OCR_QA", "OCR_INS")),
    "flickr30k": Case("Caption", "caption", ("CAPTION_QS",)),
    "FSC147": Case("Counting", "counting", ("CNT_QA", "CNT_INS"), fill="eggs"),
    "UCMerced": Case(
        "Fine-grained_Classification", "fine_grained_classification", ("FG_CLASSIFICATION_QS",)
    ),
    "CelebA(Smile)": Case("Facial_Classification", "facial_smile", words="Does she smile? "),
    "CelebA(Hair)": Case("Facial_Classification", "facial_hair", words="Which colour, na\u00efve?"),
    "LSP, right ankle": Case(
        "Keypoints_Detection",
        "keypoints",
        ("KEYPOINTS_DET_QS", "KEYPOINTS_DET_INS"),
        joint="right ankle",
    ),
    "LSP, neck": Case("Keypoints_Detection", "keypoints", ("KEYPOINTS_DET_QS",), joint="neck"),
    "LSP, head top": Case("Keypoints_Detection", "keypoints", words="The {}? ", joint="head top"),
    "Locating VOC2012": Case("VOC2012", "VOC2012", ("LOCATING_QS", "LOCATING_INS")),
    "Locating FSC147": Case("FSC147", "FSC147", ("LOCATING_QS", "LOCATING_INS")),
    "Locating LSP": Case("LSP", "LSP", ("HUMANLOCATING_QS", "HUMANLOCATING_INS")),
    "ScanNet": Case(
        "Detection3D", "detection_3d", ("DETECTION3D_QS", "DETECTION3D_INS"), is_cloud=True
    ),
    "ScanRefer": Case(
        "VG3D", "grounding_3d", ("VG3D_QS",), words="it is a red chair", is_cloud=True
    ),
    "ScanQA": Case("VQA3D", "vqa_choice_3d", words=CHOICE, is_cloud=True),
    "ScanQA, again": Case("VQA3D", "vqa_choice_3d", words=CHOICE, first=SEEN, is_cloud=True),
}


def texts_of(system: str, query: str, first: str | None) -> tuple[str, str]:
    """The two texts around a medium, as upstream's programs put them together.

    `system` and `query` as in upstream's constants and files.
    """
    if first is not None:
        query = query + first + " ###\nANSWER:"
    prompt = system + "### Human: " + query + "\n"
    return "### Human: <Img>", "</Img> " + prompt + "\n### Assistant:"


def stand_in(shape: Sequence[Sequence[Any]]) -> str:
    """A text of our own with as many tokens per line, and blanks at the same ends."""
    return "\n".join(
        " ".join("a" * (count - ends_in_blank)) + " " * ends_in_blank
        for count, ends_in_blank in shape
    )


class _Upstream:
    """Functions of a checkout, run as they are on a model that only counts."""

    def __init__(self, checkout: Path, encode: Any) -> None:
        import torch

        self._torch, self._encode = torch, encode
        src = checkout / "src"
        self.messages: dict[str, Any] = {}
        exec((src / "datasets/system_msg.py").read_text(), self.messages)  # noqa: S102
        conversations: dict[str, Any] = {"__name__": "conversations"}
        sys.modules["conversations"] = SimpleNamespace(__dict__=conversations)  # type: ignore[assignment]
        exec((src / "conversations.py").read_text(), conversations)  # noqa: S102
        self._embed = _functions(
            src / "model/openlamm.py", "VISION_TAGS", "make_prompt_start",
            "prepare_generation_embedding", torch=torch,
        )  # fmt: skip
        names = ("generate_conversation_text", "predict", "default_response", "vqa_response")
        templates = {"conv_templates": conversations["conv_templates"]}
        self._pictures = _functions(
            src / "inference_2d.py", *names, "keypoints_definition", "kps_det_response", **templates
        )
        self._clouds = _functions(src / "inference_3d.py", *names, **templates)
        self.counts: list[int] = []
        self._answer = ""

    def system(self, name: str) -> str:
        """A system text by the name of its task or, for Locating, of its data set."""
        tables = (self.messages["common_task2sysmsg"], self.messages["locating_task2sysmsg"])
        return str(next(table[name] for table in tables if name in table))

    def count(self, case: Case) -> int:
        """The tokens of the prompt without its medium."""
        program = self._clouds if case.is_cloud else self._pictures
        ask = "default_response" if case.first is None else "vqa_response"
        ask = ask if case.joint is None else "kps_det_response"
        self.counts, self._answer = [], case.first or ""
        query = case.query(self.messages)
        args = SimpleNamespace(conv_mode="simple", max_tgt_len=400)
        program[ask](args, self, [query], ["medium"], self.system(case.system))
        if case.joint is not None:
            joints: list[str] = program["keypoints_definition"]
            return self.counts[joints.index(case.joint)]
        return self.counts[-1]

    def generate(self, inputs: Any) -> list[str]:
        """Stands in for the model's method of the same name."""
        torch = self._torch
        tokenizer = _Tokenizer(torch, self._encode)
        model = SimpleNamespace(
            vision_type="image",
            device="cpu",
            llama_tokenizer=tokenizer,
            extract_multimodal_feature=lambda _: torch.zeros(1, MEDIUM_TOKENS, 1),
            llama_model=SimpleNamespace(
                model=SimpleNamespace(
                    model=SimpleNamespace(embed_tokens=lambda ids: torch.zeros(*ids.shape, 1))
                )
            ),
        )
        _, mask = self._embed["prepare_generation_embedding"](model, inputs)
        self.counts.append(int(mask.sum()) - MEDIUM_TOKENS)
        return [self._answer + "###"]


class _Tokenizer:
    """Called as upstream calls its slow tokenizer, for one text."""

    bos_token_id = 1

    def __init__(self, torch: Any, encode: Any) -> None:
        self._torch, self._encode = torch, encode

    def __call__(self, text: Any, **_: Any) -> Any:
        [one] = [text] if isinstance(text, str) else text
        ids = self._torch.tensor([self._encode(one)])
        found = SimpleNamespace(input_ids=ids, length=self._torch.tensor([ids.shape[1]]))
        found.to = lambda _: found
        return found


def _functions(path: Path, *names: str, **given: Any) -> dict[str, Any]:
    """The functions and constants of these names, at any depth of a file, run by themselves."""
    wanted: list[ast.stmt] = []
    for node in ast.walk(ast.parse(path.read_text())):
        name = getattr(node, "name", None)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        if name in names and isinstance(node, ast.stmt):
            wanted.append(node)
    namespace: dict[str, Any] = dict(given)
    exec(compile(ast.Module(wanted, []), str(path), "exec"), namespace)  # noqa: S102
    assert set(names) <= namespace.keys(), (path, names)
    return namespace


def _shape(encode: Any, text: str, before: str) -> list[list[Any]]:
    """Tokens per line, and whether a line ends in a blank; `before` precedes the first line."""
    shape = []
    for number, line in enumerate(text.split("\n")):
        # A first word takes the blank before it into its own piece.
        head, bare = ("\n", "\n") if number else (before, before.rstrip())
        count = len(encode(head + line)) - len(encode(bare)) if line else 0
        shape.append([count, line.endswith(" ")])
    return shape


def measure(checkout: Path, folder: Path) -> dict[str, Any]:
    """The content of the golden file; the vocabulary is fetched into `folder`."""
    vocabulary, merges = fetch_vocabulary(folder)
    tokenizer = build_tokenizer(vocabulary, merges)
    tokenizer.encode_special_tokens = True

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    upstream = _Upstream(checkout, encode)
    systems = {name: upstream.system(name) for name in {case.system for case in CASES.values()}}
    own = [
        text
        for case in CASES.values()
        for text in texts_of("\na a \n", (case.words or "a a ").format(case.joint), case.first)
    ]
    kept, among = excerpt(vocabulary, merges, own)
    return {
        "counts": {name: upstream.count(case) for name, case in CASES.items()},
        "systems": {
            name: _shape(encode, text, "</Img> ") for name, text in sorted(systems.items())
        },
        "queries": {
            name: _shape(encode, case.query(upstream.messages).format(case.joint), "### Human: ")
            for name, case in CASES.items()
            if case.parts
        },
        "vocabulary": kept,
        "merges": [list(pair) for pair in among],
    }


def main() -> None:
    """Writes the golden file."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(sys.argv[1]), Path(folder))
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found.items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf8")
    sys.stdout.write(f"{GOLDEN.name}: {found['counts']}\n")


if __name__ == "__main__":
    main()
