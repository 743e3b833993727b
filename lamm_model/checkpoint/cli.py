"""`lamm model`: convert official checkpoints, merge an adapter into its base, look at files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError

from lamm_model.checkpoint.inspection import describe
from lamm_model.spec import CheckpointError

_DTYPES = ("float16", "bfloat16", "float32")
_EPILOG = """examples:
  lamm model convert --delta lamm_7b_lora32_186k/pytorch_model.pt --llm vicuna-7b-v0 \\
      --vision ViT-L-14.pt --merge --out checkpoints/lamm-7b
  lamm model merge --base checkpoints/base --adapter runs/mini/adapter --out checkpoints/lamm-mini
  lamm model inspect checkpoints/lamm-mini --gpu-memory 80

A checkpoint of a run (runs/mini/checkpoints/step-...) is an adapter directory too."""


def model(argv: Sequence[str]) -> int:
    """Runs `lamm model ARGV...`; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except (CheckpointError, OSError, SafetensorError) as error:
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
    _add_convert(commands)
    _add_merge(commands)
    _add_inspect(commands)
    _add_import_prompts(commands)
    return parser


def _add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    converting = commands.add_parser(
        "convert",
        help="LAMM's published delta + Vicuna + CLIP or EPCL -> our directory",
        description="Checks every key and shape, and that the language model is the Vicuna v0 that "
        "the delta was trained on; then writes tensor by tensor, within the memory of a few of "
        "them. An interrupted run goes on where it stopped when started again. Without --merge, "
        "OUT gets base/ and adapter/, which `lamm model merge` takes.",
    )
    add = converting.add_argument
    add("--delta", type=Path, required=True, help="pytorch_model.pt of LAMM")
    add("--llm", type=Path, required=True, help="directory of Vicuna v0, Hugging Face layout")
    encoder = converting.add_mutually_exclusive_group(required=True)
    encoder.add_argument("--vision", type=Path, help="CLIP: a directory, or OpenAI's ViT-L-14.pt")
    encoder.add_argument("--points", type=Path, help="EPCL's .pth, for a 3D delta")
    add("--out", type=Path, required=True, help="directory to write")
    add("--merge", action="store_true", help="add the LoRA to the weights, in float32")
    add(
        "--dtype",
        choices=_DTYPES,
        default="float16",
        help="of the stored weights (default: %(default)s)",
    )
    add("--tokenizer", type=Path, help="directory of LLaMA's tokenizer (default: that of --llm)")
    add(
        "--lora-alpha",
        type=_positive,
        default=32,
        help="of the delta, which does not hold it (default: %(default)s, LAMM's)",
    )
    add("--force", action="store_true", help="replace --out if it exists")
    add(
        "--force-base",
        action="store_true",
        help="go on though the language model does not look like Vicuna v0",
    )
    add("--expect-base-digest", metavar="DIGEST", help="refuse a language model of another digest")
    converting.set_defaults(run=_convert)


def _add_merge(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
        "--dtype",
        choices=_DTYPES,
        default="float16",
        help="of the stored weights (default: %(default)s)",
    )
    merging.add_argument("--force", action="store_true", help="replace --out if it exists")
    merging.set_defaults(run=_merge)


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspecting = commands.add_parser(
        "inspect",
        help="what a directory or file is, and what it takes to serve it",
        description="Reads JSON files and headers, not the weights (but for a language model's "
        "sampled digest, and for --verify).",
    )
    inspecting.add_argument("path", type=Path, help="checkpoint, adapter, delta, CLIP, EPCL, LLaMA")
    inspecting.add_argument(
        "--gpu-memory", type=_positive, metavar="GIB", help="say how many requests fit a GPU"
    )
    inspecting.add_argument(
        "--context",
        type=int,
        metavar="TOKENS",
        help="a request's length (default: the longest possible)",
    )
    inspecting.add_argument(
        "--verify", action="store_true", help="compare the weights with manifest.json"
    )
    inspecting.set_defaults(run=_inspect)


def _add_import_prompts(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    importing = commands.add_parser(
        "import-prompts",
        help="read the task prompts out of a checkout of upstream's code",
        description="Reads upstream's constants from the source text, without running it, into a "
        "prompt pack that the presets use.",
    )
    importing.add_argument("checkout", type=Path, help="root of a checkout of OpenLAMM")
    importing.add_argument(
        "--out",
        type=Path,
        default=Path("prompt_pack.json"),
        help="file to write (default: %(default)s)",
    )
    importing.set_defaults(run=_import_prompts)


def _convert(arguments: argparse.Namespace) -> int:
    # Only here, so that the help starts without torch; the same below.
    import torch  # noqa: PLC0415

    from lamm_model.checkpoint.convert import convert  # noqa: PLC0415
    from lamm_model.checkpoint.convert_inputs import ConvertOptions  # noqa: PLC0415

    provenance = convert(
        ConvertOptions(
            delta=arguments.delta,
            llm=arguments.llm,
            out=arguments.out,
            vision=arguments.vision,
            points=arguments.points,
            tokenizer=arguments.tokenizer,
            merge=arguments.merge,
            dtype=getattr(torch, arguments.dtype),
            lora_alpha=arguments.lora_alpha,
            replace=arguments.force,
            force_base=arguments.force_base,
            expect_base_digest=arguments.expect_base_digest,
        )
    )
    base = provenance["base"]
    for reason in base["forced_against"]:
        print(f"lamm model convert: forced: {reason}", file=sys.stderr)
    print(f"{arguments.out}: {provenance['dtype']}, digest {provenance['digest']}")
    print(f"language model: digest {base['language_model']['digest']}")
    if not arguments.merge:
        print(
            f"next: lamm model merge --base {arguments.out}/base "
            f"--adapter {arguments.out}/adapter --out DIRECTORY"
        )
    return 0


def _merge(arguments: argparse.Namespace) -> int:
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
    if arguments.context is not None and arguments.context < 1:
        raise CheckpointError(f"--context is {arguments.context}; at least 1 is needed")
    for line in describe(arguments.path, arguments.gpu_memory, arguments.context, arguments.verify):
        print(line)
    return 0


def _import_prompts(arguments: argparse.Namespace) -> int:
    from lamm_model.prompt_pack import import_prompts  # noqa: PLC0415

    try:
        counts = import_prompts(arguments.checkout, arguments.out)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    for group, count in counts.items():
        print(f"  {group:<24} {count:>4}")
    print(f"{arguments.out}: {sum(counts.values())} prompts")
    return 0


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value
