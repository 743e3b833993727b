"""Settings, and what of them stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from lamm_model.spec import CheckpointError
from service.app import create_app
from service.config.settings import Settings


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
