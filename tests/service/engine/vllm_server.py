"""A real vLLM server for tests: started once per session, stopped at its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from lamm_model.checkpoint.export.base import ExportRequest
from lamm_model.checkpoint.export.llava import write
from lamm_model.checkpoint.export.llava.chat_template import ChatTemplate
from service.engine.config import EngineConfigError
from service.engine.vllm.environment import VARIABLE, find_environment
from service.engine.vllm.flags import SERVER_FLAGS

_START_TIMEOUT_S = 300
_SMALL = (
    *("--dtype", "float32"),
    *("--max-num-seqs", "8"),
    *("--max-num-batched-tokens", "256"),
    *("--kv-cache-memory-bytes", str(64 << 20)),
    "--enforce-eager",
    "--disable-uvicorn-access-log",
)


@dataclass(frozen=True)
class VllmServer:
    """A running server; `log` has what it printed."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


def vllm_environment() -> Path:
    """The environment with vLLM; skips the test if there is none and none is named."""
    try:
        return find_environment(None)
    except EngineConfigError as error:
        if VARIABLE in os.environ:
            raise
        pytest.skip(str(error))


def export(checkpoint: Path, out: Path) -> Path:
    """The checkpoint as a LLaVA that vLLM loads, in float32."""
    with pytest.MonkeyPatch.context() as patch:
        # The tiny tokenizer joins pieces across chunks, so no chat template fits it. Requests of
        # this service are token ids and need none.
        patch.setattr(write, "fitted_template", lambda *_: ChatTemplate("", 0, ()))
        write.write_llava(
            ExportRequest(checkpoint=checkpoint, out=out, target="vllm", dtype="float32")
        )
    return out


@contextlib.contextmanager
def serving(
    model: Path,
    names: Sequence[str],
    log: Path,
    *arguments: str,
    flags: Sequence[str] = SERVER_FLAGS,
) -> Iterator[VllmServer]:
    """A server of that exported directory, on a free port of 127.0.0.1."""
    environment, port = vllm_environment(), _free_port()
    command = [
        str(environment / "bin" / "vllm"), "serve", str(model),
        "--served-model-name", *names, "--host", "127.0.0.1", "--port", str(port),
        *flags, *_SMALL, *arguments,
    ]  # fmt: skip
    variables = {
        "VLLM_HOST_IP": "127.0.0.1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }  # fmt: skip
    own = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    inherited = {key: value for key, value in os.environ.items() if key not in own}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=inherited | variables, stdout=out, stderr=out, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, log)
            yield VllmServer(url, process, log)
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a server and its workers."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        time.sleep(0.5)
    raise AssertionError(f"vLLM did not start:\n{log.read_text()[-4000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
