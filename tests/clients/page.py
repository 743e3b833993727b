"""The programs of docs/clients.md, run as they are written there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.clients.content import ROOT

_URL = "http://127.0.0.1:8000"
_PROGRAM = re.compile(r"^\*\*(.+?)\*\*.*?\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PAGE = (ROOT / "docs" / "clients.md").read_text("utf8").partition("## Use\n")[2]
_NODE = ROOT / "tests" / "clients" / "node"
PROGRAMS = {name: code for name, _, code in _PROGRAM.findall(_PAGE)}


def printed(service: str, names: Sequence[str]) -> str:
    """The last line that Python prints for the programs, one after another."""
    [setup] = re.findall(r"\A.*?^```python\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
    code = "\n".join([setup, *(PROGRAMS[name] for name in names)])
    return _last_line([sys.executable, "-c", code.replace(_URL, service)], ROOT)


def printed_by_node(service: str, name: str) -> str:
    """The last line that node prints; modules are found from the folder that it runs in."""
    code = PROGRAMS[name].replace(_URL, service).replace('"examples/', f'"{ROOT}/examples/')
    node = Path(sys.prefix, "bin", "node")
    return _last_line([str(node), "--input-type=module", "--eval", code], _NODE)


def _last_line(command: list[str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
