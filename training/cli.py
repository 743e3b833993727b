"""`lamm train` and `lamm data`."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from training.arguments import positive
from training.config import RecipeError, explain, load_recipe

_TRAIN_EPILOG = f"""recipe fields (YAML; paths are relative to the folder the command runs in):
{explain()}

record format (LAMM's published instruction format, a JSON list or one object per line):
  {{"id": "7", "image": "a.jpg", "task_type": "VQA", "conversations": [
     {{"from": "human", "value": "<image>\\nWhat is it?"}}, {{"from": "gpt", "value": "A boat."}}]}}
  "pcl" instead of "image" names a point cloud; a record with neither is text only.
  "messages" with roles user and assistant are read too; `lamm data check FILE` lists bad records.

contents of the output folder:
  adapter/       PEFT adapter, projectors and provenance, for `lamm model merge`
  checkpoints/   adapter, optimizer and sampler state; the same command resumes from the newest
  metrics.jsonl, tensorboard/   the loss curve

examples:
  lamm train --config training/recipes/smoke.yaml
  lamm train --config recipe.yaml --set optimizer.learning_rate=1e-4 --set output=runs/slower"""


def train(argv: Sequence[str]) -> int:
    """Runs `lamm train ARGV...`; returns the exit status."""
    arguments = _train_parser().parse_args(argv)
    try:
        recipe = load_recipe(arguments.config, arguments.set)
    except RecipeError as error:
        print(f"lamm train: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # Imported here: --help and recipe errors do not load torch.
    import torch  # noqa: PLC0415

    from lamm_model.spec import CheckpointError  # noqa: PLC0415
    from training.data.dataset import DatasetError  # noqa: PLC0415
    from training.data.feature_cache import FeatureCacheError  # noqa: PLC0415
    from training.loss import TrainingError  # noqa: PLC0415
    from training.run import run  # noqa: PLC0415

    name = arguments.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    count = torch.cuda.device_count()
    # Checked before the data are read; torch would fail only at first use.
    if device is None or (device.type == "cuda" and (device.index or 0) >= count):
        devices = f"available: cpu and {count} CUDA devices"
        print(f"lamm train: --device {name!r} is not available; {devices}", file=sys.stderr)
        return 2
    faults = (RecipeError, CheckpointError, DatasetError, FeatureCacheError, TrainingError, OSError)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    try:
        adapter = run(recipe, device, restart=arguments.restart, progress=True)
    except faults as error:
        print(f"lamm train: {error}", file=sys.stderr)
        return 1
    base = recipe.output / "tiny" / "base" if recipe.base == "tiny" else recipe.base
    print(f"{adapter}\nnext: lamm model merge --base {base} --adapter {adapter} --out DIRECTORY")
    return 0


def _train_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamm train",
        description="Trains LoRA and projectors on a frozen base checkpoint, as a recipe says.\n"
        "An interrupted run resumes from its last checkpoint and gives the same losses.",
        epilog=_TRAIN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, help="recipe file (YAML)")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a recipe field")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--threads", type=positive, help="CPU threads (default: torch's)")
    add("--restart", action="store_true", help="delete the run in the output folder and start over")
    return parser


_MINI, _DATASETS = "training.mini.data_cli", "training.datasets"
# The module and name of each command's `function(argv) -> int`, and a help line.
DATA_COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "fetch": (_MINI, "fetch_sources", "fetch lamm-mini's source packages"),
    "mini-records": (_MINI, "mini_records", "write lamm-mini's records"),
    "mini-suite": (_MINI, "mini_suite", "write the mini benchmark suite"),
    "mini": (_MINI, "mini_benchmark", "write a small benchmark in LAMM's layout"),
    "mini-benchmark": (_MINI, "mini_benchmark", "alias of mini"),
    "check": (f"{_DATASETS}.check_cli", "check", "find bad records and media"),
    "suite": (f"{_DATASETS}.suite_cli", "suite", "make a benchmark suite from the published files"),
    "finetune": (
        f"{_DATASETS}.finetune_cli",
        "finetune",
        "split published files to fine-tune and test",
    ),
}


def data(argv: Sequence[str]) -> int:
    """Runs `lamm data COMMAND ARGV...`; returns the exit status."""
    lines = [f"  {name:<15} {summary}" for name, (*_, summary) in DATA_COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="lamm data",
        description="Fetches, makes and checks training data.",
        epilog="commands:\n" + "\n".join(lines) + "\n\n`lamm data COMMAND --help` explains one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=DATA_COMMANDS, metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...")
    arguments = parser.parse_args(argv)
    module, name, _ = DATA_COMMANDS[arguments.command]
    function: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), name)
    return function(arguments.arguments)
