"""Strict loading, and merging an adapter into its base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from lamm_model.checkpoint.adapters.injection import inject_lora, lora_config
from lamm_model.checkpoint.adapters.trained import save_adapter
from lamm_model.checkpoint.atomic import atomic_directory
from lamm_model.checkpoint.load import load_model
from lamm_model.checkpoint.merge import merge
from lamm_model.spec import CheckpointError, CheckpointSpec, weights_digest
from tests.lamm_model.checkpoint.attached import attach
from training.tiny import make_tiny_base

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("merge") / "base"
    make_tiny_base(directory)
    return directory


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random LoRA and projectors, as if trained."""
    torch.manual_seed(1)
    model = load_model(base, torch.float32)
    config = lora_config(8, 16, 0.1, TARGETS)
    inject_lora(model, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "projector" in name:
                parameter.normal_(std=0.05)
    directory = tmp_path_factory.mktemp("merge") / "adapter"
    directory.mkdir()
    digest = CheckpointSpec.from_pretrained(base).digest
    save_adapter(directory, model, config, {"base": {"digest": digest}})
    return directory


def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = [1, 9, 8, *[384] * 4, 7, *[385] * 8, 6, 5, 4]
    return {
        "input_ids": torch.tensor([ids]),
        "pixel_values": torch.randn(1, 3, 32, 32, generator=generator),
        "points": torch.rand(1, 64, 3, generator=generator),
    }


@torch.no_grad()
def test_merged_and_unmerged_logits_agree(base: Path, adapter: Path, tmp_path: Path) -> None:
    provenance = merge(base, adapter, tmp_path / "merged", torch.float32)
    merged = load_model(tmp_path / "merged")
    unmerged = attach(base, adapter)
    expected = unmerged(**inputs()).logits
    assert (merged(**inputs()).logits - expected).abs().max() < 1e-4
    assert (load_model(base)(**inputs()).logits - expected).abs().max() > 0.1
    spec = CheckpointSpec.from_pretrained(tmp_path / "merged")
    assert spec.digest == provenance["digest"] == weights_digest(tmp_path / "merged")
    assert provenance["base"]["digest"] == CheckpointSpec.from_pretrained(base).digest
    assert not list(tmp_path.glob(".*"))


# peft 0.21 reads a property that transformers 5.23 has renamed.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@torch.no_grad()
def test_peft_itself_reads_the_adapter(base: Path, adapter: Path) -> None:
    model = load_model(base, torch.float32)
    expected = attach(base, adapter).language_model(inputs()["input_ids"][:, :3]).logits
    wrapped = PeftModel.from_pretrained(model.language_model, str(adapter))
    assert torch.allclose(wrapped(inputs()["input_ids"][:, :3]).logits, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_stored_in_half_precision(
    base: Path, adapter: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    merge(base, adapter, tmp_path / "merged", dtype)
    weights = load_file(tmp_path / "merged" / "model.safetensors")
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {dtype}
    assert (tmp_path / "merged" / "model.safetensors").stat().st_mode & 0o044 == 0o044


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def test_an_adapter_of_another_base_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    make_tiny_base(tmp_path / "other", seed=5)
    with pytest.raises(CheckpointError, match=r"the base with digest \w+, but .*other has"):
        merge(tmp_path / "other", adapter, tmp_path / "merged", torch.float32)
    assert not (tmp_path / "merged").exists()


def test_keys_and_shapes_that_differ_are_all_listed(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    broken = copy(adapter, tmp_path / "broken")
    weights = load_file(broken / "adapter_model.safetensors")
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    weights[key] = weights[key][:, :-1].contiguous()
    del weights[key.replace("layers.0", "layers.1")]
    weights["stranger"] = torch.zeros(1)
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        merge(base, broken, tmp_path / "merged", torch.float32)
    text = str(caught.value)
    assert "1 missing from the adapter:\n  base_model.model.model.layers.1.self_attn.q_proj" in text
    assert "1 not in the base:\n  stranger" in text
    assert f"{key}: [8, 63] in the adapter, [8, 64] in the base" in text
    assert not list(tmp_path.glob("*merged*"))


@pytest.mark.parametrize(
    "name", ["projectors.safetensors", "provenance.json", "adapter_config.json"]
)
def test_a_missing_or_broken_file_is_named(
    base: Path, adapter: Path, tmp_path: Path, name: str
) -> None:
    broken = copy(adapter, tmp_path / "broken")
    (broken / name).write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match=rf"{name} (cannot be read|is not valid JSON)"):
        attach(base, broken)
    (broken / name).unlink()
    with pytest.raises(CheckpointError, match=str(broken)):
        attach(base, broken)


def test_a_weight_too_large_for_float16_is_refused(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    huge = copy(adapter, tmp_path / "huge")
    weights = load_file(huge / "projectors.safetensors")
    weights["image_projector.bias"][0] = 1e6
    save_file(weights, huge / "projectors.safetensors")
    with pytest.raises(
        CheckpointError, match=r"image_projector\.bias is not finite in torch.float16"
    ):
        merge(base, huge, tmp_path / "merged", torch.float16)
    assert not (tmp_path / "merged").exists()


def test_an_existing_directory_is_replaced_only_on_demand(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    target = tmp_path / "merged"
    target.mkdir()
    (target / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="merged already exists"):
        merge(base, adapter, target, torch.float32)
    assert (target / "mine.txt").exists()
    merge(base, adapter, target, torch.float32, replace=True)
    assert (target / "config.json").exists()
    assert not (target / "mine.txt").exists()


def test_a_directory_that_fails_half_way_never_appears(tmp_path: Path) -> None:
    (tmp_path / ".target.writing").mkdir()  # what a dead process left
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "target") as folder:
        (folder / "half").write_text(str(1 / 0))
    assert list(tmp_path.iterdir()) == []


def test_loading_lists_what_is_missing_unexpected_and_misshapen(base: Path, tmp_path: Path) -> None:
    broken = copy(base, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    del weights["image_projector.weight"]
    weights["stranger.weight"] = torch.zeros(2)
    weights["point_projector.bias"] = torch.zeros(7)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError) as caught:
        load_model(broken)
    text = str(caught.value)
    assert "1 missing:\n  image_projector.weight" in text
    assert "1 unexpected:\n  stranger.weight" in text
    assert "point_projector.bias: [7], expected [64]" in text


def test_a_broken_weights_file_is_told(base: Path, tmp_path: Path) -> None:
    broken = copy(base, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"rubbish!" * 4)
    with pytest.raises(CheckpointError, match="the weights cannot be read"):
        load_model(broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no \.safetensors file"):
        load_model(broken)
    (broken / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_model(broken)
    with pytest.raises(CheckpointError, match="directory not found"):
        load_model(tmp_path / "nowhere")


def test_stored_dtype_is_kept_unless_asked(base: Path, adapter: Path, tmp_path: Path) -> None:
    merge(base, adapter, tmp_path / "merged", torch.bfloat16)
    assert load_model(tmp_path / "merged").dtype == torch.bfloat16
    assert load_model(tmp_path / "merged", torch.float32).dtype == torch.float32
    assert json.loads((tmp_path / "merged" / "provenance.json").read_text())["dtype"] == "bfloat16"
