"""Settings, and what of them stops the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lamm_model.spec import CheckpointError
from service.app import create_app
from service.config.settings import Settings
from service.startup.configs import engine_config, input_limits


def test_keys_that_are_configured_but_missing(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="no key was found"):
        create_app(Settings(checkpoint=checkpoint, engine="echo", api_keys=" , "))


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMM_MAX_NUM_SEQS", "3")
    settings = Settings()
    assert settings.max_num_seqs == 3
    assert "secret" not in repr(Settings(api_keys="secret"))
    with pytest.raises(ValidationError):
        settings.max_num_seqs = 4  # type: ignore[misc]


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        create_app(Settings(checkpoint=tmp_path))


@pytest.mark.parametrize(
    ("settings", "has_gpu", "sizes"),
    [
        ({}, False, (32, 512)),
        ({}, True, (256, 2048)),
        ({"device": "cpu"}, True, (32, 512)),
        ({"device": "cuda"}, False, (256, 2048)),
        ({"max_num_seqs": 4}, True, (4, 2048)),
        ({"engine": "echo"}, True, (32, 512)),
    ],
)
def test_batch_sizes_follow_the_device(
    settings: dict[str, Any], has_gpu: bool, sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    config = engine_config(Settings(**settings))
    assert (config.max_num_seqs, config.max_num_batched_tokens) == sizes
    assert input_limits(Settings(**settings), 2048).sequences.max_num_seqs == sizes[0]
