"""Every spelling that upstream's files come in, and the full geometries by shape alone."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from lamm_model.checkpoint.clip_keys import open_clip
from lamm_model.checkpoint.convert import convert
from lamm_model.checkpoint.convert_inputs import ConvertOptions
from lamm_model.checkpoint.epcl_keys import open_epcl
from lamm_model.checkpoint.official_delta import open_delta
from lamm_model.checkpoint.tensor_sources import open_weights
from lamm_model.spec import CheckpointError


def module_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{k}": t for k, t in tensors.items()}


def without_default(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.replace(".default.", "."): t for k, t in tensors.items()}


def in_float32(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: t.float() for k, t in tensors.items()}


@pytest.mark.parametrize("change", [module_prefix, without_default, in_float32])
def test_other_spellings_of_a_delta(
    upstream: Any, rename_delta: Callable[..., Path], change: Callable[..., Any]
) -> None:
    plain, other = open_delta(upstream.image_delta), open_delta(rename_delta(change))
    assert other.lora.keys() == plain.lora.keys()
    assert all(torch.equal(other.lora[k].half(), plain.lora[k]) for k in plain.lora)
    assert torch.equal(other.projector["weight"].half(), plain.projector["weight"])
    assert (other.rank, other.num_layers, other.hidden_size, other.encoder_width) == (4, 2, 64, 64)
    assert other.num_keys == 2 * 8 + 2
    name = "base_model.model.model.layers.1.self_attn.o_proj.lora_B.weight"
    assert plain.lora[name].shape == (64, 4)


class Tree(nn.Module):
    """Parameters at dotted names, so that TorchScript can save them."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            head, _, rest = name.partition(".")
            if rest:
                parts.setdefault(head, {})[rest] = tensor
            else:
                self.register_buffer(head, tensor)
        for head, inner in parts.items():
            self.add_module(head, Tree(inner))

    def forward(self, x: Tensor) -> Tensor:
        return x


# torch says so of every use of TorchScript, which is what OpenAI's file is.
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_clip_as_a_torchscript_archive(upstream: Any, tmp_path: Path) -> None:
    path = tmp_path / "ViT-L-14.pt"
    torch.jit.script(Tree(upstream.clip_tensors)).save(str(path))
    source = open_weights(path)
    assert source.shapes == {k: tuple(t.shape) for k, t in upstream.clip_tensors.items()}
    assert all(torch.equal(source.read(k), t) for k, t in upstream.clip_tensors.items())
    archive, state = open_clip(path), open_clip(upstream.clip)
    assert archive.recipes.keys() == state.recipes.keys()
    assert archive.unexpected == state.unexpected == ()
    for name, recipe in archive.recipes.items():
        assert torch.equal(recipe.read(), state.recipes[name].read())


def test_clip_in_hugging_face_layout(upstream: Any, tmp_path: Path) -> None:
    torch.manual_seed(7)
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    clip = CLIPModel(
        CLIPConfig(
            vision_config={**small, "num_attention_heads": 1, "image_size": 28, "patch_size": 14},
            text_config={**small, "num_attention_heads": 1, "vocab_size": 50, "eos_token_id": 2},
        )
    )
    clip.save_pretrained(tmp_path / "clip")
    tower = open_clip(tmp_path / "clip")
    assert (tower.layout, tower.unexpected) == ("Hugging Face", ())
    assert tower.config.hidden_act == "quick_gelu"
    expected = {k: t for k, t in clip.vision_model.state_dict().items() if "position_ids" not in k}
    assert tower.recipes.keys() == expected.keys()
    assert all(torch.equal(tower.recipes[k].read(), t) for k, t in expected.items())


def test_epcl_detector_keys_are_dropped_by_name(
    upstream: Any, epcl_file: Callable[..., Path]
) -> None:
    tower = open_epcl(upstream.epcl)
    assert (tower.layout, tower.unexpected) == ("hierarchical", ())
    # Gauss, three of the detector, its head; conv1, class, positions, proj and two of ln_post.
    assert tower.dropped == 5 + 6
    assert tower.config.sa_num_points == [16, 8]
    assert tower.config.sa_radius == [0.2, 0.4]
    assert tower.config.sa_num_samples == [64, 128]
    assert (tower.config.num_task_tokens, tower.config.num_attention_heads) == (19, 1)
    strange = epcl_file(change=lambda t: t.update(stranger=torch.zeros(1)))
    assert open_epcl(strange).unexpected == ("stranger",)
    wrapped = epcl_file(change=lambda t: {f"module.{k}": v for k, v in t.items()})
    assert open_epcl(wrapped).recipes.keys() == tower.recipes.keys()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"use_color": True}, "use_color is True, but the first layer has 3 inputs"),
        ({"preenc_npoints": None}, r"args.preenc_npoints is None; expected a int"),
        ({"vit_num_token": 32}, "preenc_npoints is 16, vit_num_token 32"),
        ({"pointnet_downsample": False}, "no tensor maps to pre_encoder.0.mlp.0.conv.weight"),
    ],
)
def test_epcl_arguments_that_contradict_the_weights(
    epcl_file: Callable[..., Path], args: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        open_epcl(epcl_file(**args))


SIZES = {
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32},
    "13b": {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40},
}
DELTA_BYTES = {"7b": 37_752_832 * 2, "13b": 57_676_800 * 2}
# LLaMA's known sizes and the row that Vicuna v0 added to both ends, CLIP's image tower, projector.
PARAMETERS = {
    "7b": 6_738_415_616 + 2 * 4096 + 303_179_776 + 4_198_400,
    "13b": 13_015_864_320 + 2 * 5120 + 303_179_776 + 5_248_000,
}


