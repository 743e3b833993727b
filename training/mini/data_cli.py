"""`lamm data fetch | mini-records | mini-suite | mini`: commands that make lamm-mini's data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from training.arguments import positive
from training.mini.mixture import MIXTURE, Mixture
from training.mini.sources import PACKAGES, SourceError, fetch


def fetch_sources(argv: Sequence[str]) -> int:
    """Runs `lamm data fetch ARGV...`."""
    parser = _parser(
        "fetch",
        "Downloads the source packages with apt (Debian 12's), checks and unpacks them; installs "
        "nothing.",
    )
    return _guarded(parser, lambda: fetch(parser.parse_args(argv).sources))


def mini_records(argv: Sequence[str]) -> int:
    """Runs `lamm data mini-records OUT ARGV...`."""
    parser = _parser(
        "mini-records",
        "Writes training conversations in LAMM's instruction format, with their media.",
    )
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument(
        "--count", type=int, default=26000, help="training records (default: %(default)s)"
    )
    parser.add_argument(
        "--validation", type=int, default=400, help="validation records (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of what is drawn (default: %(default)s)"
    )
    for flag, default, what in (
        ("--word-share", MIXTURE.words, "pictures of words"),
        ("--look-up-share", MIXTURE.look_ups, "conversations of nothing but look-ups by name"),
        ("--drawn-share", MIXTURE.drawn, "drawings: faces, bodies, land"),
    ):
        told = f"share of {what} (default: %(default)s)"
        parser.add_argument(flag, type=float, default=default, help=told)
    args = parser.parse_args(argv)
    try:
        mixture = Mixture(args.word_share, args.look_up_share, args.drawn_share)
    except ValueError as error:
        parser.error(str(error))

    def run() -> None:
        # numpy and PIL, not for --help
        from training.mini.corpus import Pools  # noqa: PLC0415
        from training.mini.writers.instruction_records import write_records  # noqa: PLC0415

        fetch(args.sources)
        for split, count in (("test", args.validation), ("train", args.count)):
            pools = Pools.load(args.sources, split)  # type: ignore[arg-type]
            path = write_records(pools, args.out, count, args.seed, split, mixture)  # type: ignore[arg-type]
            print(path)

    return _guarded(parser, run)


def mini_suite(argv: Sequence[str]) -> int:
    """Runs `lamm data mini-suite OUT ARGV...`."""
    parser = _parser(
        "mini-suite",
        "Writes the mini benchmark suite from held-out pictures, meshes, words and phrasings "
        "(multiple choice is put as in training).",
    )
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument(
        "--count", type=int, default=500, help="samples a row (default: %(default)s)"
    )
    args = parser.parse_args(argv)

    def run() -> None:
        from training.mini.corpus import Pools  # noqa: PLC0415 - as above
        from training.mini.writers.quality_suite import write_suite  # noqa: PLC0415

        fetch(args.sources)
        print(
            write_suite(
                Pools.load(args.sources, "test"), args.out, args.count, {"sources": PACKAGES}
            )
        )

    return _guarded(parser, run)


def mini_benchmark(argv: Sequence[str]) -> int:
    """Runs `lamm data mini OUT ARGV...`."""
    parser = _parser(
        "mini",
        "Writes all 14 2D and 3 3D files of the LAMM-Benchmark in their published layout, with "
        "media made of lamm-mini's held-out data, and drawn where there is none: faces, people, "
        "land from above. `lamm data check OUT` reads it.",
    )
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument(
        "--count", type=positive, default=200, help="samples per file (default: %(default)s)"
    )
    args = parser.parse_args(argv)

    def run() -> None:
        from training.mini.corpus import Pools  # noqa: PLC0415 - as above
        from training.mini.writers.published_benchmark import write_benchmark  # noqa: PLC0415

        fetch(args.sources)
        print(write_benchmark(Pools.load(args.sources, "test"), args.out, args.count, PACKAGES))

    return _guarded(parser, run)


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"lamm data {name}", description=description)
    parser.add_argument(
        "--sources",
        type=Path,
        default=Path("data/sources"),
        help="folder of the source packages, fetched with apt where absent (default: %(default)s)",
    )
    return parser


def _guarded(parser: argparse.ArgumentParser, run: Callable[[], None]) -> int:
    try:
        run()
    except (SourceError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0
