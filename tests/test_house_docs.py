"""The documents say what is there: links, paths, recipes and versions they name exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
# The journal is a log, and grows.
PAGES = tuple(path for path in DOCUMENTS[2:] if path.name != "journal.md")
FOLDERS = "benchmark|checkpoints|docker|docs|examples|lamm_model|scripts|service|training"


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_relative_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", document.read_text(encoding="utf8"))
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_files_named_in_backticks_exist(document: Path) -> None:
    pattern = rf"`((?:{FOLDERS})/[\w./-]+)`"
    named = set(re.findall(pattern, document.read_text(encoding="utf8")))
    # checkpoints/other stands for a directory of the reader's own.
    missing = sorted(name for name in named - {"checkpoints/other"} if not (ROOT / name).exists())
    assert missing == []


def test_readme_stays_short_and_its_recipes_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    assert len(readme.splitlines()) < 200
    recipes = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = "\n".join(re.findall(r"`[^`]+`|^make.*$", readme, re.MULTILINE))
    named = set(re.findall(r"\bmake (\w+)", commands))
    assert named
    assert named <= recipes


def test_files_of_the_readme_s_requests_ship() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    files = set(re.findall(r"\b(?:examples|training/recipes)/[\w-]+\.\w+", readme))
    assert files
    assert [name for name in sorted(files) if not (ROOT / name).is_file()] == []


def test_changelog_knows_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf8")


def test_decisions_are_numbered_without_gaps() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    numbers = [int(path.name[:4]) for path in records]
    assert numbers == list(range(1, len(numbers) + 1))
    index = (ROOT / "docs" / "decisions" / "index.md").read_text(encoding="utf8")
    assert [path.name for path in records if f"]({path.name})" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_pages_stay_short(page: Path) -> None:
    assert len(page.read_text(encoding="utf8").split()) <= 1500


def test_site_builds_strictly_and_loads_nothing_from_other_hosts(tmp_path: Path) -> None:
    """Broken links, broken anchors and pages missing from the navigation are errors."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "search" / "search_index.json").is_file()
    loads = r"<(?:script|img|iframe)[^>]+src=\"?http|<link(?![^>]+canonical)[^>]+href=\"?http"
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)
    assert [page.name for page in pages if re.search(loads, page.read_text("utf8"))] == []
