"""The scripts in examples/ against a running service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.engine.echo_engine import DEFAULT_REPLY
from tests.service.chat_requests import npy, png
from tests.service.running_server import serving

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def environment(checkpoint: Path) -> Iterator[dict[str, str]]:
    with serving(checkpoint) as (_, url):
        yield {**os.environ, "LAMM_URL": url, "LAMM_MODEL": "tiny-lamm"}


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "c.npy").write_bytes(npy(np.zeros((4, 3), np.float32)))
    return str(tmp_path / "a.png"), str(tmp_path / "c.npy")


def output(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize("script", ["ask.py", "ask_openai.py"])
def test_python(script: str, files: tuple[str, str], environment: dict[str, str]) -> None:
    command = [sys.executable, str(EXAMPLES / script), "What is this?", *files]
    assert output(command, environment).strip() == DEFAULT_REPLY


def test_curl(files: tuple[str, str], environment: dict[str, str]) -> None:
    for file in files:
        text = output([str(EXAMPLES / "ask.sh"), "What is this?", file], environment)
        assert f'"content":"{DEFAULT_REPLY}"' in text
