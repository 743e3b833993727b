"""The registry of vision tasks: every task that a module of this package lists in its `TASKS`.

Importing it loads no torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from lamm_model.conversation import Modality
from lamm_model.tasks.base import AnyTask, ParseResult, ParseStatus, Task
from lamm_model.tasks.metrics import Estimate
from lamm_model.tasks.sample import Sample

__all__ = ["TASKS", "AnyTask", "Estimate", "ParseResult", "ParseStatus", "Sample", "Task"]


def _discovered() -> Mapping[str, AnyTask]:
    """All tasks by name: those about pictures first, in alphabetical order."""
    found: dict[str, AnyTask] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        listed: tuple[AnyTask, ...] = getattr(importlib.import_module(module.name), "TASKS", ())
        for task in listed:
            if task.name in found:
                raise ValueError(f"{module.name} defines task {task.name!r}, which exists already")
            found[task.name] = task
    modalities = list(Modality)
    ordered = sorted(found.values(), key=lambda task: (modalities.index(task.modality), task.name))
    return MappingProxyType({task.name: task for task in ordered})


TASKS: Mapping[str, AnyTask] = _discovered()
