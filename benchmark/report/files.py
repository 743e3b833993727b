"""Reads result directories of `lamm bench`: quality runs, load tests, judgements.

Unknown keys are ignored, so that files of other versions and tools can be read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import BenchmarkError
from benchmark.report.gallery import GALLERY_FILE, Gallery

SCORES_FILE = "scores.json"
RUN_FILE = "run.json"
SERVER_FILE = "server.json"
JUDGE_FILE = "judge.json"
ITEMS_FILE = "items.jsonl"

Interval = tuple[float, float]
M = TypeVar("M", bound=BaseModel)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ControlScore(_File):
    """Score of a row under a blind control."""

    score: float | None = None
    interval_95: Interval | None = None
    n: int = 0


class OrderCheck(_File):
    """Effect of shuffled options: share of unchanged choices, and position bias."""

    consistency: float | None = None
    n: int = 0
    position_bias: float


class StoredRow(_File):
    """A row under its primary metric. `score` is None without answers."""

    name: str
    task: str
    metric: str
    n: int
    score: float | None
    interval_95: Interval | None = None
    chance: float | None = None
    target: float | None = None
    unparsed: float = 0.0
    controls: dict[str, ControlScore] = Field(default_factory=dict)
    order_check: OrderCheck | None = None
    unanswered: dict[str, str] = Field(default_factory=dict)
    problems: tuple[str, ...] = ()


class StoredMetric(_File):
    """One metric of a row under a protocol."""

    value: float
    low: float
    high: float
    n: int


class StoredProtocolRow(_File):
    """A row under a protocol; `reason` says why the score is missing."""

    row: str
    task: str
    protocol: str
    n: int
    score: float | None
    metric: str = ""
    interval_95: Interval | None = None
    chance: float | None = None
    unparsed: float = 0.0
    metrics: dict[str, StoredMetric] = Field(default_factory=dict)
    faults: dict[str, int] = Field(default_factory=dict)
    reason: str = ""


class StoredFileJoin(_File):
    """How the answers of one file fit the records of its row."""

    row: str
    file: str | None
    unknown: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class StoredImport(_File):
    """How answer files fit a suite."""

    files: tuple[StoredFileJoin, ...]


class StoredScores(_File):
    """`scores.json` of a quality run."""

    suite: str
    suite_provenance: dict[str, Any] = Field(default_factory=dict)
    model: dict[str, Any]
    client: dict[str, Any] = Field(default_factory=dict)
    complete: bool
    answer_files: StoredImport | None = None
    rows: tuple[StoredRow, ...]
    protocols: tuple[StoredProtocolRow, ...] = ()


class StoredJudgement(_File):
    """`judge.json`, written by `benchmark.judge.report`."""

    judge: str
    systems: tuple[str, str]
    n: int
    counts: dict[str, int]
    win_rate: float | None
    interval_95: Interval | None = None
    upstream_win_rate: float | None = None
    upstream_n: int = 0
    first_shown_preferred: float | None = None
    unparsed: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """Directory of a quality run. `facts` are those of run.json and server.json."""

    label: str
    directory: Path
    scores: StoredScores
    facts: dict[str, Any]
    gallery: Gallery


@dataclass(frozen=True, slots=True)
class LoadTest:
    """Result file of one load test."""

    label: str
    file: Path
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Findings:
    """All results."""

    runs: tuple[Run, ...] = ()
    loads: tuple[LoadTest, ...] = ()
    judgements: tuple[StoredJudgement, ...] = ()


def read_findings(directories: Sequence[str]) -> Findings:
    """Reads directories, each given as `DIR` or `LABEL=DIR`.

    Raises:
        BenchmarkError: a directory has no result, or a file is malformed.
    """
    runs: list[Run] = []
    loads: list[LoadTest] = []
    judgements: list[StoredJudgement] = []
    for given in directories:
        label, directory = read_label(given)
        before = len(runs) + len(loads) + len(judgements)
        if (directory / SCORES_FILE).is_file():
            runs.append(read_run(label, directory))
        if (directory / JUDGE_FILE).is_file():
            judgements.append(_model(StoredJudgement, directory / JUDGE_FILE))
        loads += _read_loads(label, directory)
        if len(runs) + len(loads) + len(judgements) == before:
            raise BenchmarkError(
                f"{directory} has no {SCORES_FILE}, {JUDGE_FILE} or load test result; "
                f"`lamm bench quality --rescore` writes {SCORES_FILE} for an older run"
            )
    return Findings(told_apart(runs), tuple(loads), tuple(judgements))


def read_label(given: str) -> tuple[str, Path]:
    """Splits `DIR` or `LABEL=DIR`; the default label is empty."""
    label, equals, directory = given.partition("=")
    # The name of a directory may contain the sign.
    if equals and not Path(given).is_dir():
        return label, Path(directory)
    return "", Path(given)


def read_run(label: str, directory: Path) -> Run:
    """Reads the directory of a quality run; the default label is the model's id.

    Raises:
        BenchmarkError: a file is missing or malformed.
    """
    scores = _model(StoredScores, directory / SCORES_FILE)
    facts = {
        key: value
        for name in (RUN_FILE, SERVER_FILE)
        if (directory / name).is_file()
        for key, value in _object(directory / name).items()
    }
    kept = directory / GALLERY_FILE
    gallery = _model(Gallery, kept) if kept.is_file() else Gallery()
    return Run(label or str(scores.model.get("model", "?")), directory, scores, facts, gallery)


def _read_loads(label: str, directory: Path) -> list[LoadTest]:
    """Finds result files by their keys, so that files of vLLM are read too."""
    if not directory.is_dir():
        raise BenchmarkError(f"{directory} is not a directory")
    own = {SCORES_FILE, RUN_FILE, SERVER_FILE, JUDGE_FILE, GALLERY_FILE}
    tests = []
    for path in sorted(directory.glob("*.json")):
        if path.name in own:
            continue
        result = _object(path)
        if "output_throughput" in result and "completed" in result:
            tests.append(LoadTest(label or str(result.get("model_id", "?")), path, result))
    return tests


def told_apart(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Makes labels unique: a duplicate label gets the name of its directory."""
    labels = [run.label for run in runs]
    found: list[Run] = []
    for run in runs:
        label = run.label
        if labels.count(label) > 1:
            label = f"{label} ({run.directory.resolve().name})"
        while label in {other.label for other in found}:
            label += "'"
        found.append(Run(label, run.directory, run.scores, run.facts, run.gallery))
    return tuple(found)


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"cannot read {path} as JSON: {error}") from None
    if not isinstance(value, dict):
        raise BenchmarkError(f"{path} is not a JSON object")
    return value


def _model(kind: type[M], path: Path) -> M:
    try:
        return kind.model_validate(_object(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BenchmarkError(f"{path}: {where}: {first['msg']}") from None
