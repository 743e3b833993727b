"""`lamm data fetch | mini-records | mini-suite | mini`: commands that make lamm-mini's data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from training.arguments import positive
from training.mini.mixture import MIXTURE, Mixture
from training.mini.sources import PACKAGES, SourceError, Split, fetch

_SEED_HELP = "random seed of other samples (default: that of the published scores)"


def fetch_sources(argv: Sequence[str]) -> int:
    parser = _parser(
        "fetch",
        "Downloads the source packages (Debian 12) with apt, verifies and unpacks them. Installs "
        "nothing.",
    )
    return _run(parser, parser.parse_args(argv), lambda: ())


def mini_records(argv: Sequence[str]) -> int:
    parser = _parser(
        "mini-records",
        "Writes training conversations in LAMM's instruction format, with their media.",
    )
    add = parser.add_argument
    add("out", type=Path, help="output folder")
    add("--count", type=int, default=26000, help="training records (default: %(default)s)")
    add("--validation", type=int, default=400, help="validation records (default: %(default)s)")
    add("--seed", type=int, default=1, help="random seed (default: %(default)s)")
    for flag, default, kind in (
        ("--word-share", MIXTURE.words, "pictures of words"),
        ("--look-up-share", MIXTURE.look_ups, "conversations that only look up facts by name"),
        ("--drawn-share", MIXTURE.drawn, "drawings of faces, people and land"),
    ):
        text = f"share of {kind} (default: %(default)s)"
        add(flag, type=float, default=default, help=text)
    args = parser.parse_args(argv)
    try:
        mixture = Mixture(args.word_share, args.look_up_share, args.drawn_share)
    except ValueError as error:
        parser.error(str(error))

    def write() -> Iterator[Path]:
        # Imported here: --help needs neither numpy nor PIL.
        from training.mini.corpus import Pools  # noqa: PLC0415
        from training.mini.writers.instruction_records import write_records  # noqa: PLC0415

        counts: dict[Split, int] = {"test": args.validation, "train": args.count}
        for split, count in counts.items():
            pools = Pools.load(args.sources, split)
            yield write_records(pools, args.out, count, args.seed, split, mixture)

    return _run(parser, args, write)


def mini_suite(argv: Sequence[str]) -> int:
    parser = _parser(
        "mini-suite",
        "Writes the mini benchmark suite from held-out pictures, meshes, words and phrasings "
        "(multiple-choice questions are phrased as in training).",
    )
    add = parser.add_argument
    add("out", type=Path, help="output folder")
    add("--count", type=int, default=500, help="samples per row (default: %(default)s)")
    add("--seed", type=int, help=_SEED_HELP)
    args = parser.parse_args(argv)

    def write() -> Iterator[Path]:
        from training.mini.corpus import Pools  # noqa: PLC0415 - as above
        from training.mini.writers.quality_suite import SEED, write_suite  # noqa: PLC0415

        pools, seed = Pools.load(args.sources, "test"), SEED if args.seed is None else args.seed
        yield write_suite(pools, args.out, args.count, {"sources": PACKAGES}, seed)

    return _run(parser, args, write)


def mini_benchmark(argv: Sequence[str]) -> int:
    parser = _parser(
        "mini",
        "Writes all 14 2D and 3 3D files of the LAMM-Benchmark in their published layout. Media "
        "are made from lamm-mini's held-out data; faces, people and land are drawn. `lamm data "
        "check OUT` reads it.",
    )
    add = parser.add_argument
    add("out", type=Path, help="output folder")
    add("--count", type=positive, default=200, help="samples per file (default: %(default)s)")
    add("--seed", type=int, help=_SEED_HELP)
    args = parser.parse_args(argv)

    def write() -> Iterator[Path]:
        from training.mini.corpus import Pools  # noqa: PLC0415 - as above
        from training.mini.writers.published_benchmark import (  # noqa: PLC0415
            SEED,
            write_benchmark,
        )

        pools, seed = Pools.load(args.sources, "test"), SEED if args.seed is None else args.seed
        yield write_benchmark(pools, args.out, args.count, PACKAGES, seed=seed)

    return _run(parser, args, write)


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"lamm data {name}", description=description)
    text = "folder of the source packages; missing ones are fetched with apt (default: %(default)s)"
    parser.add_argument("--sources", type=Path, default=Path("data/sources"), help=text)
    return parser


def _run(
    parser: argparse.ArgumentParser, args: argparse.Namespace, write: Callable[[], Iterable[Path]]
) -> int:
    """Fetches the sources, writes, and prints each path that was written."""
    try:
        fetch(args.sources)
        for path in write():
            print(path)
    except (SourceError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0
