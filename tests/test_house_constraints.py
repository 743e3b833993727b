"""constraints.txt covers pyproject.toml, and is what an environment made from it holds."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _constraints(path: Path) -> Iterator[tuple[Requirement, Version]]:
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            constraint = Requirement(line)
            (pin,) = constraint.specifier
            assert pin.operator == "==", line
            yield constraint, Version(pin.version)


def _pins(path: Path) -> dict[str, Version]:
    """Name and version of each package, as this interpreter's markers choose them."""
    return {
        canonicalize_name(constraint.name): version
        for constraint, version in _constraints(path)
        if constraint.marker is None or constraint.marker.evaluate()
    }


def _required() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(line) for line in sum(extras, PROJECT["dependencies"])]


def _is_out_of_step(requirement: Requirement, pins: dict[str, Version]) -> bool:
    pin = pins.get(canonicalize_name(requirement.name))
    return pin is None or pin not in requirement.specifier


def test_each_dependency_has_a_version_that_pyproject_admits() -> None:
    pins = _pins(CONSTRAINTS)
    assert [str(line) for line in _required() if _is_out_of_step(line, pins)] == []


def test_what_dependencies_need_is_pinned_too() -> None:
    """Walks the metadata of what is installed; extras of an extra included."""
    pins, open_ones = _pins(CONSTRAINTS), _required()
    seen: set[str] = set()
    unpinned: list[str] = []
    while open_ones:
        requirement = open_ones.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        if _is_out_of_step(requirement, pins):
            unpinned.append(str(requirement))
        try:
            declared = distribution(requirement.name).requires or []
        except PackageNotFoundError:  # `judge` is not part of `make setup`
            continue
        for line in map(Requirement, declared):
            extras = requirement.extras or {""}
            if line.marker is None or any(line.marker.evaluate({"extra": e}) for e in extras):
                open_ones.append(line)
    assert len(seen) > len(_required())
    assert unpinned == []


def test_cuda_s_libraries_are_pinned_beside_the_cpu_wheel_s_torch() -> None:
    names = {constraint.name for constraint, _ in _constraints(CONSTRAINTS)}
    assert {"torch", "triton", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"} <= names


def test_the_environment_is_what_it_was_installed_from() -> None:
    installed_from = Path(sys.prefix) / "constraints.txt"
    if not installed_from.exists() or installed_from.read_text() != CONSTRAINTS.read_text():
        pytest.skip("this environment was not made from this constraints.txt")
    differing = {}
    for name, pin in _pins(CONSTRAINTS).items():
        try:
            version = Version(distribution(name).version)
        except PackageNotFoundError:  # of an extra that is not installed
            continue
        if Version(version.public) != pin:
            differing[name] = f"{version}, not {pin}"
    assert differing == {}


def test_the_image_installs_torch_in_the_pinned_version() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    versions = re.findall(r"torch==(\S+)", dockerfile)
    assert len(versions) == 2
    assert {Version(version) for version in versions} == {_pins(CONSTRAINTS)["torch"]}


def test_every_install_from_an_index_is_constrained() -> None:
    for path in (ROOT / "docker/Dockerfile", ROOT / "scripts/install.sh"):
        lines = path.read_text().replace("\\\n", " ").splitlines()
        installs = [line for line in lines if "pip install" in line and line[0] != "#"]
        assert installs, path
        for line in installs:
            assert "--constraint" in line or "--no-deps" in line, line
