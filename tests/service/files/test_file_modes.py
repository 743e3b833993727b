"""What the service writes is readable by its own user alone, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.config.settings import Settings

LINE = (
    b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": '
    b'{"model": "tiny-lamm", "messages": [{"role": "user", "content": "Hi"}]}}\n'
)


@pytest.fixture(params=[0o000, 0o022])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield int(request.param)
    os.umask(before)


def modes(root: Path) -> dict[str, str]:
    found = (root, *root.rglob("*"))
    return {
        str(path.relative_to(root.parent)): oct(stat.S_IMODE(path.stat().st_mode)) for path in found
    }


async def test_files_and_directories_are_private(
    settings: Settings, tmp_path: Path, umask: int
) -> None:
    root = tmp_path / "deep" / "files"
    app = create_app(Settings(**(settings.model_dump() | {"files_dir": root})))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        await app.state.services.lifecycle.wait_loaded()
        form = {"files": {"file": ("in.jsonl", LINE)}, "data": {"purpose": "batch"}}
        file = (await client.post("/v1/files", **form)).json()  # type: ignore[arg-type]
        wanted = {
            "input_file_id": file["id"], "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }  # fmt: skip
        batch = (await client.post("/v1/batches", json=wanted)).json()
        while batch["status"] != "completed":
            batch = (await client.get(f"/v1/batches/{batch['id']}")).json()
        found = modes(root)
    names = {Path(name).name for name in found}
    assert {"batches.sqlite3", "batches.sqlite3-wal", "batches.sqlite3-shm"} <= names
    assert {f"{file['id']}.json", f"{batch['output_file_id']}.json"} <= names
    for name, mode in found.items():
        is_directory = (root.parent / name).is_dir() or name == "files"
        assert mode == ("0o700" if is_directory else "0o600"), (name, oct(umask))
