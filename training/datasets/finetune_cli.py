"""`lamm data finetune`: training records and a held-out benchmark from the published files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.datasets.suite_cli import LEFT_OUT, NOTHING_WRITTEN, say

_DESCRIPTION = """\
Splits the benchmark files of the six data sets for which LAMM has fine-tuned results (CIFAR10,
VOC2012, SQAimage, ScanNet, ScanRefer, ScanQA) into OUT/train/FILE.json, for `lamm train`, and
OUT/test, a benchmark in the published layout. A picture or room is on one side only, in all files.
OUT is written atomically.

  lamm data finetune LAMM_Dataset data/finetune
  lamm train --config training/recipes/finetune-cifar10.yaml
  lamm bench quality --data data/finetune/test --suite classification

Unusable records are left out, counted and named."""


def finetune(argv: Sequence[str]) -> int:
    """Runs `lamm data finetune ARGV...`: 0, 1 if records were left out, 2 if nothing is written."""
    # Imported here: --help does not load the readers.
    from training.datasets.complaints import ERRORS  # noqa: PLC0415
    from training.datasets.finetune import write_split  # noqa: PLC0415
    from training.datasets.suite import SuiteError  # noqa: PLC0415

    arguments = _parser().parse_args(argv)
    out, err = Console(), Console(stderr=True)
    try:
        split = write_split(arguments.root, arguments.out, arguments.train_share, arguments.seed)
    except (SuiteError, OSError) as error:
        say(err, f"lamm data finetune: {error}")
        return NOTHING_WRITTEN
    for kind, total in split.complaints.by_kind().items():
        say(err, f"{kind}: {total} ({'left out' if kind in ERRORS else 'warning'})")
        for complaint in split.complaints.examples(kind):
            say(err, f"  {complaint}")
    for file in split.files:
        say(out, f"{file.name}: {file.train} records to train, {file.test} held out")
    say(out, f"{split.path}\nnext: lamm train --config training/recipes/finetune-cifar10.yaml")
    return LEFT_OUT if split.complaints.total(ERRORS) else 0


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamm data finetune",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("root", type=Path, help="folder with 2D_Benchmark or 3D_Benchmark")
    add("out", type=Path, help="output folder, new or empty")
    add(
        "--train-share", type=_share, default=0.5, metavar="SHARE",
        help="share of pictures and rooms to train on (default: %(default)s)",
    )  # fmt: skip
    add("--seed", type=int, default=0, help="random seed of the split (default: %(default)s)")
    return parser
