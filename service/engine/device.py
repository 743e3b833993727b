"""Which device and precision an engine takes, and what a checkpoint will weigh there.

Called by the model runner.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import safe_open

from service.engine.config import DeviceKind, Dtype, EngineConfigError


def choose_device(kind: DeviceKind) -> torch.device:
    """The device meant.

    Raises:
        EngineConfigError: CUDA is asked for, and there is none.
    """
    if kind is DeviceKind.AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind is DeviceKind.CUDA and not torch.cuda.is_available():
        raise EngineConfigError(
            "device is cuda, but torch finds no CUDA device; nvidia-smi tells whether the driver "
            f"sees one, torch {torch.__version__} is built for CUDA {torch.version.cuda}; "
            "--device cpu serves without"
        )
    return torch.device(kind.value)


def choose_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """The precision meant; `auto` depends on the device."""
    if dtype is Dtype.AUTO:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    chosen = {
        Dtype.FLOAT32: torch.float32,
        Dtype.BFLOAT16: torch.bfloat16,
        Dtype.FLOAT16: torch.float16,
    }
    return chosen[dtype]


def recover(device: torch.device) -> None:
    """After work that failed: gives cached memory back, if the device still works.

    Raises:
        RuntimeError: torch's own; the device's context is broken, and nothing will run on it.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def weights_bytes(base: Path, dtype: torch.dtype) -> int:
    """Bytes that a checkpoint's weights will take in `dtype`."""
    total = 0
    for file in base.glob("*.safetensors"):
        with safe_open(file, framework="pt") as stored:
            for key in stored.keys():  # noqa: SIM118 - not a mapping
                total += math.prod(stored.get_slice(key).get_shape()) * dtype.itemsize
    return total
