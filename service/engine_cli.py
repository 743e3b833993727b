"""`lamm engine`: installs engines that have Python environments of their own, and writes adapters
for those that run elsewhere.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from lamm_model.spec import CheckpointError
from service.engine.vllm.environment import default_environment
from service.engine.vllm.install import InstallError, Variant, detected_variant, install

_EXAMPLES = """examples:
  lamm engine install vllm
  lamm engine install vllm --cpu --dir /opt/vllm
  lamm engine adapter runs/mini/adapter --base checkpoints/base --out adapters/mini
  lamm serve --engine vllm"""


def engine(argv: list[str]) -> int:
    """Runs `lamm engine ARGV...`; exit status 0, or 1 if a step failed."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (InstallError, CheckpointError, OSError) as error:
        print(f"lamm engine {arguments.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _install(arguments: argparse.Namespace) -> None:
    install(
        (arguments.dir or default_environment()).absolute(),
        arguments.variant or detected_variant(),
        replace=arguments.force,
        report=lambda line: print(line, flush=True),
    )


def _write_adapter(arguments: argparse.Namespace) -> None:
    # Imported here, so that --help does not load torch.
    from service.engine.vllm.adapters import lora_flags, write_adapter  # noqa: PLC0415

    adapter, base, out = arguments.adapter, arguments.base, arguments.out.absolute()
    name = arguments.name or adapter.absolute().name
    if out.exists() and not arguments.force:
        raise FileExistsError(f"{out} already exists; --force replaces it")
    rank = write_adapter(base, adapter, out, replace=arguments.force)
    print(f"{out}: LoRA of rank {rank} for vLLM")
    print(f"add to vllm serve: {shlex.join(lora_flags([(name, out)], [rank]))}")
    print(
        "then: lamm serve --engine vllm --vllm-url URL --checkpoint "
        + shlex.quote(f"{name}={adapter}@{base}")
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamm engine",
        description="Install engines that need a Python environment of their own, and write "
        "adapters for vLLM servers that run elsewhere.",
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
    installing.set_defaults(run=_install)
    _add_adapter(commands)
    return parser


def _add_adapter(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    writing = commands.add_parser(
        "adapter",
        help="write an adapter's LoRA as vLLM loads it",
        description="Write the LoRA of an adapter for `vllm serve --lora-modules NAME=DIR`, "
        "completely or not at all, and print the flags to start vLLM with. Only a vLLM for "
        "--vllm-url needs it; the one that `lamm serve` starts gets its adapters by itself.",
    )
    add = writing.add_argument
    add("adapter", type=Path, help="adapter directory, as `lamm train` writes it")
    add("--base", type=Path, required=True, help="checkpoint that the adapter was trained on")
    add("--out", type=Path, required=True, help="output directory")
    add("--name", help="the model's name in vLLM and here (default: the adapter directory's)")
    add("--force", action="store_true", help="replace --out if it exists")
    writing.set_defaults(run=_write_adapter)
