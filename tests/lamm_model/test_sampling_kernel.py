"""The Triton kernel samples what plain torch does, without a GPU; and what happens without it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from lamm_model.encoders import point_ops

ROOT = Path(__file__).resolve().parents[2]


def _triton_python() -> str | None:
    """A Python that has Triton, if there is one."""
    if importlib.util.find_spec("triton") is not None:
        return sys.executable
    environment = os.environ.get("LAMM_CUDA_TORCH_ENV")
    return None if environment is None else str(Path(environment) / "bin" / "python")


PYTHON = _triton_python()


@pytest.mark.slow
@pytest.mark.skipif(
    PYTHON is None,
    reason="Triton is not installed; set LAMM_CUDA_TORCH_ENV to an environment whose torch is "
    "built for CUDA",
)
def test_the_kernel_equals_plain_torch_and_compiles() -> None:
    assert PYTHON is not None
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("TRITON_INTERPRET", None)
    checked = subprocess.run(
        [PYTHON, "-m", "tests.lamm_model.sampling_kernel_check"],
        capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("equal: ") == 16
    for capability in (80, 90, 100):
        assert f"compiled for {capability}: " in checked.stdout
    assert "Triton cannot compile for cpu, so clouds are sampled by slower" in checked.stderr
    assert "usable on a CPU: False" in checked.stdout


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_without_triton_all_is_plain_torch(device: str) -> None:
    hidden = {"triton": None, "lamm_model.encoders.sampling_kernel": None}
    with mock.patch.dict(sys.modules, hidden):
        assert point_ops._triton_kernel(torch.device(device)) is None
