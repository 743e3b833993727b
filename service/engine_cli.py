"""`lamm engine`: installs the engines that have Python environments of their own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from service.engine.vllm.environment import default_environment
from service.engine.vllm.install import InstallError, Variant, detected_variant, install

_EXAMPLES = """examples:
  lamm engine install vllm
  lamm engine install vllm --cpu --dir /opt/vllm
  lamm serve --engine vllm"""


def engine(argv: list[str]) -> int:
    """Runs `lamm engine ARGV...`; exit status 0, or 1 if a step failed."""
    arguments = _parser().parse_args(argv)
    try:
        install(
            (arguments.dir or default_environment()).absolute(),
            arguments.variant or detected_variant(),
            replace=arguments.force,
            report=lambda line: print(line, flush=True),
        )
    except (InstallError, OSError) as error:
        print(f"lamm engine: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamm engine",
        description="Install engines that need a Python environment of their own.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    installing = commands.add_parser(
        "install",
        help="make an environment with an engine",
        description="Make a Python environment with vLLM, whose versions of torch and transformers "
        "differ from this project's.",
    )
    installing.add_argument("engine", choices=("vllm",), help="engine to install")
    installing.add_argument(
        "--dir", type=Path, help=f"directory of the environment (default: {default_environment()})"
    )
    kind = installing.add_mutually_exclusive_group()
    for variant in Variant:
        kind.add_argument(
            f"--{variant}",
            dest="variant",
            action="store_const",
            const=variant,
            help=f"vLLM for {variant.upper()} (default: CUDA if nvidia-smi is found, else CPU)",
        )
    installing.add_argument("--force", action="store_true", help="replace an environment")
    return parser
