"""Descriptions of files and directories for `lamm model inspect`.

A LAMM checkpoint is described from its JSON files and the headers of its weights, without torch.
torch is imported only for pickles and TorchScript.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from lamm_model.checkpoint.inspection_parts import (
    describe_adapter,
    describe_base,
    describe_clip,
    describe_file,
    licence_of,
    read_headers,
)
from lamm_model.checkpoint.serving_memory import GIB, KV_SHARE_CUDA, PREFIX_SHARE, serving_memory
from lamm_model.checkpoint.workspace import MANIFEST, verify_manifest
from lamm_model.spec import (
    ADAPTER_CONFIG,
    CheckpointError,
    CheckpointSpec,
    read_json,
)


def describe(path: Path, gpu_gib: float | None, context: int | None, verify: bool) -> Iterator[str]:
    """Describes a checkpoint, unmerged conversion, adapter, language model, CLIP, EPCL or delta.

    Args:
        path: file or directory.
        gpu_gib: GPU memory in GiB, to estimate how many requests fit.
        context: tokens per request; None uses the maximum of the checkpoint.
        verify: compare the weights with `manifest.json`.

    Raises:
        CheckpointError: the path cannot be read, or is none of these.
    """
    if path.is_file():
        yield from describe_file(path)
        return
    if not path.is_dir():
        raise CheckpointError(f"{path}: file or directory not found")
    if (path / "base").is_dir() and (path / "adapter").is_dir():
        yield f"{path}: unmerged conversion with base and adapter:"
        yield from describe(path / "base", gpu_gib, context, verify)
        yield from describe(path / "adapter", None, None, False)
        return
    if (path / ADAPTER_CONFIG).is_file():
        yield from describe_adapter(path)
        return
    kind = read_json(path, "config.json", "a checkpoint").get("model_type")
    if kind == "llama":
        yield from describe_base(path)
    elif kind in ("clip", "clip_vision_model"):
        yield from describe_clip(path)
    else:
        yield from _describe_checkpoint(path, gpu_gib, context, verify)


def _describe_checkpoint(
    path: Path, gpu_gib: float | None, context: int | None, verify: bool
) -> Iterator[str]:
    spec = CheckpointSpec.from_pretrained(path)
    shapes, dtypes, size = read_headers(path)
    parameters: Counter[str] = Counter()
    for name, shape in shapes.items():
        parameters[name.partition(".")[0]] += prod(shape)
    total = sum(parameters.values())
    yield f"{spec.path}"
    yield "  kind        checkpoint for `lamm serve`"
    yield f"  digest      {spec.digest}"
    yield f"  weights     {total:,} parameters, {size / 1e6:.1f} MB"
    for name, count in parameters.most_common():
        yield f"    {name:<18} {count:>14,}"
    yield f"  dtype       {', '.join(name for name, _ in dtypes.most_common())}"
    yield f"  context     {spec.max_model_len} tokens, vocabulary {spec.vocab_size}"
    yield from _media_lines(spec)
    yield f"  prompts     {spec.prompt_preset}: {', '.join(sorted(spec.system_prompts))}"
    yield from _origin_lines(path, spec.provenance)
    if verify:
        yield f"  verified    {verify_manifest(path)} files match {MANIFEST}"
    text = read_json(path, "config.json", "a checkpoint")["text_config"]
    yield from _memory_lines(total, text, gpu_gib, context or spec.max_model_len)


def _media_lines(spec: CheckpointSpec) -> Iterator[str]:
    if spec.image is not None:
        yield (
            f"  image       {spec.image.size} x {spec.image.size} pixels -> "
            f"{spec.image.num_tokens} tokens ({spec.image.preset})"
        )
    if spec.points is not None:
        colour = "with colour" if spec.points.use_color else "coordinates only"
        yield (
            f"  point cloud {spec.points.num_points} points ({colour}) -> "
            f"{spec.points.num_tokens} tokens"
        )


def _origin_lines(path: Path, provenance: Mapping[str, Any]) -> Iterator[str]:
    delta = provenance.get("delta")
    if isinstance(delta, Mapping):
        lora = delta.get("lora", {})
        merged = "merged" if delta.get("merged") else "not merged"
        yield (
            f"  LoRA        r {lora.get('r')}, alpha {lora.get('alpha')}, "
            f"{', '.join(lora.get('targets', ()))} ({merged})"
        )
    language_model = provenance.get("base", {}).get("language_model", {})
    if language_model:
        yield f"  base        {language_model.get('name')}, digest {language_model.get('digest')}"
    yield f"  licence     {licence_of(path, provenance)}"


def _memory_lines(
    parameters: int, text: Mapping[str, Any], gpu_gib: float | None, context: int
) -> Iterator[str]:
    yield "  to serve    dtype      weights    KV cache per token" + (
        f"   requests of {context} tokens in {gpu_gib:g} GiB" if gpu_gib else ""
    )
    for entry in serving_memory(parameters, text):
        line = (
            f"              {entry.dtype:<9} {entry.weights_bytes / GIB:>6.2f} GiB "
            f"{entry.kv_bytes_per_token / 1024:>14.1f} KiB"
        )
        if gpu_gib:
            line += f"   {entry.requests(gpu_gib * GIB, context):>8,}"
        yield line
    if gpu_gib:
        yield (
            f"              (at once, at full length; KV cache: {KV_SHARE_CUDA:.0%} of what the "
            f"weights leave, {PREFIX_SHARE:.0%} of it for finished prefixes)"
        )
