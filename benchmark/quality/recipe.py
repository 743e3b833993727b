"""Recipes: an exam as someone else gave it, with system texts, passes, lengths and sampling.

`upstream-2023-07` is the exam of LAMM's own benchmark (OpenLAMM `src/inference_2d.py` and
`src/inference_3d.py` with `src/scripts` @ d5ca246). The texts are not part of this project: the
server has them from a prompt pack, and a recipe knows their digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

from benchmark.suite import Item, SuiteRow
from lamm_model.tasks.upstream import SECOND_QUESTION

_LOCATING_SETS = ("VOC2012", "LSP", "FSC147")


class Decoding(StrEnum):
    """How answers are drawn; the values are those of `--decoding`."""

    SAMPLED = "sampled"
    GREEDY = "greedy"


class Part(IntEnum):
    """A question as a whole, or one of the two requests of a question that is asked twice."""

    WHOLE = 0
    FIRST = 1
    SECOND = 2


@dataclass(frozen=True, slots=True)
class Recipe:
    """One exam.

    Attributes:
        name: value of `--recipe`.
        protocol: the protocol that scores as its author did.
        prompt_preset, image_preset: what the server must run.
        sampling: fields of a request under `Decoding.SAMPLED`.
        picture_tokens, cloud_tokens: longest answer about a picture and about a cloud.
        asked_twice: tasks that are asked a second time for the letter alone.
        system_texts: digest of the system text by the request's `task`, see
            `prompt_preset.system_texts` of a server's model card.
    """

    name: str
    protocol: str
    prompt_preset: str
    image_preset: str
    sampling: Mapping[str, float]
    picture_tokens: int
    cloud_tokens: int
    asked_twice: frozenset[str]
    system_texts: Mapping[str, str]

    def task_of(self, row: SuiteRow) -> str:
        """The `task` of a row's requests; Locating has one system text per data set."""
        return row.set or row.task.name if row.task.name == "locating" else row.task.name


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "upstream-2023-07": Recipe(
            name="upstream-2023-07",
            protocol="upstream-2023-07",
            prompt_preset="upstream-bench",
            image_preset="upstream-bench-centercrop",
            # Upstream set the first two; transformers 4.29.1, which it ran on, adds the third.
            sampling=MappingProxyType({"temperature": 1.0, "top_p": 0.9, "top_k": 50}),
            picture_tokens=400,
            cloud_tokens=800,
            asked_twice=frozenset({"vqa_choice", "vqa_choice_3d"}),
            system_texts=MappingProxyType(
                {
                    "caption": "d452a87683f03c13",
                    "classification": "dc6f3642ccdd8eec",
                    "counting": "71f84a2b628ac17e",
                    "detection": "74454d1329ef7c48",
                    "detection_3d": "afa6ee1dd6822542",
                    "facial_hair": "334966e893be4f51",
                    "facial_smile": "334966e893be4f51",
                    "fine_grained_classification": "d73e592d7dc655fd",
                    "grounding_3d": "71dbfa9cb94f6fc6",
                    "keypoints": "4fd201130bcc007c",
                    "ocr_words": "30318001de41a0fc",
                    "vqa_choice": "ae7bc16ad952efbc",
                    "vqa_choice_3d": "5674881bd09e70c2",
                    "FSC147": "c0e1e00548ec75a1",
                    "LSP": "4fd201130bcc007c",
                    "VOC2012": "c0e1e00548ec75a1",
                }
            ),
        )
    }
)


@dataclass(frozen=True, slots=True)
class RecipeRun:
    """A recipe as one run follows it; kept in the run's `run.json`."""

    name: str
    decoding: Decoding = Decoding.SAMPLED
    seed: int = 0
    repetitions: int = 1

    @property
    def recipe(self) -> Recipe:
        """The recipe itself."""
        return RECIPES[self.name]

    @property
    def sampling(self) -> dict[str, float]:
        """The fields of its requests that decide how answers are drawn, without the seed."""
        if self.decoding is Decoding.GREEDY:
            return {"temperature": 0}
        return dict(self.recipe.sampling)

    def asked(self, row: SuiteRow, item: Item, repetition: int) -> Asked:
        """How an item of a row is asked; `repetition` counts from 0."""
        recipe = self.recipe
        is_cloud = item.sample.pcl is not None
        name = f"{self.seed}/{repetition}/{item.row}/{item.sample.id}"
        return Asked(
            recipe=self.name,
            task=recipe.task_of(row),
            max_tokens=recipe.cloud_tokens if is_cloud else recipe.picture_tokens,
            sampling=self.sampling,
            draw=None if self.decoding is Decoding.GREEDY else name,
            repetition=repetition,
            twice=row.task.name in recipe.asked_twice,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """How a recipe asks one item.

    Attributes:
        draw: names the random draw; None if there is none.
        twice: whether it is asked a second time. `part` is then the request that is meant.
        first_answer: the first answer, in the second request.
    """

    recipe: str
    task: str
    max_tokens: int
    sampling: Mapping[str, float]
    draw: str | None
    repetition: int
    twice: bool = False
    part: Part = Part.WHOLE
    first_answer: str | None = None

    def first(self) -> Asked:
        """The first request of a question that is asked twice."""
        return replace(self, part=Part.FIRST)

    def second(self, first_answer: str) -> Asked:
        """The second request of a question that is asked twice."""
        return replace(self, part=Part.SECOND, first_answer=first_answer)

    def fields(self) -> dict[str, Any]:
        """Fields of the request besides its messages."""
        fields = {"task": self.task, "max_tokens": self.max_tokens, **self.sampling}
        if self.draw is not None:
            fields["seed"] = _seed(f"{self.draw}/{self.part is Part.SECOND}")
        return fields

    def later_messages(self) -> list[dict[str, str]]:
        """The messages after the question: those of the second request."""
        if self.first_answer is None:
            return []
        return [
            {"role": "assistant", "content": self.first_answer},
            {"role": "user", "content": SECOND_QUESTION},
        ]

    def conditions(self) -> dict[str, Any]:
        """All on which the answer depends, besides the question and the weights."""
        passes = {Part.WHOLE: "both", Part.FIRST: "first", Part.SECOND: "second"}
        found = {"recipe": self.recipe, **self.fields()}
        return {**found, "passes": passes[self.part]} if self.twice else found


def row_faults(recipe: Recipe, rows: Sequence[SuiteRow]) -> list[str]:
    """What of a suite is not part of a recipe, one sentence per row."""
    known = [task for task in recipe.system_texts if task not in _LOCATING_SETS]
    faults = []
    for row in rows:
        if recipe.task_of(row) in recipe.system_texts:
            continue
        if row.task.name == "locating":
            sets = ", ".join(_LOCATING_SETS)
            faults.append(f"row {row.name} is of set {row.set!r}; expected one of {sets}")
        else:
            faults.append(
                f"row {row.name} has task {row.task.name!r}, which is not part of the exam; its "
                f"tasks are {', '.join(known)} and locating"
            )
    return faults


def _seed(draw: str) -> int:
    """A seed between 0 and 2^63 - 1."""
    return int.from_bytes(hashlib.sha256(draw.encode()).digest()[:8]) >> 1
