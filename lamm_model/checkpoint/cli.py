"""`lamm model`: convert official checkpoints, merge adapters, export and inspect checkpoints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError

from lamm_model.checkpoint.base_families import BaseFamily
from lamm_model.checkpoint.export.cli import add_export
from lamm_model.checkpoint.inspection import describe
from lamm_model.spec import CheckpointError

_EPILOG = """examples:
  lamm model convert --delta lamm_7b_lora32_186k/pytorch_model.pt --llm vicuna-7b-v0 \\
      --vision ViT-L-14.pt --merge --out checkpoints/lamm-7b
  lamm model merge --base checkpoints/base --adapter runs/mini/adapter --out checkpoints/lamm-mini
  lamm model export checkpoints/lamm-mini --format llava-hf --out exports/lamm-mini
  lamm model inspect checkpoints/lamm-mini --gpu-memory 80

A training checkpoint (runs/mini/checkpoints/step-...) is also an adapter directory."""


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
        description="Convert, merge, export and inspect checkpoints.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_convert(commands)
    _add_merge(commands)
    add_export(commands)
    _add_inspect(commands)
    _add_import_prompts(commands)
    return parser


def _add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    converting = commands.add_parser(
        "convert",
        help="convert a published LAMM delta with its base and CLIP or EPCL",
        description="Convert a published LAMM delta. All keys and shapes are checked, and that the "
        "language model is the one on which the delta was trained. Tensors are written one by "
        "one, so memory use is that of a few tensors. An interrupted conversion resumes when the "
        "same command runs again. Without --merge, OUT contains base/ and adapter/, the inputs of "
        "`lamm model merge`.",
    )
    add = converting.add_argument
    add("--delta", type=Path, required=True, help="LAMM's pytorch_model.pt")
    add("--llm", type=Path, required=True, help="the delta's language model in Hugging Face layout")
    encoder = converting.add_mutually_exclusive_group(required=True)
    encoder.add_argument("--vision", type=Path, help="CLIP directory, or OpenAI's ViT-L-14.pt")
    encoder.add_argument("--points", type=Path, help="EPCL's .pth file, for a 3D delta")
    add("--out", type=Path, required=True, help="output directory")
    add("--merge", action="store_true", help="merge the LoRA into the weights, in float32")
    _add_dtype(converting)
    add("--tokenizer", type=Path, help="directory of LLaMA's tokenizer (default: --llm)")
    add(
        "--lora-alpha",
        type=_positive,
        default=32,
        help="LoRA alpha, which the delta does not contain (default: %(default)s, as in LAMM)",
    )
    add("--force", action="store_true", help="replace --out if it exists")
    add(
        "--base-family",
        type=BaseFamily,
        choices=list(BaseFamily),
        help="language model that the delta was trained on (default: llama2-chat if the delta's "
        "directory or its config.json names Llama 2, otherwise vicuna-v0)",
    )
    add(
        "--force-base",
        action="store_true",
        help="convert even if the language model does not look like that one",
    )
    add("--expect-base-digest", metavar="DIGEST", help="required language model digest")
    converting.set_defaults(run=_convert)


def _add_merge(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    merging = commands.add_parser(
        "merge",
        help="merge an adapter into its base, for `lamm serve`",
        description="Add an adapter's LoRA or DoRA to the weights of its base in float32, replace "
        "the projectors, and write a checkpoint directory, completely or not at all. An adapter of "
        "another base is refused, and one with an option of PEFT that cannot be merged.",
    )
    add = merging.add_argument
    add("--base", type=Path, required=True, help="checkpoint that the adapter was trained on")
    add("--adapter", type=Path, required=True, help="output of `lamm train`")
    add("--out", type=Path, required=True, help="output directory")
    _add_dtype(merging)
    add("--force", action="store_true", help="replace --out if it exists")
    merging.set_defaults(run=_merge)


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspecting = commands.add_parser(
        "inspect",
        help="describe a checkpoint or file and the memory to serve it",
        description="Describe a checkpoint, adapter or upstream file from its JSON files and "
        "headers. Weights are read only for --verify and for the digest of a language model.",
    )
    add = inspecting.add_argument
    add("path", type=Path, help="checkpoint, adapter, delta, CLIP, EPCL or LLaMA")
    add("--gpu-memory", type=_positive, metavar="GIB", help="also print how many requests fit")
    add(
        "--context",
        type=int,
        metavar="TOKENS",
        help="tokens per request (default: the maximum context)",
    )
    add("--verify", action="store_true", help="compare the weights with manifest.json")
    inspecting.set_defaults(run=_inspect)


def _add_import_prompts(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    importing = commands.add_parser(
        "import-prompts",
        help="import the task prompts of an OpenLAMM checkout",
        description="Write the prompt constants of an OpenLAMM checkout to a prompt pack, which "
        "the prompt presets use. The source is parsed, not run.",
    )
    importing.add_argument("checkout", type=Path, help="root of an OpenLAMM checkout")
    importing.add_argument(
        "--out",
        type=Path,
        default=Path("prompt_pack.json"),
        help="output file (default: %(default)s)",
    )
    importing.set_defaults(run=_import_prompts)


def _add_dtype(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype",
        choices=("float16", "bfloat16", "float32"),
        default="float16",
        help="data type of the stored weights (default: %(default)s)",
    )


def _convert(arguments: argparse.Namespace) -> int:
    # Imported here, so that --help does not load torch; likewise below.
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
            base_family=arguments.base_family,
            force_base=arguments.force_base,
            expect_base_digest=arguments.expect_base_digest,
        )
    )
    base = provenance["base"]
    print(f"base family: {base['family']}")
    for reason in base["forced_against"]:
        print(f"lamm model convert: warning: {reason}", file=sys.stderr)
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
    for note in provenance["notes"]:
        print(f"lamm model merge: warning: {note}", file=sys.stderr)
    print(f"{arguments.out}: {provenance['dtype']}, digest {provenance['digest']}")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    if arguments.context is not None and arguments.context < 1:
        raise CheckpointError(f"--context is {arguments.context}; expected at least 1")
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
