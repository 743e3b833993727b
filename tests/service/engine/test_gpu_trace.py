"""The CUDA path runs on fake CUDA tensors: no GPU would refuse it, and it answers as a CPU does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[3]


def _cuda_python() -> str | None:
    """A Python whose torch is built for CUDA, if there is one."""
    if torch.version.cuda is not None:
        return sys.executable
    environment = os.environ.get("LAMM_CUDA_TORCH_ENV")
    return None if environment is None else str(Path(environment) / "bin" / "python")


PYTHON = _cuda_python()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    PYTHON is None,
    reason="torch is not built for CUDA; set LAMM_CUDA_TORCH_ENV to an environment whose torch is",
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_gpu_would_refuse_the_engine(dtype: str) -> None:
    assert PYTHON is not None
    # A GPU that is there stays unseen.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    traced = subprocess.run(
        [PYTHON, "-m", "tests.service.engine.gpu_trace", "--dtype", dtype],
        capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert traced.returncode == 0, traced.stdout + traced.stderr
    assert "refused: 0; other answers than on a CPU: 0; limits exceeded: 0" in traced.stdout
    # Every kind of step ran.
    for stage in ("decode step", "encode cloud", "load prefix", "readout: grammar"):
        assert f"\n{stage} " in traced.stdout
    # Clouds were sampled by the kernel, which every CUDA build of torch for Linux can run.
    assert "kernels of Triton: {'_sample': " in traced.stdout
