"""Converted checkpoints give what a plain re-computation with upstream's own names gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from lamm_model.checkpoint.convert import convert
from lamm_model.checkpoint.convert_inputs import ConvertOptions
from lamm_model.checkpoint.load import load_model
from lamm_model.checkpoint.merge import merge
from lamm_model.conversation import Modality, Turn
from lamm_model.processing import LammProcessor
from lamm_model.spec import CheckpointSpec, weights_digest
from tests.lamm_model.checkpoint.attached import attach

TURNS = [
    Turn("What is it?", "A red ball."),
    Turn("Is it large?", "No, it is small."),
    Turn("Where is it?"),
]


@pytest.fixture(scope="module")
def image_checkpoint(upstream: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "image"
    convert(
        ConvertOptions(
            delta=upstream.image_delta,
            llm=upstream.llm,
            vision=upstream.clip,
            out=out,
            merge=True,
            dtype=torch.float32,
        )
    )
    return out


@pytest.fixture(scope="module")
def point_checkpoint(upstream: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unmerged, three shards and more."""
    out = tmp_path_factory.mktemp("converted") / "points"
    convert(
        ConvertOptions(
            delta=upstream.image_delta,
            llm=upstream.llm,
            points=upstream.epcl,
            out=out,
            dtype=torch.float32,
            max_shard_bytes=4_000_000,
        )
    )
    return out


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 3])
def test_image_logits(upstream: Any, image_checkpoint: Path, count: int) -> None:
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(3))
    features = plain_clip(upstream.clip_tensors, pixels)
    ids, split = prompt(image_checkpoint, Modality.IMAGE, count)
    expected = plain_logits(upstream, ids, split, features)
    model = load_model(image_checkpoint)
    got = model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits
    assert model.dtype == torch.float32
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max().clamp(min=1)
    assert expected.std() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 3])
def test_cloud_logits(upstream: Any, point_checkpoint: Path, count: int) -> None:
    cloud = torch.rand(1, 60, 3, generator=torch.Generator().manual_seed(4)) * 0.8
    features = plain_epcl(upstream.epcl_tensors, cloud[0], [(16, 0.2, 64), (8, 0.4, 128)])
    ids, split = prompt(point_checkpoint / "base", Modality.POINT_CLOUD, count)
    expected = plain_logits(upstream, ids, split, features)
    model = attach(point_checkpoint / "base", point_checkpoint / "adapter")
    got = model(input_ids=torch.tensor([ids]), points=cloud).logits
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max().clamp(min=1)


def test_unmerged_then_merged_is_what_merges_at_once(
    upstream: Any, point_checkpoint: Path, tmp_path: Path
) -> None:
    merge(
        point_checkpoint / "base",
        point_checkpoint / "adapter",
        tmp_path / "two-steps",
        torch.float32,
        max_shard_bytes=4_000_000,
    )
    options = ConvertOptions(
        delta=upstream.image_delta,
        llm=upstream.llm,
        points=upstream.epcl,
        out=tmp_path / "one-step",
        merge=True,
        dtype=torch.float32,
    )
    convert(options)
    two, one = read_all(tmp_path / "two-steps"), read_all(tmp_path / "one-step")
    assert two.keys() == one.keys()
    assert all(torch.equal(two[name], one[name]) for name in one)
    assert len(list((tmp_path / "two-steps").glob("*.safetensors"))) > 2
    load_model(tmp_path / "two-steps")


def test_what_the_directory_says(upstream: Any, image_checkpoint: Path) -> None:
    spec = CheckpointSpec.from_pretrained(image_checkpoint)
    assert spec.digest == weights_digest(image_checkpoint)
    # The wrong ids of Vicuna's config.json (0 and 1) are not taken over.
    assert (spec.bos_token_id, spec.eos_token_ids) == (1, (2,))
    assert spec.image is not None
    assert spec.image.num_tokens == 4
    assert spec.points is None
    assert spec.image_token_id == 32001
    provenance = spec.provenance
    assert provenance["delta"]["lora"] == {
        "r": 4,
        "alpha": 32,
        "targets": ["q_proj", "k_proj", "v_proj", "o_proj"],
    }
    assert "CC BY-NC 4.0" in provenance["licence"]
    assert len(provenance["base"]["language_model"]["digest"]) == 64
    assert str(upstream.root) not in (image_checkpoint / "provenance.json").read_text()
    assert not list(image_checkpoint.parent.glob(".*"))


