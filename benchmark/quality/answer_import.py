"""Scores answer files of the LAMM repository without a server: `--answers-from DIR`.

The answers are stored in `OUT/answers.jsonl` like those of a server, so that `--rescore` and
`lamm bench report` work on them; `OUT/answer_files.json` says how files and records fit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.answers import AnswerStore, write_whole
from benchmark.content import MediaCache
from benchmark.errors import BenchmarkError
from benchmark.http.chat_answers import Usage
from benchmark.quality.answer_files import (
    AnswerFile,
    FileJoin,
    find_answer_file,
    join,
    read_answer_file,
)
from benchmark.quality.asker import Finder, answer_of
from benchmark.quality.controls import Question
from benchmark.quality.identity import ModelIdentity
from benchmark.quality.targets import ANSWER_FILES, Reply
from benchmark.suite import TAKEN, Suite

IMPORT_FILE = "answer_files.json"
NAMED = 5


class AnswerImport(BaseModel):
    """How the answer files of a folder fit a suite.

    `partial` says that the suite has only some of the published records, so that answers to others
    are expected. `unread` names files without a row.
    """

    model_config = ConfigDict(frozen=True)

    directory: str
    partial: bool
    files: tuple[FileJoin, ...]
    unread: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether every entry is an answer to a known record."""
        return not any(one.invalid or (one.unknown and not self.partial) for one in self.files)

    def notes(self) -> list[str]:
        """Sentences about what does not fit, with counts and the first ids."""
        lines = []
        for one in self.files:
            where = f"{one.row}: {one.file}"
            extra = " (the suite has only some of the records)" if self.partial else ""
            lines += _named(f"{where}: ids without a record{extra}", one.unknown)
            lines += _named(f"{where}: ids with several equal answers, one is used", one.repeated)
            lines += _named(f"{where}: entries that are no answers", one.invalid)
            lines += [f"{where}: {note}" for note in one.notes]
        return lines + _named(f"{self.directory}: files without a row in this suite", self.unread)


def import_answers(
    suite: Suite, directory: Path, out: Path, model: str | None = None
) -> AnswerImport:
    """Stores the answers of a folder in `out` as a run of the suite.

    `model` names the model in reports; the default is the checkpoint named in the files.

    Raises:
        BenchmarkError: the folder has no answer file of the suite, or a file is not a JSON list.
    """
    if not directory.is_dir():
        raise BenchmarkError(f"--answers-from {directory} is not a directory")
    paths = {row.name: find_answer_file(directory, row.name) for row in suite.rows}
    files = {name: read_answer_file(path) for name, path in paths.items() if path is not None}
    read = {file.name for file in files.values()}
    unread = sorted(
        path.name
        for path in directory.iterdir()
        # A .jsonl beside its .json has the same answers.
        if path.suffix in {".json", ".jsonl"} and f"{path.stem}.json" not in read
        and path.name not in read
    )  # fmt: skip
    if not files:
        rows = ", ".join(f"{name}.json" for name in paths)
        raise BenchmarkError(
            f"{directory} has none of {rows}; it has {', '.join(unread) or 'no JSON'}"
        )
    identity = _identity(directory, files, model)
    joins = _store(suite, files, identity, out)
    found = AnswerImport(
        directory=directory.resolve().name,
        partial=_is_partial(suite),
        files=joins,
        unread=tuple(unread),
    )
    write_whole(out / "run.json", json.dumps(asdict(identity), indent=2) + "\n")
    write_whole(out / IMPORT_FILE, found.model_dump_json(indent=2) + "\n")
    return found


def stored_import(out: Path, identity: ModelIdentity) -> AnswerImport | None:
    """How the files of a run fit; None if its answers come from a server.

    Raises:
        BenchmarkError: the file is missing or malformed.
    """
    if identity.backend != ANSWER_FILES:
        return None
    try:
        return AnswerImport.model_validate_json((out / IMPORT_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise BenchmarkError(f"cannot read {out / IMPORT_FILE}: {error}") from None


def _store(
    suite: Suite, files: Mapping[str, AnswerFile], identity: ModelIdentity, out: Path
) -> tuple[FileJoin, ...]:
    joins = []
    with AnswerStore(out / "answers.jsonl") as store:
        finder = Finder(identity, MediaCache(), {None: store})
        for row in suite.rows:
            if row.name not in files:
                reason = f"no file {row.name}.json"
                reasons = {item.sample.id: reason for item in row.items}
                joins.append(FileJoin(row=row.name, file=None, reasons=reasons))
                continue
            texts, found = join(row, files[row.name])
            for item in row.items:
                if item.sample.id in texts:
                    reply = Reply(texts[item.sample.id], None, Usage())
                    question = Question(item)
                    store.add(answer_of(identity, question, finder.key(question), reply, 0.0))
            joins.append(found)
    return tuple(joins)


def _identity(directory: Path, files: Mapping[str, AnswerFile], model: str | None) -> ModelIdentity:
    """The model is known by the checkpoints that the files name; the answers by their digest."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(json.dumps([name, files[name].answers]).encode())
    checkpoints = dict.fromkeys(one for file in files.values() for one in file.checkpoints)
    name = model or ", ".join(map(_checkpoint, checkpoints)) or directory.resolve().name
    now = datetime.now(UTC).isoformat(timespec="seconds")
    fingerprint = f"answers-{digest.hexdigest()[:16]}"
    return ModelIdentity(
        f"answer files in {directory.resolve().name}", name, fingerprint, now, ANSWER_FILES
    )


def _is_partial(suite: Suite) -> bool:
    taken = suite.provenance.get(TAKEN)
    limited = isinstance(taken, dict) and taken.get("limit") is not None
    return limited or suite.provenance.get("limit") is not None


def _named(title: str, entries: tuple[str, ...]) -> list[str]:
    if not entries:
        return []
    more = len(entries) - NAMED
    tail = f"; and {more} more" if more > 0 else ""
    return [f"{title}: {len(entries)} ({'; '.join(entries[:NAMED])}{tail})"]


def _checkpoint(path: str) -> str:
    """Name of a checkpoint: LAMM saves each as `NAME/pytorch_model.pt`."""
    file = PurePosixPath(path)
    return file.parent.name if file.name == "pytorch_model.pt" and file.parent.name else file.name
