"""`lamm data suite`: a copy of the published benchmark as a suite for `lamm bench quality`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.arguments import positive

LEFT_OUT, NOTHING_WRITTEN = 1, 2
_DESCRIPTION = """\
Turns benchmark files of the published layout into a suite. Each file becomes a row. Media are
linked (hard links), or copied where links are not possible. OUT is written atomically.

  lamm data suite LAMM_Dataset data/lamm-suite --limit 200
  lamm bench quality --suite data/lamm-suite --protocol corrected-v1 --protocol upstream-2023-07

Unusable records are left out, counted and named."""


def suite(argv: Sequence[str]) -> int:
    """Runs `lamm data suite ARGV...`: 0, 1 if records were left out, 2 if nothing was written."""
    # Imported here: --help does not load the readers.
    from training.datasets.complaints import ERRORS  # noqa: PLC0415
    from training.datasets.layout import parts  # noqa: PLC0415
    from training.datasets.suite import SuiteError, SuiteOptions, write_suite  # noqa: PLC0415

    arguments = _parser(parts()).parse_args(argv)
    options = SuiteOptions(
        part=arguments.suite,
        limit=arguments.limit,
        seed=arguments.seed,
        copy=arguments.copy,
        in_place=arguments.in_place,
        progress=True,
    )
    out, err = Console(), Console(stderr=True)
    try:
        report = write_suite(arguments.root, arguments.out, options)
    except (SuiteError, OSError) as error:
        say(err, f"lamm data suite: {error}")
        return NOTHING_WRITTEN
    left_out = LEFT_OUT if report.complaints.total(ERRORS) else 0
    if arguments.quiet:
        return left_out
    for kind, total in report.complaints.by_kind().items():
        say(err, f"{kind}: {total} ({'left out' if kind in ERRORS else 'warning'})")
        examples = report.complaints.examples(kind)
        for complaint in examples:
            say(err, f"  {complaint}")
        if total > len(examples):
            say(err, f"  ... and {total - len(examples)} more")
    for row in report.rows:
        say(out, f"{row.name}: {row.samples} samples ({row.records} records can be used)")
    say(out, f"{report.path}\nnext: lamm bench quality --suite {report.path}")
    return left_out


def say(console: Console, text: str) -> None:
    """Prints a line as it is."""
    # Brackets in file names and messages are not markup.
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _parser(parts: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamm data suite",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("root", type=Path, help="folder with 2D_Benchmark or 3D_Benchmark")
    add("out", type=Path, help="output folder, new or empty")
    add(
        "--suite", choices=parts, default="all", metavar="PART",
        help=f"{', '.join(parts)} (default: %(default)s)",
    )  # fmt: skip
    add(
        "--limit", type=positive, metavar="N",
        help="draw N records per file at random (default: all)",
    )  # fmt: skip
    add("--seed", type=int, default=0, help="random seed of that draw (default: %(default)s)")
    add("--copy", action="store_true", help="copy media instead of linking them")
    add(
        "--in-place", action="store_true",
        help="leave media in ROOT; OUT is used with lamm bench quality --data ROOT",
    )  # fmt: skip
    add("--quiet", action="store_true", help="report left-out records in OUT/suite.json only")
    return parser
