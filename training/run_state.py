"""Checkpoints to resume from: an adapter directory plus optimizer, sampler and random generators.

Nothing is pickled: tensors are stored as safetensors, the rest as JSON.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

_STATE, _OPTIMIZER, _GENERATORS = "state.json", "optimizer.safetensors", "generators.safetensors"
_NAME = re.compile(r"step-(\d+)")


def seed_everything(seed: int) -> None:
    """Seeds the global generators of Python, numpy and torch (CUDA included)."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)


def save_state(folder: Path, optimizer: torch.optim.Optimizer, values: Mapping[str, Any]) -> None:
    """Adds the training state to an adapter directory; `values` are JSON values."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": torch.as_tensor(value).detach().cpu().contiguous()
        for index, parameter in state["state"].items()
        for name, value in parameter.items()
    }
    save_file(tensors, folder / _OPTIMIZER)
    save_file(_generators(), folder / _GENERATORS)
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    document = {
        "values": dict(values),
        "param_groups": state["param_groups"],
        "python": [version, list(internal), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, cached],
    }
    (folder / _STATE).write_text(json.dumps(document), encoding="utf8")


def load_state(folder: Path, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restores the state that `save_state` wrote and returns its `values`."""
    document = json.loads((folder / _STATE).read_text(encoding="utf8"))
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in load_file(folder / _OPTIMIZER).items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": document["param_groups"]})
    version, internal, gauss = document["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = document["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    generators = load_file(folder / _GENERATORS)
    torch.set_rng_state(generators["cpu"])
    if torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            # A state saved with fewer devices leaves the generators of the others as they are.
            if (generator := generators.get(f"cuda{device}")) is not None:
                torch.cuda.set_rng_state(generator, device)
    values: dict[str, Any] = document["values"]
    return values


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in a folder, oldest first."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found)


def keep_last(folder: Path, count: int) -> None:
    """Removes all but the newest `count` checkpoints."""
    for path in checkpoints(folder)[:-count]:
        shutil.rmtree(path)


def _generators() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda{index}"] = state
    return states
