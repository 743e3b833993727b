"""Adapters: what `lamm model inspect` counts in one, and files that hold something else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lamm_model.checkpoint.adapters.injection import lora_config
from lamm_model.checkpoint.adapters.stored import load_adapter
from lamm_model.checkpoint.cli import model
from lamm_model.spec import CheckpointError
from tests.lamm_model.checkpoint.adapters.peft_adapters import change_config


def test_what_a_run_keeps_beside_its_adapter_is_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora_config(2, 4, 0.0, ["q_proj"]).save_pretrained(str(tmp_path))
    (tmp_path / "provenance.json").write_text(json.dumps({"base": {"digest": "1234"}}))
    save_file({"q_proj.lora_A.weight": torch.zeros(2, 8)}, tmp_path / "adapter_model.safetensors")
    save_file({"image_projector.bias": torch.zeros(8)}, tmp_path / "projectors.safetensors")
    save_file({"0.exp_avg": torch.zeros(2, 8)}, tmp_path / "optimizer.safetensors")
    generator = torch.zeros(5056, dtype=torch.uint8)
    save_file({"cpu": generator}, tmp_path / "generators.safetensors")
    assert model(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "weights     24 parameters" in said
    assert "dtype       F32\n" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target_modules": r".*\.q_proj"}, r"alpha 4, .*\.q_proj\n"),
        ({"use_dora": True}, "DoRA        to be merged; not served unmerged"),
        ({"bias": "all"}, "refused     .* has bias='all'"),
    ],
)
def test_what_keeps_an_adapter_from_use_is_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    lora_config(2, 4, 0.0, ["q_proj"]).save_pretrained(str(tmp_path))
    change_config(tmp_path, **change)
    (tmp_path / "provenance.json").write_text(json.dumps({"base": {"digest": "1234"}}))
    for file in ("adapter_model.safetensors", "projectors.safetensors"):
        save_file({"x": torch.zeros(1)}, tmp_path / file)
    assert model(["inspect", str(tmp_path)]) == 0
    assert re.search(said, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("provenance.json", [], "provenance.json holds a list; expected a JSON object"),
        ("provenance.json", {"base": "a name"}, "provenance.json does not name the base"),
        ("provenance.json", {}, "provenance.json does not name the base"),
        (
            "adapter_config.json",
            {"peft_type": "IA3", "target_modules": ["q_proj"], "r": 1, "lora_alpha": 1},
            "peft_type='IA3'; expected 'LORA'",
        ),
        ("adapter_config.json", {"r": 1}, "adapter_config.json has no peft_type"),
    ],
)
def test_a_file_that_holds_something_else(
    tmp_path: Path, name: str, value: object, message: str
) -> None:
    lora_config(2, 4, 0.0, ["q_proj"]).save_pretrained(str(tmp_path))
    (tmp_path / "provenance.json").write_text(json.dumps({"base": {"digest": "1234"}}))
    for file in ("adapter_model.safetensors", "projectors.safetensors"):
        save_file({"x": torch.zeros(1)}, tmp_path / file)
    load_adapter(tmp_path)
    (tmp_path / name).write_text(json.dumps(value))
    with pytest.raises(CheckpointError, match=message):
        load_adapter(tmp_path)
