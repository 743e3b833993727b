"""What a vision task is: its question, its typed answer, and the way between answer and text.

The service uses `prompt` and `parse`, training `prompt` and `render`, the benchmark `parse` and
`score`. Torch-free. Each task obeys `parse(render(a, inputs), inputs).answer == a`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from lamm_model.conversation import Modality
from lamm_model.tasks.metrics import Estimate
from lamm_model.tasks.sample import Sample


class TaskModel(BaseModel):
    """Base of inputs and answers: immutable, unknown fields refused, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ParseStatus(StrEnum):
    """How a text was read: wholly; with something repaired, ambiguous or left out; not at all."""

    OK = "ok"
    PARTIAL = "partial"
    UNPARSED = "unparsed"


InputsT = TypeVar("InputsT", bound=TaskModel)
AnswerT = TypeVar("AnswerT", bound=TaskModel)


@dataclass(frozen=True, slots=True)
class ParseResult(Generic[AnswerT]):
    """A typed answer and how it was read; `answer` is None exactly when the status is unparsed."""

    answer: AnswerT | None
    status: ParseStatus

    @classmethod
    def unparsed(cls) -> ParseResult[AnswerT]:
        """The result for a text that holds no answer."""
        return cls(None, ParseStatus.UNPARSED)


class Task(ABC, Generic[InputsT, AnswerT]):
    """One vision task. Instances are stateless; the registry holds one of each.

    `inputs_model` and `answer_model` are the request's and the response's schema; `max_tokens` is
    enough for any answer of the task; `primary_metric` names the entry of `score` that a table
    shows first.
    """

    inputs_model: type[InputsT]
    answer_model: type[AnswerT]
    max_tokens: int = 48
    primary_metric: str = "accuracy"

    def __init__(self, name: str, modality: Modality, description: str) -> None:
        self.name = name
        self.modality = modality
        self.description = description

    @abstractmethod
    def prompt(self, inputs: InputsT) -> str:
        """The user text that asks for an answer, media left out."""

    @abstractmethod
    def parse(self, text: str, inputs: InputsT) -> ParseResult[AnswerT]:
        """Reads what a model wrote. Never raises on any text."""

    @abstractmethod
    def render(self, answer: AnswerT, inputs: InputsT) -> str:
        """The answer as a model should write it; the inverse of `parse`."""

    @abstractmethod
    def read_sample(self, sample: Sample) -> tuple[InputsT, AnswerT]:
        """Inputs and target of a benchmark record.

        Raises:
            ValueError: the record's target, labels or choices do not fit the task.
        """

    @abstractmethod
    def is_hit(self, answer: AnswerT | None, target: AnswerT) -> bool:
        """Whether one answer is wholly right; None (unparsed) never is."""

    @abstractmethod
    def score(self, pairs: Sequence[tuple[AnswerT | None, AnswerT]]) -> Mapping[str, Estimate]:
        """Metrics over (answer, target) pairs; a metric with nothing to measure is left out."""

    def noun(self) -> str:
        """What the task's prompts call its medium."""
        return "picture" if self.modality is Modality.IMAGE else "point cloud"


AnyTask = Task[Any, Any]
