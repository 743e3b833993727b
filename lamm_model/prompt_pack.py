"""Prompt packs: upstream LAMM's own prompts, read from a checkout of its repository.

The prompts are not part of this project. `lamm model import-prompts` writes a pack, and
`CheckpointSpec` reads it (by default `prompt_pack.json` in the checkpoint), so that the prompt
presets use upstream's wording instead of the checkpoint's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamm_model.source_constants import SourceConstantError, SourceConstants

PACK_FILE = "prompt_pack.json"
FORMAT = "lamm-prompt-pack/1"
MAX_PACK_CHARACTERS = 4_000_000

_TRAINING_FILE, _TRAINING_TABLE = "conversations.py", "conversation_dict"
_BENCHMARK_FILES = re.compile(r"system_msg\w*\.py")
_BENCHMARK_TABLE = re.compile(r"\w*sys_?msg\w*", re.IGNORECASE)
_DEMO_FILE, _DEMO_CONSTANT = "cli_demo.py", "SYS_MSG"
_COMMIT = re.compile(r"[0-9a-f]{40}")


class PromptPackError(ValueError):
    """A checkout or a pack cannot be read; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class PromptPack:
    """System texts of upstream's programs.

    `train` maps task types to the texts of training, `benchmark` maps tasks to those of the
    benchmark, and `cli` is the text of the terminal demo (None if the checkout has no demo).
    `constants` has the benchmark's other texts (questions, answer formats) by upstream's names.
    """

    train: Mapping[str, str]
    benchmark: Mapping[str, str]
    cli: str | None
    constants: Mapping[str, str]
    source: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> PromptPack:
        """Reads a pack that `import_prompts` wrote.

        Raises:
            PromptPackError: the file is missing, too large, not JSON, or not a prompt pack.
        """
        path = Path(path)
        value = _read_json(path)
        if value.get("format") != FORMAT:
            raise PromptPackError(f"{path}: format is {value.get('format')!r}; expected {FORMAT!r}")
        cli = value.get("cli")
        if cli is not None and not isinstance(cli, str):
            raise PromptPackError(f"{path}: cli is not a string")
        source = value.get("source")
        return cls(
            train=_texts(path, value, "train"),
            benchmark=_texts(path, value, "benchmark"),
            cli=cli,
            constants=_texts(path, value, "constants"),
            source=source if isinstance(source, dict) else {},
        )


def import_prompts(checkout: Path, out: Path) -> dict[str, int]:
    """Writes the prompts of an upstream checkout to `out`; returns the number of each kind.

    The checkout's Python is parsed and never run. Files are found by name, because upstream has
    moved them: `conversations.py` with `conversation_dict`, `system_msg*.py` with tables of system
    texts, and optionally `cli_demo.py` with `SYS_MSG`.

    Raises:
        PromptPackError: a file or constant is missing, not constant, or too large; nothing is
            written.
    """
    if not checkout.is_dir():
        raise PromptPackError(f"{checkout} is not a directory; expected a checkout of OpenLAMM")
    files = _find(checkout)
    try:
        training = _only(_TRAINING_TABLE, _TRAINING_FILE, files, checkout)
        benchmark = [SourceConstants(path) for path in files if _is_benchmark(path)]
        demo = [SourceConstants(path) for path in files if path.name == _DEMO_FILE]
        train = training.table(_TRAINING_TABLE)
        tasks = _task_texts(benchmark, checkout)
        cli = demo[0].text(_DEMO_CONSTANT) if demo else None
    except SourceConstantError as error:
        raise PromptPackError(str(error)) from error
    constants = {name: text for read in benchmark for name, text in read.texts.items()}
    kinds: dict[str, Mapping[str, str]] = {
        "train": train,
        "benchmark": tasks,
        "cli": {} if cli is None else {_DEMO_CONSTANT: cli},
        "constants": constants,
    }
    size = sum(len(text) for texts in kinds.values() for text in texts.values())
    if size > MAX_PACK_CHARACTERS:
        raise PromptPackError(
            f"{checkout}: the prompts have {size} characters; the limit is {MAX_PACK_CHARACTERS}"
        )
    pack = {
        "format": FORMAT,
        "source": {
            "commit": _commit(checkout),
            "files": {
                read.path.relative_to(checkout).as_posix(): hashlib.sha256(
                    read.source.encode("utf8")
                ).hexdigest()
                for read in (training, *benchmark, *demo[:1])
            },
        },
        **kinds,
        "cli": cli,
    }
    _write_atomically(out, json.dumps(pack, indent=2, ensure_ascii=False) + "\n")
    return {kind: len(texts) for kind, texts in kinds.items()}


