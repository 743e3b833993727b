"""Chooses an engine's device and precision, and predicts the size of a checkpoint there."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open

from service.engine.config import DeviceKind, Dtype, EngineConfigError


def choose_device(kind: DeviceKind) -> torch.device:
    """The device of that kind.

    Raises:
        EngineConfigError: CUDA is requested but not available.
    """
    if kind is DeviceKind.AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind is DeviceKind.CUDA and not torch.cuda.is_available():
        raise EngineConfigError(
            "device is cuda, but torch finds no CUDA device; check nvidia-smi for the "
            f"driver (torch {torch.__version__} is built for CUDA {torch.version.cuda}), "
            "or use --device cpu"
        )
    return torch.device(kind.value)


def choose_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """The precision of that name; `auto` depends on the device."""
    if dtype is Dtype.AUTO:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    chosen = {
        Dtype.FLOAT32: torch.float32,
        Dtype.BFLOAT16: torch.bfloat16,
        Dtype.FLOAT16: torch.float16,
    }
    return chosen[dtype]


def recover(device: torch.device) -> None:
    """Frees cached memory after a failure, if the device still works.

    Raises:
        RuntimeError: from torch; the device's context is broken and nothing will run on it.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def peak_bytes(device: torch.device, work: Callable[[], None]) -> int:
    """Bytes that `work` takes from a CUDA device at most, with what the allocator cannot reuse.

    They are free again afterwards.
    """
    recover(device)
    before = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_reserved(device) - before
    recover(device)
    return peak


def weights_bytes(base: Path, dtype: torch.dtype) -> int:
    """Bytes of a checkpoint's weights in `dtype`."""
    total = 0
    for file in base.glob("*.safetensors"):
        with safe_open(file, framework="pt") as stored:
            for key in stored.keys():  # noqa: SIM118 - not a mapping
                total += math.prod(stored.get_slice(key).get_shape()) * dtype.itemsize
    return total
