"""The registry of export formats: every module of `formats` that defines `FORMAT`.

Importing it loads no torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from lamm_model.checkpoint.export import formats
from lamm_model.checkpoint.export.base import ExportFormat


def _discovered() -> Mapping[str, ExportFormat]:
    found: dict[str, ExportFormat] = {}
    for module in pkgutil.iter_modules(formats.__path__, f"{formats.__name__}."):
        format: ExportFormat = importlib.import_module(module.name).FORMAT
        if format.name in found:
            raise ValueError(f"{module.name} defines format {format.name!r}, which exists already")
        found[format.name] = format
    return MappingProxyType(found)


FORMATS: Mapping[str, ExportFormat] = _discovered()
