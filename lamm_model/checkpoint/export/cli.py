"""`lamm model export`: its options and what it prints."""

from __future__ import annotations

import argparse
from pathlib import Path

from lamm_model.checkpoint.export.base import ExportRequest
from lamm_model.checkpoint.export.existing import exists_already
from lamm_model.checkpoint.export.registry import FORMATS
from lamm_model.spec import CheckpointError

_EXAMPLES = """examples:
  lamm model export checkpoints/lamm-mini --format llava-hf --out exports/mini
      for transformers: AutoModelForImageTextToText.from_pretrained("exports/mini")
  lamm model export checkpoints/lamm-mini --format llava-hf --for vllm --out exports/mini-vllm
      for vLLM: vllm serve exports/mini-vllm
  lamm model export checkpoints/base --adapter runs/mini/adapter --format llava-hf --out exports/run
      base and adapter in one step; no merged checkpoint is written"""


def add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the sub-command; its function raises CheckpointError and OSError."""
    exporting = commands.add_parser(
        "export",
        help="write a checkpoint in the format of another program",
        description="Write a checkpoint in a format that other programs load, completely or not at "
        "all. The weights are compared with manifest.json first. Tensors are written one by one, "
        "so memory use is that of a few tensors, and an interrupted export resumes when the same "
        "command runs again. Parts that the format has no place for are named.",
        epilog="\n".join([*_format_lines(), "", _EXAMPLES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = exporting.add_argument
    add("checkpoint", type=Path, help="checkpoint directory, as for `lamm serve`")
    add("--format", required=True, choices=sorted(FORMATS), help="format to write, see below")
    add("--out", type=Path, required=True, help="output directory")
    targets = sorted({target for format in FORMATS.values() for target in format.targets})
    add(
        "--for",
        dest="target",
        choices=targets,
        help="program that will load it (default: the format's first, see below)",
    )
    add("--adapter", type=Path, help="adapter of this checkpoint, merged on the way in float32")
    add(
        "--dtype",
        choices=("float16", "bfloat16", "float32"),
        help="data type of the stored weights (default: the checkpoint's)",
    )
    add("--force", action="store_true", help="replace --out if it exists")
    add(
        "--keep",
        action="store_true",
        help="write nothing if --out is this export of this checkpoint already (with --force: "
        "replace anything else)",
    )
    exporting.set_defaults(run=_export)


def _format_lines() -> list[str]:
    lines = ["formats, and values of --for:"]
    for format in FORMATS.values():
        lines.append(f"  {format.name:<14} {format.summary}")
        lines += [f"    {target:<12} {what}" for target, what in format.targets.items()]
    return lines


def _export(arguments: argparse.Namespace) -> int:
    format = FORMATS[arguments.format]
    target = arguments.target or next(iter(format.targets))
    if target not in format.targets:
        raise CheckpointError(
            f"--for is {target!r}; format {format.name} is written for {', '.join(format.targets)}"
        )
    request = ExportRequest(
        checkpoint=arguments.checkpoint,
        out=arguments.out,
        target=target,
        adapter=arguments.adapter,
        dtype=arguments.dtype,
        replace=arguments.force,
    )
    if arguments.keep and exists_already(request, format.name):
        print(f"{arguments.out}: {format.name} for {target} of this checkpoint already; kept")
        return 0
    result = format.write(request)
    print(f"{arguments.out}: {format.name} for {target}, {result.dtype}, digest {result.digest}")
    for note in result.notes:
        print(f"note: {note}")
    return 0
