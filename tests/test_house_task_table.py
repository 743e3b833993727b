"""docs/tasks.md has a row for every task of the registry, written by a script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "tasks.md"


def task_table(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/task_table.py", *arguments]
    environment = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


def test_the_table_in_the_document_is_the_registry_s() -> None:
    done = task_table("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_missing_row_is_told_and_written(tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf8")
    [row] = [line for line in text.splitlines() if line.startswith("| `keypoints` |")]
    copy = tmp_path / "tasks.md"
    copy.write_text(text.replace(f"{row}\n", ""), encoding="utf8")
    done = task_table("--check", str(copy))
    assert (done.returncode, done.stdout) == (
        1, f"{copy}: the table is not the registry's; write it with scripts/task_table.py\n",
    )  # fmt: skip
    assert task_table(str(copy)).returncode == 0
    assert copy.read_text(encoding="utf8") == text
