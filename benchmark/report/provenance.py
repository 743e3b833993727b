"""Facts about client and server for the provenance of a run."""

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
    """Version, commit and machine of this client."""
    return {
        "lamm": _version(),
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
    }


async def server_facts(http: httpx.AsyncClient, model: str) -> dict[str, Any]:
    """The server's answers at `/version` and, for the model, at `/v1/models`.

    Other servers may have neither; missing facts are left out.
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
    """Writes `server_facts` to the directory of a run, for `lamm bench report`."""
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
    """The commit of the source tree; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(  # noqa: S603 - a fixed command
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
