"""`lamm data check`: checks one instruction file or a tree in the published layout."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lamm_model.spec import CheckpointError
from training.arguments import positive
from training.datasets.complaints import ERRORS, WARNINGS, Kind

if TYPE_CHECKING:
    from training.datasets.check_file import FindFault

_FILE_OPTIONS = ("media_root", "base", "out")
_ROOT_OPTIONS = ("jobs", "tokenizer", "limit_length", "json", "fail_on")
_SHOWN = 20

_EPILOG = """kinds of complaint (* = a warning unless --fail-on names it):
{kinds}

layout of ROOT, all or part of it:
  2D_Instruct/meta_file/LAMM_instruct_186k.json    2D_Instruct/coco_images/...
  2D_Benchmark/meta_file/Detection_VOC2012.json    2D_Benchmark/voc2012_images/...
  3D_Instruct/..., 3D_Benchmark/...

exit status: 0 without errors, 1 with errors, 2 if nothing could be checked

examples:
  lamm data check records.json --base checkpoints/base --out good.json
  lamm data check LAMM_Dataset --jobs 8 --tokenizer checkpoints/base --limit-length 2048
  lamm data check LAMM_Dataset --fail-on any --json check.json"""


def check(argv: Sequence[str]) -> int:
    """Runs `lamm data check ARGV...`; returns the exit status (see the help)."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    is_root = arguments.path.is_dir()
    # An option without effect is refused, not ignored.
    for name in _FILE_OPTIONS if is_root else _ROOT_OPTIONS:
        if getattr(arguments, name) is not None:
            kind, other = ("FILE", "folder") if is_root else ("ROOT", "file")
            flag = name.replace("_", "-")
            parser.error(f"--{flag} needs a {kind}, but {arguments.path} is a {other}")
    if arguments.limit_length is not None and arguments.tokenizer is None:
        parser.error("--limit-length needs --tokenizer")
    # Checked first: a check may take hours, and its result would be lost.
    for name in ("out", "json"):
        target = getattr(arguments, name)
        if target is not None and (target.is_dir() or not target.parent.is_dir()):
            parser.error(f"--{name} {target}: expected a file in an existing folder")
    return _check_root(arguments) if is_root else _check_file(arguments)


def _parser() -> argparse.ArgumentParser:
    kinds = "\n".join(
        f"  {kind:<18}{'*' if kind in WARNINGS else ' '} {kind.meaning}" for kind in Kind
    )
    parser = argparse.ArgumentParser(
        prog="lamm data check",
        description="Reads every record as training does and lists the invalid ones. FILE: reports "
        "malformed records and missing media, with --base also media that cannot be decoded. "
        "ROOT: reads every file of the published layout and decodes every medium.",
        epilog=_EPILOG.format(kinds=kinds),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "path", type=Path, metavar="FILE | ROOT",
        help="instruction file (JSON list or lines, perhaps in gzip), or folder with "
        "2D_Instruct, 2D_Benchmark, 3D_Instruct or 3D_Benchmark",
    )  # fmt: skip
    parser.add_argument(
        "--show", type=positive, metavar="N",
        help=f"complaints to show per kind; all are counted (default: {_SHOWN})",
    )  # fmt: skip
    add = parser.add_argument_group("options for FILE").add_argument
    add("--media-root", type=Path, help="folder of the media (default: the file's folder)")
    add("--base", type=Path, help="checkpoint whose preprocessing decodes the media")
    add("--out", type=Path, help="write the good records to this file")
    add = parser.add_argument_group("options for ROOT").add_argument
    cores = _cores()
    add("--jobs", type=positive, metavar="N", help=f"decoding threads (default: {cores})")
    add(
        "--tokenizer", type=Path, metavar="DIR",
        help="count tokens with this checkpoint, or with the tokenizer.json in this folder",
    )  # fmt: skip
    add(
        "--limit-length", type=positive, metavar="N",
        help="report records with more tokens, which max_length of a recipe would shorten",
    )  # fmt: skip
    add("--json", type=Path, metavar="OUT", help="write the report to this file")
    add(
        "--fail-on", type=_kinds, metavar="KIND,...",
        help="kinds that are errors, any, or none (default: those without * below)",
    )  # fmt: skip
    return parser


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _kinds(text: str) -> frozenset[Kind]:
    if text in ("any", "none"):
        return frozenset(Kind) if text == "any" else frozenset()
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in {kind.value for kind in Kind}]
    if unknown:
        known = ", ".join(Kind)
        raise argparse.ArgumentTypeError(f"unknown kind {unknown[0]!r}; known: any, none, {known}")
    return frozenset(Kind(name) for name in names)


def _check_root(arguments: argparse.Namespace) -> int:
    # Imported here: --help needs neither Pillow nor the tokenizer.
    from rich.console import Console  # noqa: PLC0415

    from training.datasets.check import CheckError, CheckOptions, check_tree  # noqa: PLC0415
    from training.datasets.lengths import LengthCounter  # noqa: PLC0415
    from training.datasets.report import as_json, print_report  # noqa: PLC0415

    try:
        counter = (
            None
            if arguments.tokenizer is None
            else LengthCounter.from_pretrained(arguments.tokenizer)
        )
        options = CheckOptions(
            jobs=arguments.jobs or _cores(),
            lengths=counter,
            limit_length=arguments.limit_length,
            keep=arguments.show or _SHOWN,
            progress=True,
        )
        report = check_tree(arguments.path, options)
    except (CheckError, CheckpointError, OSError) as error:
        print(f"lamm data check: {error}", file=sys.stderr)
        return 2
    fail_on = ERRORS if arguments.fail_on is None else arguments.fail_on
    print_report(report, fail_on, Console())
    if arguments.json is not None:
        document = as_json(report, fail_on)
        text = json.dumps(document, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf8")
    return 1 if report.complaints.total(fail_on) else 0


def _check_file(arguments: argparse.Namespace) -> int:
    from rich.console import Console  # noqa: PLC0415

    from training.datasets.check_file import check_file  # noqa: PLC0415
    from training.datasets.report import print_complaints  # noqa: PLC0415

    file: Path = arguments.path
    # Spooled: OUT may be FILE itself, and a file without records leaves OUT as it was.
    # Invalid Unicode occurs only within strings, where the escape \\udXXX is valid JSON.
    with tempfile.TemporaryFile("w+", encoding="utf8", errors="backslashreplace") as spool:
        try:
            find_fault = _media_fault(arguments.base)
            media_root = arguments.media_root or file.parent
            result = check_file(file, media_root, find_fault, spool, arguments.show or _SHOWN)
        except CheckpointError as error:
            print(f"lamm data check: {error}", file=sys.stderr)
            return 2
        except OSError as error:
            print(f"lamm data check: {error.filename or file}: {error.strerror}", file=sys.stderr)
            return 2
        print_complaints(result.complaints, ERRORS, Console())
        print(result.summary())
        if not result.good and not result.bad:
            print(f"lamm data check: {file} has no records", file=sys.stderr)
            return 2
        if arguments.out is not None:
            spool.seek(0)
            with arguments.out.open("w", encoding="utf8") as stream:
                shutil.copyfileobj(spool, stream)
    return 1 if result.bad else 0


def _media_fault(base: Path | None) -> FindFault | None:
    """Decodes media as training from that base would; None without a base."""
    if base is None:
        return None
    from lamm_model.processing import LammProcessor  # noqa: PLC0415 - loads torch
    from training.data.dataset import media_fault  # noqa: PLC0415

    return partial(media_fault, processor=LammProcessor.from_pretrained(base))
