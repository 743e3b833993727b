"""Synthetic files in upstream's exact layouts at toy geometry, written from the published facts."""

from __future__ import annotations

import argparse
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from lamm_model.checkpoint.convert_inputs import ConvertOptions

HIDDEN, LAYERS, RANK, WIDTH = 64, 2, 4, 64


@dataclass(frozen=True)
class Upstream:
    """Paths of one set of files, and the tensors that were written, by upstream's names."""

    root: Path
    llm: Path
    image_delta: Path
    clip: Path
    epcl: Path
    delta_tensors: Mapping[str, Tensor]
    clip_tensors: Mapping[str, Tensor]
    epcl_tensors: Mapping[str, Tensor]


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    root = tmp_path_factory.mktemp("upstream")
    torch.manual_seed(0)
    llm = root / "vicuna-7b-v0"
    write_llm(llm)
    delta = delta_tensors()
    (root / "delta").mkdir()
    torch.save(parameters(delta), root / "delta" / "pytorch_model.pt")
    clip = clip_tensors()
    torch.save(clip, root / "ViT-toy.pt")
    epcl = epcl_tensors()
    torch.save({"model": epcl, "args": epcl_args(), "epoch": 3}, root / "epcl.pth")
    return Upstream(
        root,
        llm,
        root / "delta" / "pytorch_model.pt",
        root / "ViT-toy.pt",
        root / "epcl.pth",
        delta,
        clip,
        epcl,
    )


