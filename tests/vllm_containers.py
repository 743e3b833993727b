"""Compose's profile `vllm` and the Kubernetes overlay, as tests read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
KUBERNETES = ROOT / "docker" / "kubernetes"


def compose() -> dict[str, Any]:
    """The services, as they are when no variable is set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "docker-compose.yml").read_text())
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


def _merged(base: Any, patch: Any) -> Any:
    """Kustomize's strategic merge: lists of named things are merged by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return base | {key: _merged(base.get(key), value) for key, value in patch.items()}
    if isinstance(base, list) and isinstance(patch, list):
        key = "mountPath" if "mountPath" in base[0] else "name"
        named = {one[key]: one for one in base}
        return list(
            (named | {one[key]: _merged(named.get(one[key]), one) for one in patch}).values()
        )
    return deepcopy(patch)


def deployment(folder: str, patch: str) -> dict[str, Any]:
    """The base's deployment with an overlay's patch."""
    files = (KUBERNETES / "base" / "deployment.yaml", KUBERNETES / folder / patch)
    merged: dict[str, Any] = _merged(*(yaml.safe_load(file.read_text()) for file in files))
    return merged


def pod() -> dict[str, Any]:
    """The overlay's pod."""
    found: dict[str, Any] = deployment("vllm", "vllm.yaml")["spec"]["template"]["spec"]
    return found


def container(name: str) -> dict[str, Any]:
    """One of its containers or initial containers."""
    found = pod()
    (one,) = (c for c in (*found["initContainers"], *found["containers"]) if c["name"] == name)
    assert isinstance(one, dict)
    return one


def arguments(place: str, name: str) -> list[str]:
    """What a container's entrypoint gets."""
    found = compose()[name]["command"] if place == "compose" else container(name)["args"]
    assert isinstance(found, list)
    return found


def environment(place: str, name: str) -> dict[str, str]:
    """A container's variables."""
    if place == "kubernetes":
        return {entry["name"]: entry["value"] for entry in container(name)["env"]}
    # Compose reads an empty variable as text, YAML as null.
    return {key: value or "" for key, value in compose()[name]["environment"].items()}


def service(place: str) -> dict[str, str]:
    """The variables of the service itself."""
    return environment(place, "lamm-vllm" if place == "compose" else "lamm")


def options(words: Sequence[str]) -> dict[str, str]:
    """The arguments by option; one that takes no value has an empty one."""
    found: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            name = word
            found[name] = ""
        elif found:
            found[name] = word
    return found
