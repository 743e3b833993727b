"""What `lamm bench` left in a folder, read back: quality runs, load tests, judgements.

Called by `lamm bench report`. The files are bytes from outside: unknown keys are left alone, so
that files of other versions and of other tools can be read, and a wrong form is named.
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
    """A blind control's score on a row's own metric."""

    score: float | None = None
    interval_95: Interval | None = None
    n: int = 0


class OrderCheck(_File):
    """What shuffled options showed: share of the same choice, and how positions were favoured."""

    consistency: float | None = None
    n: int = 0
    position_bias: float


class StoredRow(_File):
    """A row under the task's own metric. `score` is None where nothing was answered."""

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


class StoredProtocolRow(_File):
    """A row under a protocol; without a score `reason` says why."""

    row: str
    task: str
    protocol: str
    n: int
    score: float | None
    metric: str = ""
    interval_95: Interval | None = None
    chance: float | None = None
    unparsed: float = 0.0
    faults: dict[str, int] = Field(default_factory=dict)
    reason: str = ""


class StoredScores(_File):
    """`scores.json` of a quality run."""

    suite: str
    suite_provenance: dict[str, Any] = Field(default_factory=dict)
    model: dict[str, Any]
    client: dict[str, Any] = Field(default_factory=dict)
    complete: bool
    rows: tuple[StoredRow, ...]
    protocols: tuple[StoredProtocolRow, ...] = ()


class StoredJudgement(_File):
    """`judge.json`: one system's answers against another's, as `benchmark.judge.report` writes."""

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
    """A quality run's folder. `facts` are run.json's and the server's own words about itself."""

    label: str
    directory: Path
    scores: StoredScores
    facts: dict[str, Any]
    gallery: Gallery


@dataclass(frozen=True, slots=True)
class LoadTest:
    """One load test's result file."""

    label: str
    file: Path
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the folders hold."""

    runs: tuple[Run, ...] = ()
    loads: tuple[LoadTest, ...] = ()
    judgements: tuple[StoredJudgement, ...] = ()


def read_findings(directories: Sequence[str]) -> Findings:
    """Reads folders, each given as `DIR` or `LABEL=DIR`.

    Raises:
        BenchmarkError: a folder holds no result, or a file of another form.
    """
    runs: list[Run] = []
    loads: list[LoadTest] = []
    judgements: list[StoredJudgement] = []
    for given in directories:
        label, directory = read_label(given)
        before = len(runs) + len(loads) + len(judgements)
        if (directory / SCORES_FILE).is_file():
            runs.append(_read_run(label, directory))
        if (directory / JUDGE_FILE).is_file():
            judgements.append(_model(StoredJudgement, directory / JUDGE_FILE))
        loads += _read_loads(label, directory)
        if len(runs) + len(loads) + len(judgements) == before:
            raise BenchmarkError(
                f"{directory} holds no {SCORES_FILE}, no {JUDGE_FILE} and no load test's result; "
                "`lamm bench quality --rescore` writes the first of an older run"
            )
    return Findings(_told_apart(runs), tuple(loads), tuple(judgements))


def read_label(given: str) -> tuple[str, Path]:
    """A folder given as `DIR` or `LABEL=DIR`; the label is empty where there is none."""
    label, equals, directory = given.partition("=")
    # A folder's own name may hold the sign.
    if equals and not Path(given).is_dir():
        return label, Path(directory)
    return "", Path(given)


def _read_run(label: str, directory: Path) -> Run:
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
    """Result files by their keys, whatever they are called: vLLM's own are read too."""
    if not directory.is_dir():
        raise BenchmarkError(f"{directory} is no folder")
    own = {SCORES_FILE, RUN_FILE, SERVER_FILE, JUDGE_FILE, GALLERY_FILE}
    tests = []
    for path in sorted(directory.glob("*.json")):
        if path.name in own:
            continue
        result = _object(path)
        if "output_throughput" in result and "completed" in result:
            tests.append(LoadTest(label or str(result.get("model_id", "?")), path, result))
    return tests


def _told_apart(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Runs whose labels differ: a label that stands twice gets its folder's name."""
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
        raise BenchmarkError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise BenchmarkError(f"{path} holds no JSON object")
    return value


def _model(kind: type[M], path: Path) -> M:
    try:
        return kind.model_validate(_object(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BenchmarkError(f"{path}: {where}: {first['msg']}") from None