def test_the_flat_pre_encoder(upstream: Any, tmp_path: Path, flat_epcl: Path) -> None:
    tensors = torch.load(flat_epcl, weights_only=False)["model"]  # noqa: TID251 - written above
    convert(
        ConvertOptions(
            delta=upstream.image_delta,
            llm=upstream.llm,
            points=flat_epcl,
            out=tmp_path / "out",
            merge=True,
            dtype=torch.float32,
        )
    )
    cloud = torch.rand(1, 60, 3, generator=torch.Generator().manual_seed(5)) * 0.8
    with torch.no_grad():
        got = load_model(tmp_path / "out").encode_point_features(cloud)
        expected = plain_epcl(tensors, cloud[0], [(16, 0.3, 64)])
    assert got.shape == (1, 16, 64)
    assert torch.allclose(got[0], expected, atol=1e-4)


def prompt(directory: Path, modality: Modality, count: int) -> tuple[list[int], tuple[int, int]]:
    """Ids of a conversation, and where its placeholders begin and end."""
    processor = LammProcessor.from_pretrained(directory)
    turns = [Turn(TURNS[0].human, TURNS[0].assistant, (modality,)), *TURNS[1:]][:count]
    turns[-1] = Turn(turns[-1].human, None, turns[-1].media)
    ids, _ = processor.encode_conversation(turns)
    token, length = processor.spec.placeholder(modality)
    start = ids.index(token)
    assert ids[start : start + length] == [token] * length
    return ids, (start, start + length)


def plain_logits(upstream: Any, ids: list[int], split: tuple[int, int], features: Tensor) -> Tensor:
    """The base as it is on disk; every projection adds B(A(x)) of the delta, unmerged."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(upstream.llm.glob("*.safetensors")):
        tensors.update(load_file(file))
    config = LlamaConfig.from_pretrained(
        upstream.llm, bos_token_id=1, eos_token_id=2, pad_token_id=2
    )
    llama = LlamaForCausalLM(config).float().eval()
    llama.load_state_dict({k: t for k, t in tensors.items() if "inv_freq" not in k})
    delta = {k: t.float() for k, t in upstream.delta_tensors.items()}
    for index, layer in enumerate(llama.model.layers):
        for target in ("q_proj", "k_proj", "v_proj", "o_proj"):
            stem = f"llama_model.base_model.model.model.layers.{index}.self_attn.{target}.lora_"
            add_lora(
                getattr(layer.self_attn, target),
                delta[f"{stem}A.default.weight"],
                delta[f"{stem}B.default.weight"],
            )
    start, stop = split
    embed = llama.get_input_embeddings()
    parts = [
        embed(torch.tensor(ids[:start])),
        features @ delta["llama_proj.weight"].T + delta["llama_proj.bias"],
        embed(torch.tensor(ids[stop:])),
    ]
    return llama(inputs_embeds=torch.cat(parts)[None]).logits  # type: ignore[no-any-return]


def add_lora(module: nn.Module, a: Tensor, b: Tensor) -> None:
    # The toys have r 4: alpha 32 makes the scale 8.
    module.register_forward_hook(lambda _, args, out: out + args[0] @ a.T @ b.T * (32 / a.shape[0]))


def plain_clip(weights: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
    """OpenAI's image tower up to the last block, without CLS, ln_post and proj."""
    patches = F.conv2d(pixels, weights["visual.conv1.weight"], stride=14).flatten(2)
    tokens = patches[0].T
    tokens = torch.cat([weights["visual.class_embedding"][None], tokens])
    tokens = norm(weights, "visual.ln_pre", tokens + weights["visual.positional_embedding"])
    return blocks(weights, "visual.transformer.resblocks.", tokens)[1:]


