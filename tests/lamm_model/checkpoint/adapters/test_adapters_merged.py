"""Merged weights are those of PEFT's own merge, for every option that `lamm model merge` takes."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lamm_model.checkpoint.cli import model
from lamm_model.checkpoint.merge import merge
from lamm_model.spec import CheckpointError
from tests.lamm_model.checkpoint.adapters.peft_adapters import (
    LAYER,
    change_config,
    merged_by_peft,
    write_with_peft,
)
from training.tiny import make_tiny_base

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
# peft 0.21 reads a property that transformers 5.23 has renamed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to True"),
    pytest.mark.filterwarnings("ignore:Found missing adapter keys"),
]

TAKEN: Mapping[str, dict[str, Any]] = {
    "plain": {"target_modules": ATTENTION},
    "rslora": {"target_modules": ATTENTION, "use_rslora": True, "lora_alpha": 5},
    "pattern of targets": {"target_modules": r".*self_attn\.(q|k|v|o)_proj"},
    "all linear": {"target_modules": "all-linear"},
    "full names": {"target_modules": ["model.layers.1.mlp.up_proj", "layers.0.self_attn.q_proj"]},
    "a target that is not there": {"target_modules": ["q_proj", "query_key_value"]},
    "the head": {"target_modules": ["q_proj", "lm_head"]},
    "some layers": {"target_modules": ATTENTION, "layers_to_transform": [1]},
    "one layer by its list": {
        "target_modules": ["down_proj"], "layers_to_transform": 0, "layers_pattern": "layers",
    },
    "exclusions": {"target_modules": ATTENTION, "exclude_modules": ["layers.0.self_attn.q_proj"]},
    "pattern of exclusions": {"target_modules": "all-linear", "exclude_modules": r".*\.1\.mlp.*"},
    "ranks and alphas": {
        "target_modules": ["q_proj", "v_proj"],
        "rank_pattern": {"layers.1.self_attn.q_proj": 2, "v_proj": 5},
        "alpha_pattern": {r"layers\.0\.self_attn\..*": 3, "q_proj": 9, "^model.layers.1.*": 7},
        "use_rslora": True,
    },
    "fan-in": {"target_modules": ATTENTION, "fan_in_fan_out": True},
    "dora": {"target_modules": ATTENTION, "use_dora": True},
    "dora of one layer": {
        "target_modules": ["down_proj"], "use_dora": True, "layers_to_transform": 1,
    },
    "dora with rslora and ranks": {
        "target_modules": "all-linear", "use_dora": True, "use_rslora": True,
        "rank_pattern": {"o_proj": 7},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("merged") / "base"
    make_tiny_base(directory)
    return directory


@pytest.fixture(scope="module")
def plain(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("merged") / "plain"
    return write_with_peft(base, directory, target_modules=ATTENTION)


@pytest.fixture
def variant(plain: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the plain adapter with other values of options."""

    def copy(**values: Any) -> Path:
        shutil.copytree(plain, tmp_path / "variant")
        return change_config(tmp_path / "variant", **values)

    return copy


def merged(base: Path, adapter: Path, out: Path) -> dict[str, Tensor]:
    merge(base, adapter, out, torch.float32)
    weights = load_file(out / "model.safetensors")
    return {
        name.removeprefix("language_model."): tensor
        for name, tensor in weights.items()
        if name.startswith("language_model.")
    }


def difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """The largest one of any element."""
    assert found.keys() == expected.keys()
    return max(float((found[n] - expected[n]).abs().max()) for n in found)


@pytest.mark.parametrize("name", TAKEN)
def test_every_option_is_merged_as_peft_does(base: Path, tmp_path: Path, name: str) -> None:
    adapter = write_with_peft(base, tmp_path / "adapter", **TAKEN[name])
    expected = merged_by_peft(base, adapter)
    assert difference(merged(base, adapter, tmp_path / "out"), expected) <= 1e-6
    original = load_file(base / "model.safetensors")
    changed = [
        n for n, t in expected.items() if not torch.equal(t, original[f"language_model.{n}"])
    ]
    assert len(changed) == sum(
        name.endswith(".lora_A.weight") for name in load_file(adapter / "adapter_model.safetensors")
    )


