"""Classification of a picture or cloud, over a closed label set or in free words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import Field, field_validator
from typing_extensions import override

from lamm_model.tasks.base import ParseResult, ParseStatus, Task, TaskModel
from lamm_model.tasks.metrics import Estimate, proportion
from lamm_model.tasks.parsing import find_labels, plain, tokens
from lamm_model.tasks.sample import Sample

MAX_LABELS = 1000
MAX_FREE_WORDS = 4
_LEAD = re.compile(
    r"^(?:(?:this|that|it"
    r"|the (?:object|item|picture|image|product|point cloud|cloud|answer|class|label))"
    r"\s*(?:here\s+)?(?:is|shows|looks like|must be|appears to be|seems to be|:)"
    r"|it's|that's|i (?:can )?see|there is|answer:)\s+",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(?:(?:a|an|the|some)\s+)?(?:pair of\s+)?", re.IGNORECASE)


class ClassificationInputs(TaskModel):
    """`labels`: the closed set to choose from; None leaves the words to the model."""

    labels: tuple[str, ...] | None = Field(default=None, min_length=2, max_length=MAX_LABELS)

    @field_validator("labels")
    @classmethod
    def _distinguishable(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        seen: dict[tuple[str, ...], str] = {}
        for label in labels or ():
            spelling = tuple(tokens(label))
            if not spelling:
                raise ValueError(f"label {label!r} has no letter and no digit")
            if spelling in seen:
                raise ValueError(
                    f"labels {seen[spelling]!r} and {label!r} cannot be told apart in a text"
                )
            seen[spelling] = label
        return labels


class ClassificationAnswer(TaskModel):
    """The class, spelled as in the label set where there is one."""

    label: str = Field(min_length=1)


class ClassificationTask(Task[ClassificationInputs, ClassificationAnswer]):
    """Name what the medium shows."""

    inputs_model = ClassificationInputs
    answer_model = ClassificationAnswer
    max_tokens = 32

    def prompt(self, inputs: ClassificationInputs) -> str:
        """Asks for the class; a closed set is written out."""
        question = f"What does this {self.noun()} show?"
        if inputs.labels is None:
            return question
        return f"{question} Choose one of: {', '.join(inputs.labels)}."

    def parse(self, text: str, inputs: ClassificationInputs) -> ParseResult[ClassificationAnswer]:
        """The first label that is not denied; partial when others are named beside it."""
        if inputs.labels is None:
            return _free_label(text)
        named = [match.label for match in find_labels(text, inputs.labels) if not match.negated]
        if not named:
            return ParseResult.unparsed()
        status = ParseStatus.OK if len(set(named)) == 1 else ParseStatus.PARTIAL
        return ParseResult(ClassificationAnswer(label=inputs.labels[named[0]]), status)

    @override
    def render(self, answer: ClassificationAnswer, inputs: ClassificationInputs) -> str:
        """The label alone."""
        return answer.label

    def read_sample(self, sample: Sample) -> tuple[ClassificationInputs, ClassificationAnswer]:
        """Target: a label, which must be in the closed set where there is one."""
        inputs = ClassificationInputs(labels=sample.labels)
        if not isinstance(sample.target, str):
            raise ValueError(f"target is {sample.target!r}; it must be a label")
        if inputs.labels is not None and sample.target not in inputs.labels:
            raise ValueError(
                f"target {sample.target!r} is not among the {len(inputs.labels)} labels"
            )
        return inputs, ClassificationAnswer(label=sample.target)

    def is_hit(self, answer: ClassificationAnswer | None, target: ClassificationAnswer) -> bool:
        """Same label, whatever its case or number."""
        return answer is not None and tokens(answer.label) == tokens(target.label)

    def score(
        self, pairs: Sequence[tuple[ClassificationAnswer | None, ClassificationAnswer]]
    ) -> Mapping[str, Estimate]:
        """`accuracy`; an unparsed answer is wrong."""
        if not pairs:
            return {}
        return {"accuracy": proportion(sum(self.is_hit(a, t) for a, t in pairs), len(pairs))}


def _free_label(text: str) -> ParseResult[ClassificationAnswer]:
    first = re.split(r"[.;!?\n](?:\s|$)|,\s", plain(text).strip(), maxsplit=1)[0].strip(" .;:!?\"'")
    label = _ARTICLE.sub("", _LEAD.sub("", first)).strip()
    if not tokens(label):
        return ParseResult.unparsed()
    # A long remainder is a sentence that no pattern covered, not the name of a class.
    status = ParseStatus.OK if len(tokens(label)) <= MAX_FREE_WORDS else ParseStatus.PARTIAL
    return ParseResult(ClassificationAnswer(label=label), status)
