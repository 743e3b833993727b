"""Answer files of the LAMM repository (`Task_Dataset.json`), joined with a suite's records by id.

A file is a JSON list of objects, or the same as JSON lines (`.jsonl`): `id`, `text` and
`delta_path`. For LSP `text` is an object with one text per joint. LAMM's own scorers join by
position and ignore the ids, so a shifted file is scored without a word. Here every id that does not
fit is reported.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import BenchmarkError
from benchmark.suite import SuiteRow
from benchmark.text import spellable
from lamm_model.tasks.label_sets import JOINTS

# The README and the scripts spell one name differently; later versions of LAMM renamed the other.
_OTHER_NAMES: Mapping[str, str] = {
    "Keypoints_Dectection_LSP": "Keypoints_Detection_LSP",
    "Keypoints_Detection_LSP": "Keypoints_Dectection_LSP",
    "VQA_SQAimage": "VQA_ScienceQA",
    "VQA_ScienceQA": "VQA_SQAimage",
}
_SUFFIXES = (".json", ".jsonl")
_ORDINAL, _JOINT = "@", "/"
_SHOWN = 60

Text = str | Mapping[str, str]


class FileJoin(BaseModel):
    """How the answers of one file fit the records of its row.

    Attributes:
        row: name of the row.
        file: name of the answer file; None if there is none.
        entries: answers in the file.
        reasons: why a sample has no answer, by its id.
        unknown: ids of answers to no record of the row.
        repeated: ids with several equal answers, of which one is used.
        invalid: entries that are no answers, one sentence each.
        notes: facts about the whole file.
    """

    model_config = ConfigDict(frozen=True)

    row: str
    file: str | None
    entries: int = 0
    reasons: dict[str, str] = Field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """The content of an answer file: position, id and text of each answer."""

    name: str
    answers: tuple[tuple[int, str, Text], ...]
    invalid: tuple[str, ...]
    checkpoints: tuple[str, ...]


def find_answer_file(directory: Path, row: str) -> Path | None:
    """The answer file of a row; `.json` before `.jsonl`, which an interrupted script leaves."""
    names = [row, *([_OTHER_NAMES[row]] if row in _OTHER_NAMES else [])]
    candidates = (directory / f"{name}{suffix}" for suffix in _SUFFIXES for name in names)
    return next((path for path in candidates if path.is_file()), None)


def read_answer_file(path: Path) -> AnswerFile:
    """Reads an answer file; entries that are no answers are described in `invalid`.

    Raises:
        BenchmarkError: the file cannot be read, or is not a JSON list.
    """
    answers: list[tuple[int, str, Text]] = []
    invalid: list[str] = []
    checkpoints: dict[str, None] = {}
    for position, entry in _entries(path):
        fault = _fault(entry)
        if fault is not None:
            invalid.append(f"entry {position}: {fault}")
            continue
        if entry.get("delta_path") is not None:
            checkpoints[str(entry["delta_path"])] = None
        # As the reader of the records: without an id, the position is the id.
        given = entry.get("id")
        answers.append((position, str(position if given is None else given), _text(entry)))
    return AnswerFile(path.name, tuple(answers), tuple(invalid), tuple(checkpoints))


def join(row: SuiteRow, file: AnswerFile) -> tuple[dict[str, str], FileJoin]:
    """The text of each sample by its id, and how file and records fit.

    A record whose id occurs twice in the published file is named `ID@POSITION` in suites; its
    answer is the one at that position. Several different answers to one id are ambiguous, so none
    is used.
    """
    by_id: defaultdict[str, list[tuple[int, Text]]] = defaultdict(list)
    for position, id_, text in file.answers:
        by_id[id_].append((position, text))
    joints = row.task.name == "keypoints"
    samples = [item.sample.id for item in row.items]
    taken = {_position(_record(sample, joints)[0], by_id) for sample in samples}
    texts: dict[str, str] = {}
    reasons: dict[str, str] = {}
    used: set[str] = set()
    repeated: dict[str, None] = {}
    for sample in samples:
        name, joint = _record(sample, joints)
        own = _position(name, by_id)
        id_ = name if own is None else name.rpartition(_ORDINAL)[0]
        found = [
            text
            for at, text in by_id.get(id_, [])
            if (at not in taken if own is None else at == own)
        ]
        used.add(id_)
        if not found:
            reasons[sample] = f"no answer with id {id_!r} in {file.name}"
        elif any(text != found[0] for text in found):
            reasons[sample] = f"{len(found)} different answers with id {id_!r} in {file.name}"
        else:
            if len(found) > 1:
                repeated[id_] = None
            _take(sample, found[0], joint, joints, texts, reasons)
    return texts, FileJoin(
        row=row.name,
        file=file.name,
        entries=len(file.answers),
        reasons=reasons,
        unknown=tuple(id_ for id_ in by_id if id_ not in used),
        repeated=tuple(repeated),
        invalid=file.invalid,
        notes=tuple(_batch_notes(file.answers)),
    )


def _take(
    sample: str,
    text: Text,
    joint: str,
    joints: bool,
    texts: dict[str, str],
    reasons: dict[str, str],
) -> None:
    if isinstance(text, str):
        if joints:
            reasons[sample] = "the answer is one text; expected one per joint"
        else:
            texts[sample] = text
    elif not joints:
        reasons[sample] = "the answer is an object; expected a text"
    elif joint not in text:
        reasons[sample] = f"the answer has no joint {joint!r}"
    else:
        texts[sample] = text[joint]


def _record(sample: str, joints: bool) -> tuple[str, str]:
    """Id of the record of a sample, and the joint that the sample asks for."""
    if not joints:
        return sample, ""
    name, _, number = sample.rpartition(_JOINT)
    return name, JOINTS[int(number)] if number.isdecimal() and int(number) < len(JOINTS) else ""


def _position(name: str, by_id: Mapping[str, Sequence[tuple[int, Text]]]) -> int | None:
    """The position in `ID@POSITION`, if the answer at that position has the id."""
    id_, mark, number = name.rpartition(_ORDINAL)
    if not mark or name in by_id or not number.isdecimal():
        return None
    return next((at for at, _ in by_id.get(id_, ()) if at == int(number)), None)


def _batch_notes(answers: Sequence[tuple[int, str, Text]]) -> Iterator[str]:
    texts = [text for _, _, text in answers if not isinstance(text, str)]
    same = sum(one == other for one, other in pairwise(texts))
    if same:
        yield (
            f"{same} of {len(texts)} pictures have the same answers for all joints as the picture "
            "before them; LAMM's script with --bs above 1 writes the last picture's answers for "
            "each picture of a batch"
        )


def _entries(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        content = path.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"cannot read {path}: {error}") from None
    if path.suffix == ".jsonl":
        # Not `splitlines`: answers may contain U+2028 and other line separators.
        lines = [line for line in content.split("\n") if line.strip()]
        yield from enumerate(map(_loaded, lines))
        return
    try:
        value = json.loads(content)
    except ValueError as error:
        raise BenchmarkError(
            f"{path} is not JSON ({error}); the script may have been interrupted: remove the file "
            "to read the .jsonl beside it"
        ) from None
    if not isinstance(value, list):
        raise BenchmarkError(f"{path} is a JSON {type(value).__name__}; expected a list of answers")
    yield from enumerate(value)


def _loaded(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _fault(entry: Any) -> str | None:
    """What is wrong with an entry, or None."""
    if not isinstance(entry, dict):
        return f"{json.dumps(entry):.{_SHOWN}}; expected an object with id and text"
    if isinstance(entry.get("id"), bool | float | list | dict):
        return f"id is {entry['id']!r:.{_SHOWN}}; expected a text or an integer"
    text = entry.get("text", entry.get("answer"))
    if isinstance(text, str):
        return None
    if isinstance(text, dict) and text and all(isinstance(one, str) for one in text.values()):
        return None
    return f"id {entry.get('id')!r:.{_SHOWN}}: text is {text!r:.{_SHOWN}}; expected a text"


def _text(entry: Mapping[str, Any]) -> Text:
    """`text`, or `answer` as later versions of LAMM name it."""
    text = entry.get("text", entry.get("answer"))
    if isinstance(text, dict):
        return {str(joint): spellable(one) for joint, one in text.items()}
    return spellable(str(text))
