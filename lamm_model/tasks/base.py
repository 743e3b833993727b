"""A vision task: its question, its typed answer, and the conversion between answer and text.

The service uses `prompt` and `parse`, training `prompt` and `render`, the benchmark `parse` and
`score`. Torch-free. Each task obeys `parse(render(a, inputs), inputs).answer == a`.

A task is one module of this package that lists its tasks in `TASKS`. It defines two models and the
abstract methods of `Task`; everything else has a default that follows from these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Generic, Self, TypeVar

from lamm_model.conversation import Modality
from lamm_model.tasks.dialects.manner import FREE_TEXT, Manner
from lamm_model.tasks.grammar import any_of
from lamm_model.tasks.metrics import Estimate, proportion
from lamm_model.tasks.models import AnswerModel, Mark, Numbers, TaskModel
from lamm_model.tasks.reading.final import final_answer
from lamm_model.tasks.sample import Sample


class ParseStatus(StrEnum):
    """How a text was read: wholly; with something repaired, ambiguous or left out; not at all."""

    OK = "ok"
    PARTIAL = "partial"
    UNPARSED = "unparsed"


InputsT = TypeVar("InputsT", bound=TaskModel)
AnswerT = TypeVar("AnswerT", bound=AnswerModel)


@dataclass(frozen=True, slots=True)
class ParseResult(Generic[AnswerT]):
    """A typed answer and its status; `answer` is None exactly when the status is unparsed.

    `faults`: a sentence for each part of the text that a dialect could not read or repaired.
    """

    answer: AnswerT | None
    status: ParseStatus
    faults: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, answer: AnswerT, *, sure: bool, faults: tuple[str, ...] = ()
    ) -> ParseResult[AnswerT]:
        """The result for an answer; partial if the text does not make it sure."""
        return cls(answer, ParseStatus.OK if sure else ParseStatus.PARTIAL, faults)

    @classmethod
    def unparsed(cls, faults: tuple[str, ...] = ()) -> ParseResult[AnswerT]:
        """The result for a text that holds no answer."""
        return cls(None, ParseStatus.UNPARSED, faults)


@dataclass(frozen=True, slots=True)
class Option:
    """One answer of a closed set: its name for people, and the texts that an answer may begin with.

    A letter alone is none of the texts: models prefer some letters to others whatever they mean.
    """

    name: str
    answer: AnswerModel
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WrittenPlace:
    """A group of numbers in a text that may be a place.

    Attributes:
        text: the group as the model wrote it.
        given: the numbers as written, in the answer's frame; None where they are not a place.
        used: the same after clipping and reordering, as in the answer.
    """

    text: str
    given: Numbers | None = None
    used: Numbers | None = None


@dataclass(frozen=True, slots=True)
class PlaceSpan:
    """Where a text writes one place of its answer: ranges of the text after `tidy`.

    Attributes:
        place: the numbers, with the brackets around them.
        label: the words of its label, which places may share; None without any.
    """

    place: tuple[int, int]
    label: tuple[int, int] | None = None

    def moved(self, by: int) -> PlaceSpan:
        """The same ranges in a text with `by` more characters before."""
        label = None if self.label is None else (self.label[0] + by, self.label[1] + by)
        return PlaceSpan((self.place[0] + by, self.place[1] + by), label)


class Task(ABC, Generic[InputsT, AnswerT]):
    """One vision task. Instances are stateless; the registry holds one of each.

    Attributes:
        inputs_model: schema of the request's inputs.
        answer_model: schema of the answer, places in the frame that the model sees.
        max_tokens: enough for any answer of the task.
        primary_metric: the entry of `score` that a table shows first.
        manner: how the answers write places, see `in_manner`.
    """

    inputs_model: type[InputsT]
    answer_model: type[AnswerT]
    max_tokens: int = 48
    primary_metric: str = "accuracy"
    manner = FREE_TEXT

    def __init__(
        self,
        name: str,
        modality: Modality,
        description: str,
        example: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """`example` are the inputs of a sample request."""
        self.name = name
        self.modality = modality
        self.description = description
        self.example = example

    @abstractmethod
    def prompt(self, inputs: InputsT) -> str:
        """The user text that asks for an answer, media left out."""

    def parse(self, text: str, inputs: InputsT) -> ParseResult[AnswerT]:
        """Reads what a model wrote, after its thoughts. Never raises on any text."""
        return self._parse(final_answer(text), inputs)

    @abstractmethod
    def _parse(self, text: str, inputs: InputsT) -> ParseResult[AnswerT]:
        """Reads an answer without thoughts. Never raises on any text."""

    def parse_scored(self, text: str, inputs: InputsT, target: AnswerT) -> ParseResult[AnswerT]:  # noqa: ARG002 - for subclasses
        """The answer as scores read it: `parse`, unless a task knows copies of its target."""
        return self.parse(text, inputs)

    @abstractmethod
    def render(self, answer: AnswerT, inputs: InputsT) -> str:
        """The answer as a model should write it; the inverse of `parse`."""

    @abstractmethod
    def read_sample(self, sample: Sample) -> tuple[InputsT, AnswerT]:
        """Inputs and target of a benchmark record.

        Raises:
            ValueError: the record's target, labels or choices do not fit the task.
        """

    def is_hit(self, answer: AnswerT | None, target: AnswerT) -> bool:
        """Whether one answer is wholly right; None (unparsed) never is."""
        return answer == target

    def score(self, pairs: Sequence[tuple[AnswerT | None, AnswerT]]) -> Mapping[str, Estimate]:
        """Metrics over (answer, target) pairs; a metric with nothing to measure is left out."""
        return self._metrics(pairs) if pairs else {}

    def _metrics(self, pairs: Sequence[tuple[AnswerT | None, AnswerT]]) -> Mapping[str, Estimate]:
        """Metrics over at least one pair; by default `primary_metric`, the share of hits."""
        hits = sum(self.is_hit(answer, target) for answer, target in pairs)
        return {self.primary_metric: proportion(hits, len(pairs))}

    def options(self, inputs: InputsT) -> tuple[Option, ...]:  # noqa: ARG002 - for subclasses
        """Every possible answer in the order of the labels or choices; empty for an open set."""
        return ()

    def form(self, inputs: InputsT) -> str | None:
        """Rules in llguidance's Lark whose rule `answer` matches what `render` writes.

        By default one of the rendered options. None where the words are the model's own.

        Raises:
            ValueError: a label of the inputs cannot be told from a place.
        """
        texts = [self.render(option.answer, inputs) for option in self.options(inputs)]  # type: ignore[arg-type]
        return f"answer: {any_of(texts)}" if texts else None

    def chance(self, inputs: InputsT) -> float | None:
        """The share that guessing gets right; None for an open set."""
        options = len(self.options(inputs))
        return 1 / options if options else None

    def marks(self, answer: AnswerT, inputs: InputsT) -> tuple[Mark, ...]:
        """What to draw for an answer: its places, or its words where it has no place."""
        return answer.marks() or (Mark(self.words(answer, inputs)),)

    def words(self, answer: AnswerT, inputs: InputsT) -> str:
        """An answer without a place, in words for people: its `text` if it has one."""
        return getattr(answer, "text", None) or self.render(answer, inputs)

    def written_places(self, text: str, inputs: InputsT) -> list[WrittenPlace]:  # noqa: ARG002
        """Each group of numbers in a text that may be a place, and how `parse` reads it."""
        return []

    def place_spans(self, text: str, inputs: InputsT) -> list[PlaceSpan]:  # noqa: ARG002
        """Where each place of `parse`'s answer is written, in the order of `answer.places()`."""
        return []

    def place_hits(
        self,
        answer: AnswerT,  # noqa: ARG002 - for subclasses
        target: AnswerT,  # noqa: ARG002
        inputs: InputsT,  # noqa: ARG002
        order: Sequence[int],  # noqa: ARG002
    ) -> list[bool]:
        """Whether each place of an answer is right; `order` is the surest place first.

        A target is matched by one place, so of two places on one object the later one is wrong.
        """
        return []

    def in_manner(self, manner: Manner) -> Self:  # noqa: ARG002 - for tasks with places
        """This task for answers that write places in another manner; itself without places."""
        return self

    @property
    def has_options(self) -> bool:
        """Whether answers come from a closed set, at least for some inputs."""
        return type(self).options is not Task.options

    @property
    def has_form(self) -> bool:
        """Whether answers have a form, at least for some inputs."""
        return self.has_options or type(self).form is not Task.form

    @property
    def noun(self) -> str:
        """The medium's name in the task's prompts."""
        return "picture" if self.modality is Modality.IMAGE else "point cloud"


AnyTask = Task[Any, Any]