def plain_epcl(
    weights: Mapping[str, Tensor], cloud: Tensor, layers: list[tuple[int, float, int]]
) -> Tensor:
    xyz, features = cloud.numpy(), None
    for number, (points, radius, samples) in enumerate(layers):
        prefix = f"pre_encoder.layers.{number}." if len(layers) > 1 else "pre_encoder."
        xyz, features = abstraction(
            weights, f"{prefix}mlp_module.", xyz, features, points, radius, samples
        )
    assert features is not None
    position = torch.from_numpy(xyz) @ weights["encoder.pos_embed.0.weight"].T
    position = F.gelu(position + weights["encoder.pos_embed.0.bias"])
    position = position @ weights["encoder.pos_embed.2.weight"].T
    tokens = features + position + weights["encoder.pos_embed.2.bias"]
    tokens = norm(weights, "encoder.clip_vit.ln_pre", tokens)
    task = weights["te_encoder.embedding.weight"]
    task = F.gelu(
        task @ weights["te_encoder.trans.0.weight"].T + weights["te_encoder.trans.0.bias"]
    )
    task = task @ weights["te_encoder.trans.2.weight"].T + weights["te_encoder.trans.2.bias"]
    hidden = blocks(weights, "encoder.clip_vit.transformer.resblocks.", torch.cat([tokens, task]))
    return hidden[: len(tokens)]


def abstraction(
    weights: Mapping[str, Tensor],
    prefix: str,
    xyz: np.ndarray,
    features: Tensor | None,
    points: int,
    radius: float,
    samples: int,
) -> tuple[np.ndarray, Tensor]:
    chosen = [0]
    nearest = np.full(len(xyz), 1e10)
    usable = (xyz**2).sum(1) > 1e-3
    while len(chosen) < points:
        nearest = np.minimum(nearest, ((xyz - xyz[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(np.where(usable, nearest, -1).argmax()))
    groups = []
    for index in chosen:
        hits = np.flatnonzero(((xyz - xyz[index]) ** 2).sum(1) < radius * radius)[:samples]
        hits = np.concatenate([hits, np.full(samples - len(hits), hits[0])])
        group = torch.from_numpy((xyz[hits] - xyz[index]) / radius).float()
        groups.append(group if features is None else torch.cat([group, features[hits]], dim=1))
    x = torch.stack(groups).permute(2, 0, 1)[None]  # [1, C, M, K]
    depth = 0
    while f"{prefix}layer{depth}.conv.weight" in weights:
        stem = f"{prefix}layer{depth}."
        x = F.conv2d(x, weights[f"{stem}conv.weight"])
        x = F.batch_norm(
            x,
            weights[f"{stem}bn.bn.running_mean"],
            weights[f"{stem}bn.bn.running_var"],
            weights[f"{stem}bn.bn.weight"],
            weights[f"{stem}bn.bn.bias"],
        ).relu()
        depth += 1
    return xyz[chosen], x.amax(-1)[0].T


def blocks(weights: Mapping[str, Tensor], prefix: str, tokens: Tensor) -> Tensor:
    layer = 0
    while f"{prefix}{layer}.ln_1.weight" in weights:
        stem = f"{prefix}{layer}."
        attention = nn.MultiheadAttention(tokens.shape[1], tokens.shape[1] // 64, batch_first=True)
        attention.load_state_dict(
            {
                name: weights[f"{stem}attn.{name}"]
                for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
            }
        )
        x = norm(weights, f"{stem}ln_1", tokens)
        tokens = tokens + attention(x[None], x[None], x[None], need_weights=False)[0][0]
        x = norm(weights, f"{stem}ln_2", tokens)
        x = x @ weights[f"{stem}mlp.c_fc.weight"].T + weights[f"{stem}mlp.c_fc.bias"]
        x = x * torch.sigmoid(1.702 * x)
        tokens = (
            tokens + x @ weights[f"{stem}mlp.c_proj.weight"].T + weights[f"{stem}mlp.c_proj.bias"]
        )
        layer += 1
    return tokens


def norm(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def read_all(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(file))
    return tensors


@pytest.fixture(scope="module")
def flat_epcl(
    upstream: Any, tmp_path_factory: pytest.TempPathFactory, epcl_file: Callable[..., Path]
) -> Path:
    return epcl_file(flat=True, pointnet_downsample=False)
