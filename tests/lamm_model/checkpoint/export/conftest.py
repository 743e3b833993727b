"""A tiny LAMM for pictures and clouds, an adapter for it, and exports in one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lamm_model.checkpoint.adapters.injection import inject_lora, lora_config
from lamm_model.checkpoint.adapters.trained import save_adapter
from lamm_model.checkpoint.export.base import ExportRequest, ExportResult
from lamm_model.checkpoint.export.registry import FORMATS
from lamm_model.checkpoint.load import load_model
from lamm_model.config import LammConfig
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.processing import write_processor_config
from lamm_model.spec import CheckpointSpec
from tests.service.engine.harness import NUM_POINTS, build_config, build_tokenizer

Export = Callable[..., ExportResult]


@pytest.fixture(scope="session")
def export() -> Export:
    """`export(checkpoint, out, target="vllm", ...)` as `llava-hf`."""

    def run(
        checkpoint: Path, out: Path, target: str = "transformers", **given: Any
    ) -> ExportResult:
        return FORMATS["llava-hf"].write(ExportRequest(checkpoint, out, target, **given))

    return run


def write_tiny(
    folder: Path, change: Callable[[LammConfig], LammConfig] = lambda config: config
) -> None:
    """A random LAMM of the configuration that `change` makes of the usual one."""
    tokenizer = build_tokenizer()
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(7)
    config = change(build_config(tokenizer.get_vocab_size()))
    LammForConditionalGeneration(config).eval().save_pretrained(folder)  # type: ignore[no-untyped-call]
    write_processor_config(folder, config, num_points=NUM_POINTS, system_prompts={"normal": "Hi."})


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hidden size 64, encoders of width 32, float32."""
    folder = tmp_path_factory.mktemp("tiny") / "lamm"
    write_tiny(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random LoRA and projectors, as if trained."""
    torch.manual_seed(1)
    model = load_model(tiny, torch.float32)
    config = lora_config(4, 8, 0.0, ("q_proj", "v_proj"))
    inject_lora(model, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "projector" in name:
                parameter.normal_(std=0.2)
    folder = tmp_path_factory.mktemp("tiny") / "adapter"
    folder.mkdir()
    base = {"digest": CheckpointSpec.from_pretrained(tiny).digest}
    save_adapter(folder, model, config, {"base": base, "licence": "of the adapter"})
    return folder
