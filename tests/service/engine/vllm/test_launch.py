"""What our own vLLM is started with: the export, adapters as LLaVA's LoRA, sizes and settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from service.engine.config import EngineConfig, EngineConfigError
from service.engine.loading.model_source import ModelSource
from service.engine.vllm import launch
from service.engine.vllm.launch import Launch
from service.engine.vllm.options import VllmOptions
from tests.service.engine.adapters import ATTENTION, make_adapter, source
from tests.service.engine.vllm_server import export


@pytest.fixture
def options(tmp_path: Path) -> VllmOptions:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "vllm").touch()
    return VllmOptions(environment=tmp_path / "env", arguments=("--swap-space", "0"))


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Requests to export a checkpoint, in place of the exports."""
    requests: list[Any] = []

    def write(request: Any) -> None:
        requests.append(request)
        request.out.mkdir()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(launch, "write_llava", write)
    return requests


def prepared(models: list[ModelSource], options: VllmOptions, **config: Any) -> Launch:
    return Launch.prepare(models, EngineConfig(**{"device": "cpu", **config}), options, 128)


def test_the_base_is_exported_once(
    checkpoint: Path, options: VllmOptions, exports: list[Any]
) -> None:
    models = [ModelSource.from_pretrained(checkpoint, "tiny")]
    for _ in range(2):
        one = prepared(models, options, kv_cache_bytes=1 << 20, num_threads=3)
        line = " ".join(one.process.command)
        assert f"serve {exports[0].out} --served-model-name tiny --uds {one.socket}" in line
        assert "--kv-cache-memory-bytes 1048576" in line
        assert "--max-model-len 128" in line
        assert line.endswith("--swap-space 0")
        assert "--enable-lora" not in line
        ends = json.loads((one.directory / "generation" / "generation_config.json").read_text())
        assert ends == {"eos_token_id": [2]}
        one.clean_up()
        assert not one.directory.exists()
    assert len(exports) == 1


def test_adapters_become_lora_of_one_rank_and_scale(
    checkpoint: Path, options: VllmOptions, exports: list[Any], tmp_path: Path
) -> None:
    small = make_adapter(checkpoint, tmp_path / "small", seed=1, r=4, alpha=8, targets=ATTENTION)
    large = make_adapter(
        checkpoint, tmp_path / "large", seed=2, r=12, alpha=6, targets=("up_proj",)
    )
    models = [source("small", checkpoint, small), source("large", checkpoint, large)]
    one = prepared(models, options)
    try:
        line = " ".join(one.process.command)
        first, second = one.directory / "adapter-0", one.directory / "adapter-1"
        assert f"--lora-modules small={first} large={second}" in line
        assert "--max-loras 3 --max-lora-rank 16" in line
        assert "--served-model-name lamm-base" in line
        config = json.loads((first / "adapter_config.json").read_text())
        assert (config["r"], config["lora_alpha"]) == (4, 4)
        with (
            safe_open(first / "adapter_model.safetensors", "pt") as written,
            safe_open(small / "adapter_model.safetensors", "pt") as own,
        ):
            name = "model.layers.1.self_attn.q_proj.lora_B.weight"
            theirs = written.get_tensor(f"base_model.model.language_model.{name}")
            assert (theirs == 2 * own.get_tensor(f"base_model.model.{name}")).all()
    finally:
        one.clean_up()


def test_no_environment_is_told_with_the_remedy(checkpoint: Path, tmp_path: Path) -> None:
    models = [ModelSource.from_pretrained(checkpoint)]
    with pytest.raises(EngineConfigError, match="lamm engine install vllm --dir"):
        prepared(models, VllmOptions(environment=tmp_path / "none"))


def test_the_checkpoint_of_the_tests_with_a_real_vllm_exports(
    vllm_checkpoint: Path, tmp_path: Path
) -> None:
    # Those tests run on request only, so that their start would break unseen.
    written = export(vllm_checkpoint, tmp_path / "model")
    assert (written / "config.json").is_file()
