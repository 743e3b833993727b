"""Options that `lamm model merge` ignores, and those that it refuses by name and value."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lamm_model.checkpoint.adapters.options import read_options
from lamm_model.checkpoint.merge import merge
from lamm_model.spec import CheckpointError, weights_digest
from tests.lamm_model.checkpoint.adapters.options import IGNORED, REFUSED
from tests.lamm_model.checkpoint.adapters.peft_adapters import change_config, write_with_peft
from training.tiny import make_tiny_base

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("options") / "base"
    make_tiny_base(directory)
    return directory


@pytest.fixture(scope="module")
def plain(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("options") / "plain"
    return write_with_peft(base, directory, target_modules=["q_proj", "v_proj"])


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    shutil.copytree(plain, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("values", IGNORED, ids=",".join)
def test_what_is_off_or_about_training_is_ignored(copy: Path, values: dict[str, Any]) -> None:
    before = read_options(copy)
    after = read_options(change_config(copy, **values))
    assert (after.r, after.lora_alpha) == (before.r, before.lora_alpha)
    assert not after.use_rslora


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_not_merged_is_told(
    base: Path, copy: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        merge(base, change_config(copy, **values), tmp_path / "out", torch.float32)
    assert not (tmp_path / "out").exists()


def test_a_pickle_counts_in_the_digest(copy: Path) -> None:
    before = weights_digest(copy)
    torch.save(load_file(copy / "adapter_model.safetensors"), copy / "adapter_model.bin")
    assert weights_digest(copy) != before
