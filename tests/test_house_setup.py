"""`make setup`'s scripts, with stand-ins for what would change the machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VENV_SCRIPT = str(ROOT / "scripts" / "python_venv.sh")


class Machine:
    """A folder of stand-in commands that come first in PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls"
        self.stand_in("sudo", 'shift; exec "$@"')

    def stand_in(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{body}\n')
        path.chmod(0o755)

    def run(
        self, *command: str, cwd: Path = ROOT, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=cwd,
            env={"PATH": f"{self.folder}:/usr/bin:/bin", **variables},
            capture_output=True,
            text=True,
        )

    def calls(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_said_if_python_has_venv(machine: Machine) -> None:
    machine.stand_in("python3", "exit 0")
    machine.stand_in("apt-get", "exit 0")
    done = machine.run(VENV_SCRIPT, cwd=machine.folder, PYTHON="python3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "apt-get" not in machine.calls()


def test_a_missing_venv_is_installed_if_that_is_allowed(machine: Machine) -> None:
    installed = machine.folder / "installed"
    machine.stand_in("python3", f"test -e {installed}")
    machine.stand_in("apt-get", f'[ "$1" != install ] || touch {installed}')
    done = machine.run(VENV_SCRIPT, cwd=machine.folder, PYTHON="python3")
    assert done.returncode == 0
    assert "apt-get install -q -y --no-install-recommends python3-venv" in machine.calls()


def test_the_apt_get_line_is_printed_if_it_is_not(machine: Machine) -> None:
    machine.stand_in("python3", "exit 1")
    machine.stand_in("apt-get", "echo 'E: not permitted' >&2; exit 100")
    machine.stand_in("sudo", "exit 1")
    done = machine.run(VENV_SCRIPT, cwd=machine.folder, PYTHON="python3")
    assert done.returncode == 1
    assert "apt-get install -y python3-venv" in done.stderr


def test_an_old_python_is_refused_with_the_remedy(machine: Machine, tmp_path: Path) -> None:
    machine.stand_in("old-python", "exit 1")
    done = machine.run("scripts/install.sh", str(tmp_path / "venv"), "serve", PYTHON="old-python")
    assert done.returncode == 1
    assert "apt-get install python3 python3-venv" in done.stderr


def test_pip_s_failure_shows_the_end_of_its_log(machine: Machine, tmp_path: Path) -> None:
    binaries = tmp_path / "venv" / "bin"
    binaries.mkdir(parents=True)
    python = binaries / "python"
    python.write_text('#!/bin/sh\n[ "$3" = --version ] && exit 0\necho "ERROR: no disk"; exit 1\n')
    python.chmod(0o755)
    done = machine.run("scripts/install.sh", str(tmp_path / "venv"), "serve")
    assert done.returncode == 1
    assert "ERROR: no disk" in done.stderr


def test_clients_are_installed_again_if_their_list_changes(machine: Machine) -> None:
    """The stand-in for Python makes environments whose own Python is a stand-in too."""
    made = 'mkdir -p "$4/bin" && printf "#!/bin/sh\\nexit 0\\n" >"$4/bin/python"'
    machine.stand_in("python3", f'[ "$2" != venv ] || {{ {made} && chmod +x "$4/bin/python"; }}')
    machine.stand_in("npm", "mkdir -p tests/clients/node/node_modules")
    lists = machine.folder / "tests/clients/requirements"
    lists.mkdir(parents=True)
    (lists.parent / "node").mkdir()
    lists.joinpath("newest.txt").write_text("openai==3.0.0\n")
    lists.joinpath("openai-2.txt").write_text("openai==2.0.0\n")
    lists.with_name("node").joinpath("package-lock.json").write_text("{}")

    def install() -> list[str]:
        machine.log.unlink(missing_ok=True)
        script = str(ROOT / "scripts" / "client_env.sh")
        done = machine.run(script, "envs", cwd=machine.folder, LAMM_PYTHON="python3")
        assert done.returncode == 0, done.stderr
        return machine.calls().splitlines()

    first = install()
    assert [call.rpartition("/")[2] for call in first[:2]] == ["newest", "openai-2"]
    assert first[2].startswith("npm ci --prefix tests/clients/node")
    assert install() == []
    lists.joinpath("openai-2.txt").write_text("openai==2.0.1\n")
    assert [call.rpartition("/")[2] for call in install()] == ["openai-2"]


def test_make_alone_lists_the_recipes(machine: Machine) -> None:
    listed = machine.run("make").stdout
    for recipe in (
        "setup",
        "serve",
        "test",
        "lint",
        "types",
        "arch",
        "clients",
        "check",
        "bench",
        "audit",
        "sbom",
    ):
        assert f"make {recipe} " in listed


@pytest.mark.parametrize(
    ("said", "status", "told"),
    [
        ("Found 2 known vulnerabilities in 1 package", 1, "Found 2"),
        ("ConnectionError: api.osv.dev", 2, "No audit"),
    ],
)
def test_an_audit_without_an_answer_is_no_clean_audit(
    machine: Machine, said: str, status: int, told: str
) -> None:
    machine.stand_in("pip-audit", f"echo '{said}' >&2; exit 1")
    done = machine.run("scripts/audit.sh", str(machine.folder))
    assert (done.returncode, told in done.stderr) == (status, True)


def test_the_bill_of_materials_names_what_is_installed(tmp_path: Path) -> None:
    """The command itself checks the file against CycloneDX's schema."""
    written = tmp_path / "sbom.cdx.json"
    done = subprocess.run(
        [str(ROOT / "scripts/sbom.sh"), str(Path(sys.executable).parent), str(written)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bill = json.loads(written.read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "lamm")
    versions = {part["name"]: part["version"] for part in bill["components"]}
    assert versions["starlette"] == version("starlette")


def test_a_planted_key_is_found(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("scripts/secrets.sh", ".secrets.baseline"):
        shutil.copy(ROOT / name, tmp_path / name)
    tmp_path.joinpath("notes.md").write_text("-----BEGIN RSA " + "PRIVATE KEY-----\n")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["/usr/bin/env", "git", *command], cwd=tmp_path, check=True)
    done = subprocess.run(
        [str(scripts / "secrets.sh"), str(Path(sys.executable).parent)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "notes.md:1" in done.stdout
