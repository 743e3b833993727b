"""`corrected-v1` for captions, counts and OCR."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from benchmark.protocols.results import (
    ItemScore,
    Numbers,
    Rule,
    Scorer,
    Stored,
    Sums,
    make_item,
    ratio,
    share,
)
from lamm_model.tasks import TASKS
from lamm_model.tasks.free_text import accepted, token_f1
from lamm_model.tasks.ocr_words import normalised, word_counts

MAX_ORDER = 4


def corpus_bleu(sums: Sums) -> Numbers:
    """BLEU-4 in percent from summed counts (Papineni et al. 2002); 0 without a 4-gram match."""
    logs = np.zeros_like(sums["said"])
    for order in range(1, MAX_ORDER + 1):
        precision = np.nan_to_num(ratio(sums[f"matched|{order}"], sums[f"ngrams|{order}"]))
        logs += np.log(np.where(precision > 0, precision, 1e-300)) / MAX_ORDER
        logs = np.where(precision > 0, logs, -np.inf)
    length = np.minimum(0.0, 1 - np.nan_to_num(ratio(sums["there"], sums["said"]), nan=np.inf))
    scores: Numbers = 100 * np.exp(logs + length)
    return scores


def edit_distance(first: str, second: str) -> int:
    """Insertions, deletions and replacements from one text to the other (Levenshtein 1966)."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


class CaptionScorer(Scorer):
    """Corpus BLEU-4 against all references of each picture, by sacrebleu."""

    rules = (
        Rule(
            "bleu4_corpus",
            corpus_bleu,
            "sacrebleu, 13a tokens, lower case, no smoothing",
        ),
        Rule("token_f1", share("token_f1"), "shared words with the closest reference"),
    )

    def __init__(self) -> None:
        self._bleu = BLEU(lowercase=True, effective_order=False, smooth_method="none")

    def item(self, stored: Stored) -> ItemScore:
        """Counts of n-grams, summed over the corpus later."""
        task = stored.task
        inputs, target = task.read_sample(stored.sample)
        result = task.parse(stored.text, inputs)
        said = "" if result.answer is None else result.answer.text
        # One reference per stream: a picture may have any number of references.
        score = self._bleu.corpus_score([said], [[text] for text in accepted(target)])
        numbers: dict[str, float] = {"said": score.sys_len, "there": score.ref_len}
        for order in range(MAX_ORDER):
            numbers[f"matched|{order + 1}"] = score.counts[order]
            numbers[f"ngrams|{order + 1}"] = score.totals[order]
        numbers["token_f1"] = max(token_f1(said, text) for text in accepted(target))
        return make_item(stored, result.status, numbers, cluster=stored.sample.media)


class CountScorer(Scorer):
    """Errors of the parsed numbers, and two ways to count answers without a number."""

    rules = (
        Rule("mae_parsed", share("error", "parsed"), "over answers with a number", "parsed"),
        Rule("mae_failures_as_zero", share("error_as_zero"), "unparsed counts as 0"),
        Rule("mae_failures_as_mean", share("error_as_mean"), "unparsed counts as the mean"),
        Rule("rmse_parsed", lambda s: np.sqrt(ratio(s["squared"], s["parsed"])), over="parsed"),
        Rule("accuracy", share("hits"), "the exact number"),
        Rule("mae_of_the_mean", share("mean_error"), "a constant answer, for comparison"),
    )

    def item(self, stored: Stored) -> ItemScore:
        """Scores a single answer; the mean of the targets is then its own target."""
        return self.items([stored])[0]

    def items(self, stored: Sequence[Stored]) -> list[ItemScore]:
        """Scores all answers; an unparsed one is compared with the mean of all targets."""
        task = TASKS["counting"]
        read = [task.read_sample(one.sample) for one in stored]
        mean = sum(target.count for _, target in read) / max(1, len(read))
        found = []
        for one, (inputs, target) in zip(stored, read, strict=True):
            result = task.parse(one.text, inputs)
            parsed = result.answer is not None
            error = abs(result.answer.count - target.count) if result.answer is not None else 0
            numbers = {
                "parsed": parsed,
                "error": error,
                "squared": error**2,
                "hits": parsed and error == 0,
                "error_as_zero": error if parsed else target.count,
                "error_as_mean": error if parsed else abs(mean - target.count),
                "mean_error": abs(mean - target.count),
            }
            found.append(make_item(one, result.status, numbers, cluster=one.sample.media))
        return found


class WordsScorer(Scorer):
    """Words of answer and target, repeats counted, case and punctuation ignored."""

    rules = (
        Rule("word_f1", lambda s: ratio(2 * s["shared"], s["said"] + s["there"])),
        Rule("word_precision", share("shared", "said")),
        Rule("word_recall", share("shared", "there")),
        Rule("exact", share("hits"), "all words and no others"),
        Rule("one_minus_ned", share("similarity"), "1 - normalised edit distance of the words"),
    )

    def item(self, stored: Stored) -> ItemScore:
        """Parses a list of words, for records of one word too."""
        task = TASKS["ocr_words"]
        words = stored.sample.target
        listed = [words] if isinstance(words, str) else words
        sample = stored.sample.model_copy(update={"task": "ocr_words", "target": listed})
        inputs, target = task.read_sample(sample)
        result = task.parse_scored(stored.text, inputs, target)
        counts = word_counts(result.answer, target)
        said = " ".join(map(normalised, result.answer.words)) if result.answer else ""
        right = " ".join(map(normalised, target.words))
        numbers = {
            "shared": counts.true_positives,
            "said": counts.true_positives + counts.false_positives,
            "there": counts.true_positives + counts.false_negatives,
            "hits": task.is_hit(result.answer, target),
            "similarity": 1 - edit_distance(said, right) / max(1, len(said), len(right)),
        }
        return make_item(stored, result.status, numbers, cluster=stored.sample.media)
