"""Opens a suite, a part of one, or a directory tree in LAMM's published layout.

The readers of the published files are in `training`, which `benchmark` does not import. Therefore
`lamm data suite --in-place`, found by its entry point, writes the records of a tree as a suite next
to the answers and leaves the media in place. It does not import torch, but needs the `train` extra.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.suite import MINI_SUITE, TAKEN, Suite
from benchmark.suite_reader import find_suite, load_suite
from lamm_model.tasks import TASKS

# Modalities of the parts.
PARTS = {"all": ("image", "point_cloud"), "2d": ("image",), "3d": ("point_cloud",)}
SUITE_FOLDER = "suite"
NOTHING_WRITTEN = 2
_TREE_FOLDERS = ("2D_Benchmark", "3D_Benchmark")


def open_suite(name: str | None, data: Path | None, limit: int | None, out: Path) -> Suite:
    """The suite given by `--suite` and `--data`; the records of a tree are written to `out`.

    Args:
        name: `mini`, a directory, or with `data` a part (a key of `PARTS`, or a task); None is all
            of `data`, or `mini` without `data`.
        data: directory of a suite, or of a tree in the published layout.
        limit: records per row: the first ones of a suite, a seeded sample of a tree's file.
        out: directory of the run.

    Raises:
        BenchmarkError: suite, tree or part not found.
    """
    if data is None and (name is None or name == MINI_SUITE):
        return load_suite(find_suite(MINI_SUITE, None), limit)
    place, part = (data, name or "all") if data is not None else (Path(str(name)), "all")
    if (place / "suite.json").is_file():
        return _part_of(load_suite(place, limit), "all" if part == MINI_SUITE else part)
    if any((place / folder).is_dir() for folder in _TREE_FOLDERS):
        return _read_tree(place, _known(part), limit, out / SUITE_FOLDER)
    if not place.exists() and data is None:
        raise BenchmarkError(
            f"directory {place} not found; without --data, --suite is 'mini' or the directory of a "
            f"suite; with --data it is {_offer()}"
        )
    folders = " or ".join(_TREE_FOLDERS)
    raise BenchmarkError(f"{place} has no suite.json and no directory {folders}")


def _part_of(suite: Suite, part: str) -> Suite:
    if _known(part) in PARTS:
        rows = tuple(row for row in suite.rows if row.task.modality in PARTS[part])
    else:
        rows = tuple(row for row in suite.rows if row.task.name == part)
    if not rows:
        there = ", ".join(dict.fromkeys(row.task.name for row in suite.rows))
        raise BenchmarkError(f"{suite.directory} has no rows of {part}; it has {there}")
    if len(rows) == len(suite.rows):
        return suite
    taken = {**suite.provenance.get(TAKEN, {}), "part": part}
    return dataclasses.replace(suite, rows=rows, provenance={**suite.provenance, TAKEN: taken})


def _read_tree(root: Path, part: str, limit: int | None, directory: Path) -> Suite:
    """Writes the records anew each time. A directory with other files is not overwritten."""
    if directory.is_dir() and any(not _is_written(path) for path in directory.iterdir()):
        raise BenchmarkError(
            f"{directory} has other files, so the records of {root} cannot be written there; move "
            "them, or use another --out"
        )
    shutil.rmtree(directory, ignore_errors=True)
    argv = ["suite", str(root), str(directory), "--suite", part, "--in-place", "--quiet"]
    try:
        status = _data_command()([*argv, *(["--limit", str(limit)] if limit else [])])
    except ModuleNotFoundError as error:
        raise BenchmarkError(
            f"reading the published layout needs the package {error.name!r}; install it with: "
            "pip install 'lamm[train]'"
        ) from None
    if status == NOTHING_WRITTEN:
        raise BenchmarkError(f"{root} has no valid records; see the messages above")
    return load_suite(directory, media_root=root)


def _is_written(path: Path) -> bool:
    return path.name == "suite.json" or path.suffix == ".jsonl"


def _data_command() -> Callable[[list[str]], int]:
    for entry in entry_points(group="lamm.commands", name="data"):
        command: Callable[[list[str]], int] = entry.load()
        return command
    raise BenchmarkError("the command `lamm data` is not installed; install the package lamm")


def _known(part: str) -> str:
    if part not in PARTS and part not in TASKS:
        raise BenchmarkError(f"--suite is {part!r}; with --data, expected {_offer()}")
    return part


def _offer() -> str:
    return f"{', '.join(PARTS)} or a task ({', '.join(TASKS)})"