def test_dora_without_magnitudes_starts_at_the_base_and_is_noted(
    base: Path, variant: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = variant(use_dora=True)
    expected = merged_by_peft(base, adapter)
    out = tmp_path / "out"
    arguments = ["--base", str(base), "--adapter", str(adapter), "--out", str(out)]
    assert model(["merge", *arguments, "--dtype", "float32"]) == 0
    assert "warning: the adapter has use_dora=True but no lora_magnitude" in capsys.readouterr().err
    weights = load_file(out / "model.safetensors")
    found = {n: weights[f"language_model.{n}"] for n in expected}
    assert difference(found, expected) <= 1e-6
    assert json.loads((out / "provenance.json").read_text())["notes"]


def test_magnitudes_of_some_layers_or_without_dora_are_refused(base: Path, tmp_path: Path) -> None:
    adapter = write_with_peft(base, tmp_path / "a", target_modules=["q_proj"], use_dora=True)
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    del tensors[f"{LAYER}.lora_magnitude_vector"]
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"1 missing .*\n.*layers\.0.*magnitude_vector"):
        merge(base, adapter, tmp_path / "out", torch.float32)
    change_config(adapter, use_dora=False)
    with pytest.raises(CheckpointError, match=r"1 not in the base:\n.*layers\.1.*magnitude_vector"):
        merge(base, adapter, tmp_path / "out", torch.float32)


def _whole_model(name: str) -> str:
    return name.replace("base_model.model.", "base_model.model.language_model.")


@pytest.mark.parametrize(
    "spelling",
    [
        lambda name: name.replace(".weight", ".default.weight"),
        lambda name: name.removeprefix("base_model.model."),
        lambda name: f"llama_model.{name}".replace(".weight", ".default.weight"),
        lambda name: f"module.{name}",
        lambda name: name.replace(".weight", ".my_adapter.weight"),
        _whole_model,
    ],
    ids=[
        "old peft",
        "no prefix",
        "LAMM's delta",
        "deepspeed",
        "another adapter's name",
        "the whole model",
    ],
)
def test_other_spellings_of_the_names(
    base: Path, plain: Path, tmp_path: Path, spelling: Callable[[str], str]
) -> None:
    expected = merged_by_peft(base, plain)
    adapter = tmp_path / "adapter"
    shutil.copytree(plain, adapter)
    file = adapter / "adapter_model.safetensors"
    save_file({spelling(name): t for name, t in load_file(file).items()}, file)
    assert difference(merged(base, adapter, tmp_path / "out"), expected) <= 1e-6


@pytest.mark.parametrize("ending", [".default", ".weight", ".default.weight"])
def test_spellings_of_magnitudes(base: Path, tmp_path: Path, ending: str) -> None:
    adapter = write_with_peft(base, tmp_path / "a", target_modules=["v_proj"], use_dora=True)
    expected = merged_by_peft(base, adapter)
    file = adapter / "adapter_model.safetensors"
    given = load_file(file)
    save_file({n + ending if n.endswith("vector") else n: t for n, t in given.items()}, file)
    if ending != ".weight":
        with pytest.raises(CheckpointError, match="tensors of several adapters"):
            merge(base, adapter, tmp_path / "out", torch.float32)
        old = {n.replace(".weight", ".default.weight"): t for n, t in given.items()}
        save_file({n + ending if n.endswith("vector") else n: t for n, t in old.items()}, file)
    assert difference(merged(base, adapter, tmp_path / "out"), expected) <= 1e-6


def test_patterns_see_the_names_of_the_model_that_was_wrapped(
    base: Path, plain: Path, variant: Callable[..., Path], tmp_path: Path
) -> None:
    adapter = variant(target_modules=r"language_model\.model\.layers\.\d\.self_attn\.[qkvo]_proj")
    with pytest.raises(CheckpointError, match="match no linear layer"):
        merge(base, adapter, tmp_path / "out", torch.float32)
    file = adapter / "adapter_model.safetensors"
    save_file({_whole_model(name): t for name, t in load_file(file).items()}, file)
    found = merged(base, adapter, tmp_path / "out")
    assert difference(found, merged_by_peft(base, plain)) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_point_dtype(
    base: Path, variant: Callable[..., Path], tmp_path: Path, dtype: torch.dtype
) -> None:
    file = variant() / "adapter_model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(file).items()}, file)
    expected = merged_by_peft(base, file.parent)
    assert difference(merged(base, file.parent, tmp_path / "out"), expected) <= 1e-6


def test_a_pickle_of_older_peft_is_read(
    base: Path, plain: Path, variant: Callable[..., Path], tmp_path: Path
) -> None:
    adapter = variant()
    file = adapter / "adapter_model.safetensors"
    torch.save(load_file(file), adapter / "adapter_model.bin")
    file.unlink()
    expected = merged_by_peft(base, plain)
    assert difference(merged(base, adapter, tmp_path / "out"), expected) <= 1e-6


