"""All dialects: every one that a module of this package lists in its `DIALECTS`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from lamm_model.tasks import dialects
from lamm_model.tasks.dialects.base import Dialect


def _discovered() -> Mapping[str, Dialect]:
    found: dict[str, Dialect] = {}
    for module in pkgutil.iter_modules(dialects.__path__, f"{dialects.__name__}."):
        if module.name == __name__:
            continue
        listed: tuple[Dialect, ...] = getattr(importlib.import_module(module.name), "DIALECTS", ())
        for one in listed:
            if one.name in found:
                raise ValueError(
                    f"{module.name} defines dialect {one.name!r}, which exists already"
                )
            found[one.name] = one
    return MappingProxyType(dict(sorted(found.items())))


DIALECTS: Mapping[str, Dialect] = _discovered()
