"""Which suite a run asked and how its answers are read, in `OUT/questions.json`.

With it, the answers can be scored again.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.answers import write_whole
from benchmark.errors import BenchmarkError
from benchmark.quality.tree import open_suite
from benchmark.suite import MINI_SUITE, Suite
from benchmark.suite_reader import MINI_DIRECTORY
from lamm_model.tasks.dialects.manner import Manner

QUESTIONS_FILE = "questions.json"


class AskedSuite(BaseModel):
    """The arguments of `open_suite`, and how the model writes places; `data` is absolute."""

    model_config = ConfigDict(frozen=True)

    suite: str | None
    data: Path
    limit: int | None
    manner: Manner = Manner()


def store_suite(
    name: str | None, data: Path | None, limit: int | None, out: Path, manner: Manner
) -> None:
    """Writes which suite the run in `out` asks, from the arguments of `open_suite`."""
    if data is None:
        mini = name is None or name == MINI_SUITE
        data, name = MINI_DIRECTORY if mini else Path(str(name)), None
    asked = AskedSuite(suite=name, data=data.absolute(), limit=limit, manner=manner)
    write_whole(out / QUESTIONS_FILE, asked.model_dump_json(indent=2) + "\n")


def stored_suite(out: Path) -> Suite:
    """The suite that the run in `out` asked, in the manner in which its answers were read last.

    Raises:
        BenchmarkError: the run does not say, or its suite is not there any more.
    """
    path = out / QUESTIONS_FILE
    try:
        asked = AskedSuite.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BenchmarkError(
            f"{out} has no {QUESTIONS_FILE}, so its suite is not known; run `lamm bench quality "
            f"--rescore --out {out}` once with its --suite, --data and --limit"
        ) from None
    except (OSError, ValidationError) as error:
        raise BenchmarkError(f"cannot read {path}: {error}") from None
    if not asked.data.is_dir():
        raise BenchmarkError(
            f"{asked.data}, which the run in {out} asked, is not there; if it was moved, run "
            f"`lamm bench quality --rescore --out {out} --data NEW_PLACE` once"
        )
    return open_suite(asked.suite, asked.data, asked.limit, out).in_manner(asked.manner)
