"""A server in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def serving(
    checkpoint: Path, *flags: str, engine: str = "echo"
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server and its address."""
    command = [
        sys.executable, "-m", "service.cli", "--checkpoint", str(checkpoint), "--engine", engine,
        "--port", "0", "--media-workers", "1", *flags,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    try:
        assert process.stdout is not None
        text = ""
        while "lamm chat --url" not in text:
            line = process.stdout.readline()
            assert line, text
            text += line
        found = re.search(r"http://127\.0\.0\.1:\d+", text)
        assert found, text
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()