def _find(checkout: Path) -> list[Path]:
    """Regular files that may hold prompts, nearest to the root of the checkout first."""
    found: list[Path] = []
    for folder, folders, names in os.walk(checkout):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(folder, name)
            wanted = name in (_TRAINING_FILE, _DEMO_FILE) or _BENCHMARK_FILES.fullmatch(name)
            # A link may point outside the checkout, and a pipe may never end.
            if wanted and path.is_file() and not path.is_symlink():
                found.append(path)
    return sorted(found, key=lambda path: (len(path.parts), path))


def _is_benchmark(path: Path) -> bool:
    return _BENCHMARK_FILES.fullmatch(path.name) is not None


def _only(constant: str, name: str, files: list[Path], checkout: Path) -> SourceConstants:
    """The file of this name that assigns the constant; other packages may use the name too."""
    sources = [SourceConstants(path) for path in files if path.name == name]
    if not sources:
        raise PromptPackError(f"{checkout}: {name} not found; is this an OpenLAMM checkout?")
    assigning = [source for source in sources if constant in source.assigned] or sources[:1]
    tables = [source.table(constant) for source in assigning]
    for other, table in zip(assigning[1:], tables[1:], strict=True):
        if table != tables[0]:
            raise PromptPackError(
                f"{assigning[0].path} and {other.path} assign different values to {constant}"
            )
    return assigning[0]


def _task_texts(sources: list[SourceConstants], checkout: Path) -> dict[str, str]:
    """Task -> system text of all tables; a second text for a task is kept as `task.table`."""
    if not sources:
        raise PromptPackError(f"{checkout}: system_msg.py not found; is this an OpenLAMM checkout?")
    texts: dict[str, str] = {}
    for source in sources:
        named = (name for name in source.assigned if _BENCHMARK_TABLE.fullmatch(name))
        tables = [name for name in named if name not in source.texts]
        for table in tables:
            for task, text in source.table(table).items():
                same = texts.setdefault(task, text) == text
                if not same:
                    texts[f"{task}.{table}"] = text
    if not texts:
        raise PromptPackError(f"{sources[0].path}: no table named *sysmsg* with system texts")
    return texts


def _commit(checkout: Path) -> str | None:
    """The checked-out commit if plain files in `.git` name it, else None."""
    git = checkout / ".git"
    head = _small_text(git / "HEAD").strip()
    if head.startswith("ref: "):
        name = head.removeprefix("ref: ")
        if not re.fullmatch(r"refs/[\w/-]+(\.[\w/-]+)*", name):
            return None
        listed = _small_text(git / "packed-refs")
        packed = re.search(rf"^([0-9a-f]{{40}}) {re.escape(name)}$", listed, re.MULTILINE)
        head = _small_text(git / name).strip() or (packed[1] if packed else "")
    return head if _COMMIT.fullmatch(head) else None


def _small_text(path: Path) -> str:
    """The first MiB of a file, "" if it is not a file."""
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return stream.read(1 << 20).decode("utf8", errors="replace")


def _write_atomically(out: Path, text: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.writing")
    try:
        with temporary.open("w", encoding="utf8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)


def _read_json(path: Path) -> dict[str, Any]:
    limit = 8 * MAX_PACK_CHARACTERS
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
        value = json.loads(data) if len(data) <= limit else None
    except OSError as error:
        raise PromptPackError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PromptPackError(f"{path}: not valid JSON") from error
    if not isinstance(value, dict):
        raise PromptPackError(f"{path}: not a JSON object of at most {limit} bytes")
    return value


def _texts(path: Path, value: Mapping[str, Any], kind: str) -> dict[str, str]:
    table = value.get(kind)
    if not isinstance(table, dict) or not all(isinstance(text, str) for text in table.values()):
        raise PromptPackError(f"{path}: {kind} is not an object with string values")
    return dict(table)
