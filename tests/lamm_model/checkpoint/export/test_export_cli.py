"""`lamm model export` on the command line, and the registry of formats."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lamm_model.checkpoint.cli import model
from lamm_model.checkpoint.export import formats, registry
from lamm_model.checkpoint.export.registry import FORMATS


def test_help_teaches_and_loads_no_torch() -> None:
    program = (
        "import sys\n"
        "from lamm_model.checkpoint.cli import model\n"
        "try:\n    model(['export', '--help'])\nfinally:\n"
        "    print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    for format in FORMATS.values():
        assert format.summary in done.stdout
        assert all(f"{target} " in done.stdout for target in format.targets)
    assert "vllm serve" in done.stdout


def test_exported_from_the_command_line(
    tiny: Path, tiny_adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "llava"
    arguments = ["export", str(tiny), "--format", "llava-hf", "--out", str(out)]
    options = ["--for", "vllm", "--dtype", "float16", "--adapter", str(tiny_adapter)]
    assert model([*arguments, *options]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{out}: llava-hf for vllm, float16, digest ")
    assert any(line.startswith("note: the point encoder") for line in told)
    assert "for vllm" in (out / "README.md").read_text()
    assert model(arguments) == 1
    assert "llava already exists" in capsys.readouterr().err
    assert model([*arguments, "--force"]) == 0
    assert "llava-hf for transformers, float32" in capsys.readouterr().out


def test_an_export_that_exists_is_kept_only_if_it_is_the_same(
    tiny: Path, tiny_adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "exports" / "llava"
    arguments = ["export", str(tiny), "--format", "llava-hf", "--out", str(out), "--keep"]
    for_vllm = [*arguments, "--for", "vllm"]
    assert model(for_vllm) == 0
    capsys.readouterr()
    config = out / "config.json"
    written = config.stat().st_ino
    assert model(for_vllm) == model([*for_vllm, "--force", "--dtype", "float32"]) == 0
    assert capsys.readouterr().out.count("of this checkpoint already; kept") == 2
    assert config.stat().st_ino == written
    # Another program, dtype or checkpoint: refused, or replaced where that is allowed.
    for other in (["--for", "transformers"], ["--for", "vllm", "--dtype", "float16"]):
        assert model([*arguments, *other]) == 1
        assert "llava already exists" in capsys.readouterr().err
    assert model([*for_vllm, "--force", "--dtype", "float16"]) == 0
    assert "llava-hf for vllm, float16, digest" in capsys.readouterr().out
    provenance = out / "provenance.json"
    provenance.write_text(provenance.read_text().replace('"checkpoint": "', '"checkpoint": "0'))
    assert model([*for_vllm, "--dtype", "float16"]) == 1
    assert model([*for_vllm, "--adapter", str(tiny_adapter)]) == 1
    assert "leave it out with --adapter" in capsys.readouterr().err


def test_a_missing_checkpoint_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = str(tmp_path / "nowhere")
    assert model(["export", where, "--format", "llava-hf", "--out", str(tmp_path / "out")]) == 1
    assert "nowhere: directory not found" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--format", "ggml"], ["--format", "llava-hf", "--for", "tgi"]])
def test_unknown_names_are_refused_with_the_known(
    wrong: list[str], tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        model(["export", str(tiny), "--out", str(tmp_path / "out"), *wrong])
    assert "llava-hf" in (error := capsys.readouterr().err) or "vllm" in error


def test_a_new_file_is_a_new_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "from lamm_model.checkpoint.export.base import ExportFormat\n"
        "FORMAT = ExportFormat(NAME, 'A summary.', {'a': 'b'}, lambda request: None)\n"
    )
    (tmp_path / "export_test_format.py").write_text(text.replace("NAME", "'new'"))
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"{formats.__name__}.export_test_format", raising=False)
    assert set(registry._discovered()) == {*FORMATS, "new"}
    monkeypatch.delitem(sys.modules, f"{formats.__name__}.export_test_format")
    (tmp_path / "export_test_format.py").write_text(text.replace("NAME", "'llava-hf'"))
    with pytest.raises(ValueError, match="format 'llava-hf', which exists already"):
        registry._discovered()
    monkeypatch.delitem(sys.modules, f"{formats.__name__}.export_test_format")
