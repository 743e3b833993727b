"""Traces an engine of the tiny LAMM, and one with adapters; compares their tokens with a CPU's."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.processing import write_processor_config
from service.engine.config import EngineConfig
from service.engine.loading.model_source import ModelSource
from tests.service.engine.adapters import make_adapter, source
from tests.service.engine.gpu_trace.device import traced_device
from tests.service.engine.gpu_trace.engine_run import EngineRun, scenarios
from tests.service.engine.gpu_trace.record import Event, Record
from tests.service.engine.harness import NUM_POINTS, RequestMaker, build_config, build_tokenizer

_MEMORY_BYTES = 1 << 30
# Waits for the device per call: a readout returns tokens to the host, the rest of a step nothing
# but the check of new features.
_MOST_SYNCS = {
    "readout: greedy": 1, "readout: ": 4, "decode step": 0, "prefill step": 1, "encode image": 0,
    "save prefix": 0, "load prefix": 0,
}  # fmt: skip


def main() -> int:
    """Prints the table and what a GPU would refuse; 1 if anything is refused or differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    args = parser.parse_args()
    if torch.version.cuda is None:
        sys.exit(f"torch {torch.__version__} is not built for CUDA; fake CUDA tensors need it")
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, {args.dtype}")
    with tempfile.TemporaryDirectory() as directory:
        record, differences = trace(Path(directory), args.dtype)
    exceeded = over_limit(record)
    print(record.table())
    print(f"\nkernels of Triton: {dict(record.kernels) or 'none'}")
    print(f"devices compared without torch: {dict(record.unchecked) or 'none'}")
    for line in (*record.refused, *differences, *exceeded):
        print(f"FAILED {line}")
    print(
        f"refused: {len(record.refused)}; other answers than on a CPU: {len(differences)}; "
        f"limits exceeded: {len(exceeded)}"
    )
    return 1 if record.refused or differences or exceeded else 0


def over_limit(record: Record) -> list[str]:
    """Stages of a step that upload from pageable memory, or wait more often than they must."""
    lines = []
    for name, stage in record.stages.items():
        limit = next((n for start, n in _MOST_SYNCS.items() if name.startswith(start)), None)
        if limit is None:
            continue
        counts = stage.events
        if counts[Event.UPLOAD]:
            lines.append(f"{name}: {counts[Event.UPLOAD]} uploads from pageable memory")
        if counts[Event.SYNC] > limit * stage.calls:
            lines.append(f"{name}: {counts[Event.SYNC]} waits in {stage.calls} calls")
    return lines


def trace(directory: Path, dtype: str) -> tuple[Record, list[str]]:
    """The record of both engines, and where their answers differ from a CPU's (float32 only)."""
    checkpoint = directory / "base"
    vocab_size = _write_checkpoint(checkpoint)
    # The name of an adapter's directory in the engine is its model's.
    adapters = [make_adapter(checkpoint, directory / f"a{n}", seed=n) for n in (1, 2)]
    plain = [source("base", checkpoint, None)]
    mixed = [*plain, *(source(path.name, checkpoint, path) for path in adapters)]
    record, differences = Record(), []
    expected = _run_all(plain, mixed, "cpu", dtype, vocab_size, None)
    with traced_device(record, _MEMORY_BYTES):
        try:
            seen = _run_all(plain, mixed, "cuda", dtype, vocab_size, record)
        except Exception as error:
            if not record.refused:
                raise
            return record, [repr(error)]
    if dtype == "float32":
        differences = [
            f"{name}: {seen[name]}; on a CPU: {answers}"
            for name, answers in expected.items()
            if seen[name] != answers
        ]
    return record, differences


def _run_all(
    plain: list[ModelSource],
    mixed: list[ModelSource],
    device: Any,
    dtype: Any,
    vocab_size: int,
    record: Record | None,
) -> dict[str, list[list[Any]]]:
    config = EngineConfig(
        device=device, dtype=dtype, max_num_seqs=8,
        max_num_batched_tokens=32, chunk_interval_s=0.0,
    )  # fmt: skip
    engine = EngineRun(plain, config, record)
    answers = {name: engine.run(name, r) for name, r in scenarios(RequestMaker(vocab_size))}
    make = RequestMaker(vocab_size)
    served = EngineRun(mixed, config, record)
    requests = [
        dataclasses.replace(make(10 + n, seed=n, max_tokens=5), model=model.name)
        for n, model in enumerate(mixed)
    ]
    answers["adapters"] = served.run("adapters", requests)
    return answers


def _write_checkpoint(path: Path) -> int:
    path.mkdir()
    tokenizer = build_tokenizer()
    tokenizer.save(str(path / "tokenizer.json"))
    torch.manual_seed(7)
    config = build_config(tokenizer.get_vocab_size())
    LammForConditionalGeneration(config).eval().save_pretrained(path)  # type: ignore[no-untyped-call]
    write_processor_config(path, config, num_points=NUM_POINTS, system_prompts={"normal": ""})
    return int(tokenizer.get_vocab_size())


if __name__ == "__main__":
    sys.exit(main())