class _Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_Harmful(), r"adapter_model\.safetensors is missing, and adapter_model\.bin.*refused"),
        ([1], r"adapter_model\.safetensors is missing.*holds a list; expected named tensors"),
        ({"a": 1}, r"adapter_model\.safetensors is missing.*not tensors: a"),
    ],
)
def test_another_pickle_is_refused(
    base: Path,
    variant: Callable[..., Path],
    tmp_path: Path,
    content: Any,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    adapter = variant()
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(content, adapter / "adapter_model.bin")
    with pytest.raises(CheckpointError, match=message):
        merge(base, adapter, tmp_path / "out", torch.float32)
    assert "run" not in capsys.readouterr().out


def test_a_renamed_safetensors_file_is_told(
    base: Path, variant: Callable[..., Path], tmp_path: Path
) -> None:
    adapter = variant()
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(CheckpointError, match=r"safetensors is missing; adapter_model\.bin looks"):
        merge(base, adapter, tmp_path / "out", torch.float32)


@pytest.mark.parametrize(
    "name",
    [
        "adapter_config.json", "adapter_model.safetensors", "projectors.safetensors",
        "provenance.json",
    ],
)  # fmt: skip
def test_a_missing_file_is_named(
    base: Path, variant: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    adapter = variant()
    (adapter / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)} is missing; is this an adapter"):
        merge(base, adapter, tmp_path / "out", torch.float32)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_tensors_that_are_not_finite_are_named(
    base: Path, variant: Callable[..., Path], tmp_path: Path, value: float
) -> None:
    file = variant() / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors[f"{LAYER}.lora_B.weight"][0, 0] = value
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"not finite.*\n.*q_proj\.lora_B\.weight \(float32"):
        merge(base, file.parent, tmp_path / "out", torch.float32)


def test_tensors_of_two_adapters_and_of_integers_are_refused(
    base: Path, variant: Callable[..., Path], tmp_path: Path
) -> None:
    file = variant() / "adapter_model.safetensors"
    tensors = load_file(file)
    first = f"{LAYER}.lora_A.weight"
    other = first.replace(".weight", ".other.weight")
    save_file({other if n == first else n: t for n, t in tensors.items()}, file)
    with pytest.raises(CheckpointError, match=r"tensors of several adapters: '', 'other'"):
        merge(base, file.parent, tmp_path / "out", torch.float32)
    save_file(tensors | {other: tensors[first].clone()}, file)
    with pytest.raises(CheckpointError, match=r"two tensors of one layer: .* and .*"):
        merge(base, file.parent, tmp_path / "out", torch.float32)
    save_file(tensors | {first: tensors[first].to(torch.int8)}, file)
    with pytest.raises(CheckpointError, match=r"lora_A\.weight \(int8\)"):
        merge(base, file.parent, tmp_path / "out", torch.float32)


def test_tensors_that_deepspeed_left_empty_are_explained(
    base: Path, variant: Callable[..., Path], tmp_path: Path
) -> None:
    file = variant() / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {f"{LAYER}.lora_A.weight": torch.zeros(0)}, file)
    with pytest.raises(CheckpointError, match=r"\[0\] in the adapter[\s\S]*DeepSpeed ZeRO-3"):
        merge(base, file.parent, tmp_path / "out", torch.float32)


def test_embeddings_that_peft_saves_beside_lora_are_explained(
    base: Path, variant: Callable[..., Path], tmp_path: Path
) -> None:
    file = variant() / "adapter_model.safetensors"
    whole = {
        f"base_model.model.{n}.weight": torch.zeros(2) for n in ("lm_head", "model.embed_tokens")
    }
    save_file(load_file(file) | whole, file)
    with pytest.raises(
        CheckpointError, match=r"2 whole layers, not updates:[\s\S]*save_embedding_layers=False"
    ):
        merge(base, file.parent, tmp_path / "out", torch.float32)


def test_a_merge_needs_every_projector(
    base: Path, variant: Callable[..., Path], tmp_path: Path
) -> None:
    file = variant() / "projectors.safetensors"
    tensors = load_file(file)
    save_file({n: t for n, t in tensors.items() if n.startswith("image")}, file)
    with pytest.raises(
        CheckpointError, match=r"missing from the adapter:\n  point_projector\.bias"
    ):
        merge(base, file.parent, tmp_path / "out", torch.float32)


def test_a_provenance_without_a_digest_is_told(
    base: Path, variant: Callable[..., Path], tmp_path: Path
) -> None:
    adapter = variant()
    (adapter / "provenance.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"provenance\.json does not name the base"):
        merge(base, adapter, tmp_path / "out", torch.float32)
