"""`lamm model`: merge an adapter into its base, or look at a checkpoint."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path

from safetensors import safe_open

from lamm_model.spec import CheckpointError, CheckpointSpec

_DTYPES = ("float16", "bfloat16", "float32")
_EPILOG = """examples:
  lamm model merge --base checkpoints/base --adapter runs/mini/adapter --out checkpoints/lamm-mini
  lamm model inspect checkpoints/lamm-mini

A checkpoint of a run (runs/mini/checkpoints/step-...) is an adapter directory too."""


def model(argv: Sequence[str]) -> int:
    """Runs `lamm model ARGV...`; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except (CheckpointError, FileExistsError) as error:
        print(f"lamm model {arguments.command}: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamm model",
        description="Work on checkpoint directories.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    merging = commands.add_parser(
        "merge",
        help="base + adapter -> a directory that `lamm serve` loads",
        description="Adds the adapter's LoRA to the base's weights in float32, puts the trained "
        "projectors in, and writes a checkpoint directory; it appears whole or not at all. Refuses "
        "an adapter that was trained on another base.",
    )
    merging.add_argument("--base", type=Path, required=True, help="checkpoint it was trained on")
    merging.add_argument("--adapter", type=Path, required=True, help="what `lamm train` wrote")
    merging.add_argument("--out", type=Path, required=True, help="directory to write")
    merging.add_argument(
        "--dtype", choices=_DTYPES, default="float16", help="of the stored weights (%(default)s)"
    )
    merging.add_argument("--force", action="store_true", help="replace --out if it exists")
    merging.set_defaults(run=_merge)
    inspecting = commands.add_parser(
        "inspect",
        help="sizes, media, dtype and digest of a checkpoint",
        description="Reads the JSON files and the headers of the weights, not the weights.",
    )
    inspecting.add_argument("directory", type=Path)
    inspecting.set_defaults(run=_inspect)
    return parser


def _merge(arguments: argparse.Namespace) -> int:
    # Only here, so that `inspect` and the help start without torch.
    import torch  # noqa: PLC0415

    from lamm_model.checkpoint.merge import merge  # noqa: PLC0415

    provenance = merge(
        arguments.base,
        arguments.adapter,
        arguments.out,
        getattr(torch, arguments.dtype),
        replace=arguments.force,
    )
    print(f"{arguments.out}: {provenance['dtype']}, digest {provenance['digest']}")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    spec = CheckpointSpec.from_pretrained(arguments.directory)
    parameters: Counter[str] = Counter()
    dtypes: Counter[str] = Counter()
    for file in sorted(spec.path.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a mapping
                header = tensors.get_slice(key)
                parameters[key.partition(".")[0]] += prod(header.get_shape())
                dtypes[header.get_dtype()] += prod(header.get_shape())
    size = sum(file.stat().st_size for file in spec.path.glob("*.safetensors"))
    print(f"{spec.path}")
    print(f"  digest      {spec.digest}")
    print(f"  weights     {sum(parameters.values()):,} parameters, {size / 1e6:.1f} MB")
    for name, count in parameters.most_common():
        print(f"    {name:<18} {count:>14,}")
    print(f"  dtype       {', '.join(name for name, _ in dtypes.most_common())}")
    print(f"  context     {spec.max_model_len} tokens, vocabulary {spec.vocab_size}")
    if spec.image is not None:
        print(
            f"  image       {spec.image.size} x {spec.image.size} pixels -> "
            f"{spec.image.num_tokens} tokens ({spec.image.preset})"
        )
    if spec.points is not None:
        colour = "with colour" if spec.points.use_color else "coordinates only"
        print(
            f"  point cloud {spec.points.num_points} points ({colour}) -> "
            f"{spec.points.num_tokens} tokens"
        )
    print(f"  prompts     {spec.prompt_preset}: {', '.join(sorted(spec.system_prompts))}")
    return 0
