"""The script that makes files of 7B's geometry, tried small; what it makes converts and loads."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lamm_model.checkpoint.convert import convert
from lamm_model.checkpoint.convert_inputs import ConvertOptions
from lamm_model.checkpoint.load import load_model

SCRIPT = Path(__file__).parents[3] / "scripts" / "make_random_7b.py"


def test_its_files_convert_and_load(
    upstream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    sizes = ["--layers", "1", "--hidden", "128", "--clip-layers", "1", "--clip-width", "64"]
    arguments = ["make_random_7b", "--out", str(made), "--tokenizer", str(upstream.llm), *sizes]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert caught.value.code == 0
    convert(
        ConvertOptions(
            delta=made / "pytorch_model.pt",
            llm=made / "vicuna-7b-v0",
            vision=made / "ViT-L-14.pt",
            out=tmp_path / "out",
            merge=True,
        )
    )
    model = load_model(tmp_path / "out")
    assert model.dtype == torch.float16
    assert model.config.num_image_tokens == 256
