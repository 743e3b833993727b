"""`corrected-v1` for answers that are right or wrong: classes, yes or no, options, short texts.

An answer is read as one class or option; an unparsed answer is wrong, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.protocols.chance import chance_of
from benchmark.protocols.results import (
    ItemScore,
    Rule,
    Scorer,
    Stored,
    make_item,
    mean_over,
    ratio,
    share,
)
from lamm_model.tasks import TASKS
from lamm_model.tasks.free_text import accepted, token_f1


class ClassScorer(Scorer):
    """One class per answer: the first that is named and not negated, synonyms included."""

    rules = (
        Rule("accuracy", share("hits")),
        Rule(
            "balanced_accuracy",
            lambda s: mean_over(s, "class", lambda c: ratio(s[f"hits|{c}"], s[f"class|{c}"])),
            "mean recall of the classes",
        ),
    )

    def item(self, stored: Stored) -> ItemScore:
        """A hit if the class is right."""
        sample, task = stored.sample, TASKS[stored.sample.task]
        inputs, target = task.read_sample(sample)
        result, right = task.parse(stored.text, inputs), target.label
        hit = task.is_hit(result.answer, target)
        counts = {"hits": hit, f"class|{right}": 1, f"hits|{right}": hit}
        return make_item(stored, result.status, counts, cluster=sample.media)

    def chance(self, stored: Sequence[Stored]) -> float | None:
        """One over the number of classes."""
        return chance_of(stored)


class SmileScorer(Scorer):
    """Yes, no or neither; neither is always wrong."""

    rules = (
        Rule(
            "balanced_accuracy",
            lambda s: mean_over(s, "class", lambda c: ratio(s[f"hits|{c}"], s[f"class|{c}"])),
            "mean recall of smiling and not smiling",
        ),
        Rule("accuracy", share("hits")),
        Rule(
            "f1_smiling",
            lambda s: ratio(2 * s["hits|smiling"], s["class|smiling"] + s["said_smiling"]),
        ),
        Rule("neither", share("neither"), "share of answers that are neither yes nor no"),
    )

    def item(self, stored: Stored) -> ItemScore:
        """A hit by the task's parser."""
        task = stored.task
        inputs, target = task.read_sample(stored.sample)
        result = task.parse(stored.text, inputs)
        name = "smiling" if target.smiling else "not smiling"
        hit = result.answer == target
        numbers = {
            "hits": hit,
            f"class|{name}": 1,
            f"hits|{name}": hit,
            "said_smiling": result.answer is not None and result.answer.smiling,
            "neither": result.answer is None,
        }
        return make_item(stored, result.status, numbers, cluster=stored.sample.media)

    def chance(self, stored: Sequence[Stored]) -> float | None:
        """0.5 for balanced accuracy, whatever the class balance."""
        return 0.5 if stored else None


class HitScorer(Scorer):
    """Right or wrong by the task's own parser and `is_hit`: options and open questions."""

    rules: Sequence[Rule] = (
        Rule("accuracy", share("hits")),
        Rule(
            "token_f1",
            share("token_f1", "texts"),
            "shared words with the closest answer",
            over="texts",
        ),
    )

    def item(self, stored: Stored) -> ItemScore:
        """A hit by the task's `is_hit`."""
        task = stored.task
        inputs, target = task.read_sample(stored.sample)
        result = task.parse(stored.text, inputs)
        numbers: dict[str, float] = {"hits": task.is_hit(result.answer, target)}
        if stored.sample.task == "vqa":
            said = "" if result.answer is None else result.answer.text
            numbers |= {"texts": 1, "token_f1": max(token_f1(said, t) for t in accepted(target))}
        return make_item(stored, result.status, numbers, cluster=stored.sample.media)

    def chance(self, stored: Sequence[Stored]) -> float | None:
        """One over the number of options."""
        return chance_of(stored)