@pytest.mark.parametrize("size", ["7b", "13b"])
def test_the_full_key_lists_fit_the_model(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every key and shape of the real files, without their values: zeros that share one byte."""
    sizes = SIZES[size]
    llm = tmp_path / "vicuna-v0"
    write_full_llm(llm, sizes)
    hidden, layers = sizes["hidden_size"], sizes["num_hidden_layers"]
    delta = full_delta(hidden, layers)
    assert sum(t.numel() for t in delta.values()) * 2 == DELTA_BYTES[size]
    torch.save(delta, tmp_path / "pytorch_model.pt")
    torch.save(full_clip(), tmp_path / "ViT-L-14.pt")
    # All checks of keys and shapes come before the disk is asked, and it has no room.
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2e9, 1e9, 1e9))
    options = ConvertOptions(
        delta=tmp_path / "pytorch_model.pt",
        llm=llm,
        vision=tmp_path / "ViT-L-14.pt",
        out=tmp_path / "out",
        merge=True,
    )
    needed = (PARAMETERS[size] * 2 + (32 << 20)) / 1e9
    with pytest.raises(CheckpointError, match=f"are free; {needed:.2f} GB are required"):
        convert(options)
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]


def zeros(*shape: int) -> Tensor:
    return torch.zeros(1, dtype=torch.float16).expand(shape)


def write_full_llm(folder: Path, sizes: dict[str, int]) -> None:
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    tensors = {
        "model.embed_tokens.weight": zeros(32001, hidden),
        "model.norm.weight": zeros(hidden),
        "lm_head.weight": zeros(32001, hidden),
    }
    for layer in range(sizes["num_hidden_layers"]):
        stem = f"model.layers.{layer}."
        for name in "qkvo":
            tensors[f"{stem}self_attn.{name}_proj.weight"] = zeros(hidden, hidden)
        tensors[f"{stem}self_attn.rotary_emb.inv_freq"] = zeros(64)
        tensors[f"{stem}mlp.gate_proj.weight"] = zeros(inner, hidden)
        tensors[f"{stem}mlp.up_proj.weight"] = zeros(inner, hidden)
        tensors[f"{stem}mlp.down_proj.weight"] = zeros(hidden, inner)
        tensors[f"{stem}input_layernorm.weight"] = zeros(hidden)
        tensors[f"{stem}post_attention_layernorm.weight"] = zeros(hidden)
    folder.mkdir()
    torch.save(tensors, folder / "pytorch_model.bin")
    config = {"model_type": "llama", "vocab_size": 32001, "max_position_embeddings": 2048}
    config |= {"num_attention_heads": hidden // 128, "rms_norm_eps": 1e-6, **sizes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(MINIMAL_TOKENIZER)


MINIMAL_TOKENIZER = json.dumps(
    {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "BPE", "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2}, "merges": []},
    }
)


def full_delta(hidden: int, layers: int) -> dict[str, Tensor]:
    tensors = {}
    for layer in range(layers):
        for target in "qkvo":
            stem = f"llama_model.base_model.model.model.layers.{layer}.self_attn.{target}_proj."
            tensors[f"{stem}lora_A.default.weight"] = zeros(32, hidden)
            tensors[f"{stem}lora_B.default.weight"] = zeros(hidden, 32)
    return {**tensors, "llama_proj.weight": zeros(hidden, 1024), "llama_proj.bias": zeros(hidden)}


def full_clip() -> dict[str, Tensor]:
    """The image tower of ViT-L/14 at 224 pixels."""
    tensors = {
        "visual.class_embedding": zeros(1024),
        "visual.positional_embedding": zeros(257, 1024),
        "visual.proj": zeros(1024, 768),
        "visual.conv1.weight": zeros(1024, 3, 14, 14),
    }
    for name in ("ln_pre", "ln_post"):
        tensors[f"visual.{name}.weight"] = tensors[f"visual.{name}.bias"] = zeros(1024)
    for layer in range(24):
        stem = f"visual.transformer.resblocks.{layer}."
        tensors[f"{stem}attn.in_proj_weight"] = zeros(3072, 1024)
        tensors[f"{stem}attn.in_proj_bias"] = zeros(3072)
        for name, out, into in (
            ("attn.out_proj", 1024, 1024),
            ("mlp.c_fc", 4096, 1024),
            ("mlp.c_proj", 1024, 4096),
        ):
            tensors[f"{stem}{name}.weight"] = zeros(out, into)
            tensors[f"{stem}{name}.bias"] = zeros(out)
        for name in ("ln_1", "ln_2"):
            tensors[f"{stem}{name}.weight"] = tensors[f"{stem}{name}.bias"] = zeros(1024)
    return tensors
