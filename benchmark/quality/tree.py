"""What `lamm bench quality` asks: a suite, a part of one, or a tree in LAMM's published layout.

The readers of the published files belong to training, which benchmark does not import: rooms meet
through commands and through samples on disk. So a tree is read by `lamm data suite --in-place`,
found by its entry point as the umbrella command finds it, which writes the tree's records as a
suite beside the answers and leaves the media where they are. It loads no torch. Without the `train`
extra suites can be asked all the same. Called by `cli`.
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

# Media of the parts' rows, as `Modality` spells them.
PARTS = {"all": ("image", "point_cloud"), "2d": ("image",), "3d": ("point_cloud",)}
SUITE_FOLDER = "suite"
NOTHING_WRITTEN = 2
_TREE_FOLDERS = ("2D_Benchmark", "3D_Benchmark")


def open_suite(name: str | None, data: Path | None, limit: int | None, out: Path) -> Suite:
    """The suite that `--suite` and `--data` name; a tree's records are written below `out`.

    Args:
        name: `mini`, a directory, or with `data` a part of what is there (`PARTS`, or a task);
            None takes all of `data`, or else `mini`.
        data: directory of a suite, or of a tree in the published layout.
        limit: records a row: of a suite the first ones, of a tree's file a seeded draw.
        out: directory of the run.

    Raises:
        BenchmarkError: there is no such suite, tree or part; the message says what there is.
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
            f"{place} is no directory; {_offer()} needs --data DIRECTORY; alone --suite takes "
            "'mini' or a suite's directory"
        )
    folders = " or ".join(_TREE_FOLDERS)
    raise BenchmarkError(f"{place} holds no suite.json, and no folder {folders}")


def _part_of(suite: Suite, part: str) -> Suite:
    if _known(part) in PARTS:
        rows = tuple(row for row in suite.rows if row.task.modality in PARTS[part])
    else:
        rows = tuple(row for row in suite.rows if row.task.name == part)
    if not rows:
        there = ", ".join(dict.fromkeys(row.task.name for row in suite.rows))
        raise BenchmarkError(f"{suite.directory} has no row of {part}; it has {there}")
    if len(rows) == len(suite.rows):
        return suite
    taken = {**suite.provenance.get(TAKEN, {}), "part": part}
    return dataclasses.replace(suite, rows=rows, provenance={**suite.provenance, TAKEN: taken})


def _read_tree(root: Path, part: str, limit: int | None, directory: Path) -> Suite:
    """Written anew each time: what the tree holds now is what is asked.

    A folder of that name that holds anything else, such as a suite's media, is somebody's own.
    """
    if directory.is_dir() and any(not _is_written(path) for path in directory.iterdir()):
        raise BenchmarkError(
            f"{directory} is where the records of {root} go, and holds other files; give another "
            "--out, or move them"
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
        raise BenchmarkError(f"{root} gives nothing to ask, as said above")
    return load_suite(directory, media_root=root)


def _is_written(path: Path) -> bool:
    return path.name == "suite.json" or path.suffix == ".jsonl"


def _data_command() -> Callable[[list[str]], int]:
    for entry in entry_points(group="lamm.commands", name="data"):
        command: Callable[[list[str]], int] = entry.load()
        return command
    raise BenchmarkError("the command `lamm data` is not installed; install lamm as a package")


def _known(part: str) -> str:
    if part not in PARTS and part not in TASKS:
        raise BenchmarkError(f"--suite {part}: with --data it is {_offer()}")
    return part


def _offer() -> str:
    return f"{', '.join(PARTS)} or a task ({', '.join(TASKS)})"