@pytest.fixture(scope="session")
def rename_delta(
    upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Writes the delta with other key names or another dtype."""

    def write(change: Callable[[dict[str, Tensor]], Any], name: str = "pytorch_model.pt") -> Path:
        path = tmp_path_factory.mktemp("delta") / name
        tensors = dict(upstream.delta_tensors)
        torch.save(parameters(change(tensors) or tensors), path)
        return path

    return write


def parameters(tensors: Mapping[str, Tensor]) -> OrderedDict[str, nn.Parameter]:
    """As upstream's trainer saves them: parameters, in an OrderedDict."""
    return OrderedDict((k, nn.Parameter(t, requires_grad=True)) for k, t in tensors.items())


def write_llm(folder: Path, **changes: Any) -> None:
    """A random LLaMA with Vicuna v0's vocabulary, float16, and its wrong special ids."""
    sizes: dict[str, Any] = {
        "vocab_size": 32001,
        "hidden_size": HIDDEN,
        "intermediate_size": 96,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
    }
    sizes.update({k: v for k, v in changes.items() if k in sizes})
    model = LlamaForCausalLM(LlamaConfig(**sizes, initializer_range=0.1))
    folder.mkdir(parents=True)
    tensors = {k: t.half().contiguous() for k, t in model.state_dict().items()}
    for layer in range(sizes["num_hidden_layers"]):
        # What transformers of 2023 saved beside the weights.
        tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    names = sorted(tensors)
    cut = len(names) // 2
    shards = {"model-00001-of-00002.safetensors": names[:cut]}
    shards["model-00002-of-00002.safetensors"] = names[cut:]
    weight_map = {}
    for file, keys in shards.items():
        save_file({k: tensors[k] for k in keys}, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(keys, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    config = {
        "model_type": "llama",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": -1,
        "torch_dtype": "float16",
        **sizes,
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer().save(str(folder / "tokenizer.json"))


def tokenizer() -> Tokenizer:
    """LLaMA-like: word borders, bytes for what is unknown."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    vocab.update({f"<0x{n:02X}>": n + 3 for n in range(256)})
    for letter in "\u2581abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ#:,.'?<>/\n ":
        vocab.setdefault(letter, len(vocab))
    value = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    value.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    value.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    value.add_special_tokens(["<unk>", "<s>", "</s>"])
    return value


def delta_tensors(
    layers: int = LAYERS, hidden: int = HIDDEN, rank: int = RANK, width: int = WIDTH
) -> dict[str, Tensor]:
    tensors = {}
    for layer in range(layers):
        for target in ("q_proj", "k_proj", "v_proj", "o_proj"):
            stem = f"llama_model.base_model.model.model.layers.{layer}.self_attn.{target}"
            tensors[f"{stem}.lora_A.default.weight"] = torch.randn(rank, hidden).half() * 0.1
            tensors[f"{stem}.lora_B.default.weight"] = torch.randn(hidden, rank).half() * 0.1
    tensors["llama_proj.weight"] = torch.randn(hidden, width).half() * 0.1
    tensors["llama_proj.bias"] = torch.randn(hidden).half() * 0.1
    return tensors


def block_tensors(prefix: str, width: int, layers: int) -> dict[str, Tensor]:
    """OpenAI's CLIP blocks."""
    tensors = {}
    for layer in range(layers):
        stem = f"{prefix}{layer}."
        shapes = {
            "attn.in_proj_weight": (3 * width, width),
            "attn.in_proj_bias": (3 * width,),
            "attn.out_proj.weight": (width, width),
            "attn.out_proj.bias": (width,),
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "mlp.c_fc.weight": (4 * width, width),
            "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (width, 4 * width),
            "mlp.c_proj.bias": (width,),
            "ln_2.weight": (width,),
            "ln_2.bias": (width,),
        }
        tensors.update({stem + k: torch.randn(shape) * 0.2 for k, shape in shapes.items()})
    return tensors


def visual_tensors(
    prefix: str, width: int, layers: int, grid: int, patch: int
) -> dict[str, Tensor]:
    """OpenAI's image tower."""
    return {
        f"{prefix}class_embedding": torch.randn(width),
        f"{prefix}positional_embedding": torch.randn(grid * grid + 1, width),
        f"{prefix}proj": torch.randn(width, 32),
        f"{prefix}conv1.weight": torch.randn(width, 3, patch, patch) * 0.1,
        f"{prefix}ln_pre.weight": torch.randn(width),
        f"{prefix}ln_pre.bias": torch.randn(width),
        **block_tensors(f"{prefix}transformer.resblocks.", width, layers),
        f"{prefix}ln_post.weight": torch.randn(width),
        f"{prefix}ln_post.bias": torch.randn(width),
    }


def clip_tensors() -> dict[str, Tensor]:
    """Both towers under OpenAI's names."""
    return {
        "positional_embedding": torch.randn(7, 32),
        "text_projection": torch.randn(32, 32),
        "logit_scale": torch.tensor(4.6),
        **visual_tensors("visual.", WIDTH, 2, grid=2, patch=14),
        **block_tensors("transformer.resblocks.", 32, 1),
        "token_embedding.weight": torch.randn(20, 32),
        "ln_final.weight": torch.randn(32),
        "ln_final.bias": torch.randn(32),
        "input_resolution": torch.tensor(28),
        "context_length": torch.tensor(7),
        "vocab_size": torch.tensor(20),
    }


def epcl_args(**changes: Any) -> argparse.Namespace:
    values = {
        "pointnet_downsample": True,
        "preenc_npoints": 16,
        "vit_num_token": 8,
        "enc_dim": WIDTH,
        "use_color": False,
        "preenc_radius": 0.3,
        "clip_vit": "ViT-L/14",
        "dec_dim": 32,
        "nqueries": 8,
        "use_task_emb": True,
        "dataset_name": "scannet",
        "dataset_root_dir": None,
    }
    return argparse.Namespace(**{**values, **changes})


def shared_mlp(prefix: str, sizes: list[int]) -> dict[str, Tensor]:
    tensors = {}
    for depth, (size_in, size_out) in enumerate(pairwise(sizes)):
        stem = f"{prefix}layer{depth}."
        tensors[f"{stem}conv.weight"] = torch.randn(size_out, size_in, 1, 1) * 0.4
        tensors[f"{stem}bn.bn.weight"] = torch.rand(size_out) + 0.5
        tensors[f"{stem}bn.bn.bias"] = torch.randn(size_out) * 0.1
        tensors[f"{stem}bn.bn.running_mean"] = torch.randn(size_out) * 0.1
        tensors[f"{stem}bn.bn.running_var"] = torch.rand(size_out) + 0.5
        tensors[f"{stem}bn.bn.num_batches_tracked"] = torch.tensor(77)
    return tensors


def epcl_tensors(flat: bool = False) -> dict[str, Tensor]:
    """The detector's whole state dict."""
    if flat:
        pre = shared_mlp("pre_encoder.mlp_module.", [3, 8, 16, WIDTH])
    else:
        pre = {
            **shared_mlp("pre_encoder.layers.0.mlp_module.", [3, 8, 16]),
            **shared_mlp("pre_encoder.layers.1.mlp_module.", [19, 24, WIDTH]),
        }
    return {
        "te_encoder.embedding.weight": torch.randn(19, WIDTH),
        "te_encoder.trans.0.weight": torch.randn(WIDTH, WIDTH) * 0.2,
        "te_encoder.trans.0.bias": torch.randn(WIDTH),
        "te_encoder.trans.2.weight": torch.randn(WIDTH, WIDTH) * 0.2,
        "te_encoder.trans.2.bias": torch.randn(WIDTH),
        **pre,
        "encoder.pos_embed.0.weight": torch.randn(128, 3),
        "encoder.pos_embed.0.bias": torch.randn(128),
        "encoder.pos_embed.2.weight": torch.randn(WIDTH, 128) * 0.2,
        "encoder.pos_embed.2.bias": torch.randn(WIDTH),
        **visual_tensors("encoder.clip_vit.", WIDTH, 2, grid=2, patch=14),
        "pos_embedding.gauss_B": torch.randn(3, 16),
        "encoder_to_decoder_projection.layers.0.weight": torch.randn(8, 8, 1),
        "query_projection.layers.0.weight": torch.randn(8, 8, 1),
        "decoder.layers.0.self_attn.in_proj_weight": torch.randn(24, 8),
        "mlp_heads.sem_cls_head.layers.0.weight": torch.randn(8, 8, 1),
    }


@pytest.fixture(scope="session")
def epcl_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes another EPCL file: the flat pre-encoder, other arguments, other keys."""

    def write(
        flat: bool = False, change: Callable[[dict[str, Tensor]], Any] | None = None, **args: Any
    ) -> Path:
        path = tmp_path_factory.mktemp("epcl") / "epcl.pth"
        tensors = epcl_tensors(flat)
        if change is not None:
            tensors = change(tensors) or tensors
        torch.save({"model": tensors, "args": epcl_args(**args)}, path)
        return path

    return write


@pytest.fixture
def options(upstream: Any, tmp_path: Path) -> ConvertOptions:
    """A picture delta to be merged."""
    return ConvertOptions(
        delta=upstream.image_delta,
        llm=upstream.llm,
        vision=upstream.clip,
        out=tmp_path / "out",
        merge=True,
    )
