"""`lamm engine adapter`: the directory that vLLM loads, the flags, and what is refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from safetensors import safe_open

from service.engine.vllm import adapters
from service.engine_cli import engine
from tests.service.engine.adapters import make_adapter


@pytest.fixture
def adapter(checkpoint: Path, tmp_path: Path) -> Path:
    return make_adapter(checkpoint, tmp_path / "red", seed=1, r=4)


def test_it_writes_what_vllm_loads_and_prints_the_flags(
    checkpoint: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "for vllm"
    assert engine(["adapter", str(adapter), "--base", str(checkpoint), "--out", str(out)]) == 0
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 4)
    with safe_open(out / "adapter_model.safetensors", framework="pt") as stored:
        keys = set(stored.keys())
    assert "base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.weight" in keys
    assert not any("projector" in key for key in keys)
    written, flags, then = capsys.readouterr().out.splitlines()
    assert written == f"{out}: LoRA of rank 4 for vLLM"
    assert shlex.split(flags.removeprefix("add to vllm serve: ")) == [
        "--enable-lora", "--max-loras", "2", "--max-lora-rank", "8",
        "--lora-modules", f"red={out}",
    ]  # fmt: skip
    assert then.endswith(f"--checkpoint red={adapter}@{checkpoint}")
    assert {path.name for path in tmp_path.iterdir()} == {"red", "for vllm"}


def test_a_directory_is_replaced_only_by_force(
    checkpoint: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept").touch()
    command = ["adapter", str(adapter), "--base", str(checkpoint), "--out", str(out)]
    assert engine(command) == 1
    assert capsys.readouterr().err == (
        f"lamm engine adapter: {out} already exists; --force replaces it\n"
    )
    assert (out / "kept").exists()
    assert engine([*command, "--force", "--name", "blue"]) == 0
    assert f"blue={out}" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip


def test_what_cannot_be_served_is_refused_and_nothing_is_written(
    checkpoint: Path,
    adapter: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    command = ["--base", str(checkpoint), "--out", str(out)]
    assert engine(["adapter", str(tmp_path / "nowhere"), *command]) == 1
    assert "nowhere" in capsys.readouterr().err
    monkeypatch.setattr(adapters, "RANKS", (1, 2))
    assert engine(["adapter", str(adapter), *command]) == 1
    assert "the LoRA has rank 4; vLLM serves ranks up to 2" in capsys.readouterr().err
    assert not out.exists()
