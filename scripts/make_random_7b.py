"""Writes random weights in the exact files that `lamm model convert` takes, at Vicuna-7B's size.

For measuring conversion, merging and loading at full size without the real weights: a sharded
float16 LLaMA with Vicuna v0's vocabulary, CLIP ViT-L/14 under OpenAI's names, and a LAMM delta.
The answers of what comes out mean nothing. 14.2 GB at full size; memory is that of one tensor.

    python scripts/make_random_7b.py --tokenizer DIR --out DIR
    lamm model convert --delta DIR/pytorch_model.pt --llm DIR/vicuna-7b-v0 \
        --vision DIR/ViT-L-14.pt --merge --out OUT

A smaller one, for a try: `--layers 1 --hidden 128 --clip-layers 1 --clip-width 64`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from lamm_model.checkpoint.shards import PlannedTensor, check_disk, total_bytes, write_weights
from lamm_model.checkpoint.workspace import workspace
from lamm_model.spec import CheckpointError

_VOCAB = 32001
_HEAD = 128
_RANK = 32
_STD = 0.02


def main() -> int:
    """Writes the files; returns the exit status."""
    arguments = _parser().parse_args()
    generator = torch.Generator().manual_seed(arguments.seed)

    def random(*shape: int, std: float = _STD) -> Tensor:
        return torch.randn(shape, generator=generator).mul_(std).to(torch.float16)

    hidden, inner = arguments.hidden, arguments.hidden * 43 // 16
    llm = _llm_tensors(hidden, inner, arguments.layers, random)
    plan = {"seed": arguments.seed, "hidden": hidden, "layers": arguments.layers}
    plan |= {"clip": [arguments.clip_layers, arguments.clip_width]}
    try:
        with workspace(arguments.out, plan, replace=False) as work:
            # CLIP and the delta together stay below 1 GB.
            check_disk(arguments.out.parent, total_bytes(llm) + 1_000_000_000)
            folder = work.folder / "vicuna-7b-v0"
            folder.mkdir(exist_ok=True)
            write_weights(folder, llm, work)
            _write_llm_files(folder, hidden, inner, arguments.layers, arguments.tokenizer)
            clip = _clip_tensors(arguments.clip_layers, arguments.clip_width, random)
            torch.save(clip, work.folder / "ViT-L-14.pt")
            delta = _delta_tensors(hidden, arguments.layers, arguments.clip_width, random)
            torch.save(delta, work.folder / "pytorch_model.pt")
    except (CheckpointError, OSError) as error:
        print(f"make_random_7b: {error}", file=sys.stderr)
        return 1
    print(arguments.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument(
        "--tokenizer", type=Path, required=True, help="directory with LLaMA's tokenizer.json"
    )
    parser.add_argument("--hidden", type=int, default=4096, help="a multiple of 128 (%(default)s)")
    parser.add_argument("--layers", type=int, default=32, help="%(default)s")
    parser.add_argument("--clip-width", type=int, default=1024, help="%(default)s")
    parser.add_argument("--clip-layers", type=int, default=24, help="%(default)s")
    parser.add_argument("--seed", type=int, default=0, help="%(default)s")
    return parser


def _llm_tensors(
    hidden: int, inner: int, layers: int, random: Callable[..., Tensor]
) -> list[PlannedTensor]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (_VOCAB, hidden)}
    for layer in range(layers):
        stem = f"model.layers.{layer}."
        for name in "qkvo":
            shapes[f"{stem}self_attn.{name}_proj.weight"] = (hidden, hidden)
        shapes[f"{stem}mlp.gate_proj.weight"] = (inner, hidden)
        shapes[f"{stem}mlp.up_proj.weight"] = (inner, hidden)
        shapes[f"{stem}mlp.down_proj.weight"] = (hidden, inner)
        shapes[f"{stem}input_layernorm.weight"] = (hidden,)
        shapes[f"{stem}post_attention_layernorm.weight"] = (hidden,)
    shapes["model.norm.weight"] = (hidden,)
    shapes["lm_head.weight"] = (_VOCAB, hidden)

    def reader(shape: tuple[int, ...]) -> Callable[[], Tensor]:
        # Norms scale by one, or nothing would come through 32 layers.
        return lambda: torch.ones(shape) if len(shape) == 1 else random(*shape)

    return [PlannedTensor(n, s, torch.float16, reader(s)) for n, s in shapes.items()]


def _write_llm_files(folder: Path, hidden: int, inner: int, layers: int, tokenizer: Path) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": _VOCAB,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // _HEAD,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "bos_token_id": 1,  # nosec B105 # the id of a token of text
        "eos_token_id": 2,  # nosec B105 # the same
        "torch_dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf8")
    shutil.copyfile(tokenizer / "tokenizer.json", folder / "tokenizer.json")


def _clip_tensors(layers: int, width: int, random: Callable[..., Tensor]) -> dict[str, Tensor]:
    tensors = {
        "visual.class_embedding": random(width),
        "visual.positional_embedding": random(257, width),
        "visual.proj": random(width, 768),
        "visual.conv1.weight": random(width, 3, 14, 14),
    }
    norms = ["visual.ln_pre", "visual.ln_post"]
    for layer in range(layers):
        stem = f"visual.transformer.resblocks.{layer}."
        tensors[f"{stem}attn.in_proj_weight"] = random(3 * width, width)
        tensors[f"{stem}attn.in_proj_bias"] = random(3 * width)
        for name, out, into in (
            ("attn.out_proj", width, width),
            ("mlp.c_fc", 4 * width, width),
            ("mlp.c_proj", width, 4 * width),
        ):
            tensors[f"{stem}{name}.weight"], tensors[f"{stem}{name}.bias"] = (
                random(out, into),
                random(out),
            )
        norms += [f"{stem}ln_1", f"{stem}ln_2"]
    for name in norms:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = random(width) + 1, random(width)
    return tensors


def _delta_tensors(
    hidden: int, layers: int, width: int, random: Callable[..., Tensor]
) -> OrderedDict[str, nn.Parameter]:
    tensors: dict[str, Tensor] = {}
    for layer in range(layers):
        for target in "qkvo":
            stem = f"llama_model.base_model.model.model.layers.{layer}.self_attn.{target}_proj."
            tensors[f"{stem}lora_A.default.weight"] = random(_RANK, hidden)
            tensors[f"{stem}lora_B.default.weight"] = random(hidden, _RANK)
    tensors["llama_proj.weight"] = random(hidden, width)
    tensors["llama_proj.bias"] = random(hidden)
    return OrderedDict((name, nn.Parameter(tensor)) for name, tensor in tensors.items())


if __name__ == "__main__":
    sys.exit(main())
