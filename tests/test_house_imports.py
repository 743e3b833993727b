"""Imports: none needs torch where none may, every one is declared, none closes a circle."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

TORCH_FREE = (
    "lamm_model.conversation",
    "lamm_model.preprocessing",
    "lamm_model.spec",
    "lamm_model.tasks",
    "lamm_model.tokenizer",
    "service.app",
    "service.cli",
    "service.engine.kv.block_manager",
    "service.engine.echo_engine",
    "service.engine.scheduler",
    "benchmark.cli",
)


def test_import_loads_no_torch() -> None:
    program = (
        f"import sys; import {', '.join(TORCH_FREE)}; "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_benchmark_loads_no_web_framework() -> None:
    program = "import sys, benchmark.cli; print('fastapi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("lamm_model", "service", "training", "benchmark")
# A room's files may import what its extras install; what all rooms need is in the core.
EXTRAS = {
    "lamm_model": ("serve", "train", "las", "e57"),
    "service": ("serve", "otel", "grammar", "ray", "vllm"),
    "training": ("train",),
    "benchmark": ("bench",),
}
# Packages that torch's CUDA builds bring, and the only modules that import them.
WITH_CUDA = {"triton": "lamm_model.encoders.sampling_kernel"}
# Started as a process of their own, in an environment that has the model.
APART = ("benchmark/baselines",)


@pytest.fixture(scope="module")
def distributions() -> Mapping[str, list[str]]:
    """Top-level package -> the distributions that bring it."""
    return packages_distributions()


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_imports_is_declared(room: str, distributions: Mapping[str, list[str]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in EXTRAS[room]:
        lines += project["optional-dependencies"][extra]
    declared = {_distribution(re.split(r"[<>=!~\[ ]", line, maxsplit=1)[0]) for line in lines}
    undeclared: dict[str, list[str]] = {}
    for path in sorted((ROOT / room).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for package in _imported(path) - set(sys.stdlib_module_names) - set(ROOMS):
            if name.removesuffix(".py").replace("/", ".") == WITH_CUDA.get(package):
                continue
            offered_by = set(map(_distribution, distributions.get(package, [package])))
            if not offered_by & declared and not name.startswith(APART):
                undeclared.setdefault(package, []).append(name)
    assert undeclared == {}


def _distribution(name: str) -> str:
    return name.lower().replace("_", "-")


def _imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """Every import of the rooms: in functions, under TYPE_CHECKING and under `__main__` too."""
    return grimp.build_graph(*ROOMS, cache_dir=None)


def test_no_modules_import_one_another_in_a_circle(imports: grimp.ImportGraph) -> None:
    circles = {
        frozenset(circle)
        for module in imports.modules
        for imported in imports.find_modules_directly_imported_by(module)
        if (circle := imports.find_shortest_chain(imported, module))
    }
    assert circles == set()


def test_no_folders_import_one_another_in_a_circle(imports: grimp.ImportGraph) -> None:
    # Per package, imports without which its modules and folders would be in no circle.
    closing = {
        package: breakers
        for package in imports.modules
        if imports.find_children(package) and (breakers := imports.nominate_cycle_breakers(package))
    }
    assert closing == {}


def test_every_module_can_be_imported() -> None:
    for room in ROOMS:
        for module in pkgutil.walk_packages([str(ROOT / room)], f"{room}."):
            needed = [package for package, user in WITH_CUDA.items() if user == module.name]
            if all(importlib.util.find_spec(package) for package in needed):
                importlib.import_module(module.name)
