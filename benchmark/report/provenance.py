"""Who measured and who answered: facts for a run's provenance.

Called by `report` (the client's own) and by `lamm bench quality` (the server's words on itself).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx

from benchmark.answers import write_whole
from benchmark.report.files import SERVER_FILE

_SECONDS = 10.0


def client_facts() -> dict[str, Any]:
    """Version and commit of this client, and the machine that it runs on."""
    return {
        "lamm": _version(),
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
    }


async def server_facts(http: httpx.AsyncClient, model: str) -> dict[str, Any]:
    """What the server says of itself at `/version` and of the model at `/v1/models`.

    A server of another kind may have neither: what it does not tell is left out.
    """
    facts: dict[str, Any] = {}
    told = await _get(http, "/version")
    if isinstance(told, dict):
        facts["server"] = told
    listed = await _get(http, "/v1/models")
    cards = listed.get("data") if isinstance(listed, dict) else None
    for card in cards if isinstance(cards, list) else []:
        if isinstance(card, dict) and card.get("id") == model:
            facts["model_card"] = card
    return facts


async def keep_server_facts(http: httpx.AsyncClient, model: str, out: Path) -> None:
    """Writes `server_facts` to a run's folder, where `lamm bench report` finds them."""
    facts = await server_facts(http, model)
    write_whole(out / SERVER_FILE, json.dumps(facts, indent=2) + "\n")


async def _get(http: httpx.AsyncClient, path: str) -> Any:
    try:
        response = await http.get(path, timeout=_SECONDS)
        return response.json() if response.is_success else None
    except (httpx.HTTPError, ValueError):
        return None


def _version() -> str:
    try:
        return version("lamm")
    except PackageNotFoundError:
        return "unknown"


def _commit() -> str | None:
    """The commit of the source tree that this runs from; None where it is installed elsewhere."""
    root = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(  # noqa: S603 - a fixed command on the program's own folder
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
