"""Runs a file of `tests/clients/node`, once for all of its cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from tests.clients.content import ROOT

FOLDER = ROOT / "tests" / "clients" / "node"
_NODE = Path(sys.prefix, "bin", "node")


def names(file: str) -> list[str]:
    """The cases of a file."""
    listed: list[str] = json.loads(_output(file, "--list"))
    return listed


@cache
def outcomes(file: str, url: str) -> dict[str, dict[str, Any]]:
    """`outcome` (`works`, `refused` or `failed`) and `answer` of each case."""
    rows = [json.loads(line) for line in _output(file, url=url).splitlines()]
    return {row["name"]: row for row in rows}


def version(package: str) -> str:
    """The installed version of a package of npm's."""
    manifest = json.loads((FOLDER / "node_modules" / package / "package.json").read_text("utf8"))
    return str(manifest["version"])


def _output(file: str, *arguments: str, url: str = "") -> str:
    done = subprocess.run(
        [_NODE, file, *arguments], cwd=FOLDER, env={**os.environ, "LAMM_URL": url},
        stdout=subprocess.PIPE, text=True, timeout=100, check=True,
    )  # fmt: skip
    return done.stdout
