"""The child process: its output is kept, it can be started again, and nothing outlives it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from service.engine.vllm.process import VllmProcess
from tests.service.engine.harness import until

PYTHON = Path(sys.executable)
# A server that has a worker of its own, ignores SIGTERM in it, and prints the worker's id.
SERVER = (
    "import subprocess, sys, time; "
    "worker = subprocess.Popen([sys.executable, '-c', 'import signal, time; "
    "signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)']); "
    "print('worker', worker.pid, flush=True); time.sleep(60)"
)


def child(socket: Path, program: str) -> VllmProcess:
    return VllmProcess(PYTHON, [sys.executable, "-c", program], {"LAMM_TEST": "7"}, socket)


async def test_stopping_ends_its_workers_too(tmp_path: Path) -> None:
    process = child(tmp_path / "socket", SERVER)
    await process.start()
    await until(lambda: "worker" in process.tail and "\n1" in process.tail)
    worker = int(process.tail.split()[1])
    await process.stop()
    assert process.returncode == -15
    await until(lambda: not _lives(worker))
    await process.stop()


@pytest.mark.parametrize("victim", ["owner", "owner and server"])
async def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path, victim: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from service.engine.vllm.process import VllmProcess\n"
        "from tests.service.engine.vllm.test_process import SERVER, child\n"
        "async def main():\n"
        f"    process = child(Path({str(tmp_path / 'socket')!r}), SERVER)\n"
        "    await process.start()\n"
        "    while '\\n1' not in process.tail: await asyncio.sleep(0.01)\n"
        "    print(process.tail.split()[1], flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    owner = await asyncio.create_subprocess_exec(
        PYTHON, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    worker = int(await owner.stdout.readline())
    server = _parent(worker)
    owner.kill()
    if victim == "owner and server":
        os.kill(server, signal.SIGKILL)
    await owner.wait()
    await until(lambda: not _lives(server))
    # It ignores SIGTERM, so that only the whole group's end ends it.
    await until(lambda: not _lives(worker))


async def test_one_that_died_is_started_again(tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    program = (
        "import os, sys; print('variable', os.environ['LAMM_TEST'], 'PYTHONPATH' in os.environ); "
        f"print('socket', os.path.exists({str(socket)!r})); sys.exit(3)"
    )
    process = child(socket, program)
    for _ in range(2):
        # A killed server leaves its socket behind, and another could not listen there.
        socket.touch()
        await process.start()
        async with asyncio.timeout(20):
            while process.returncode is None:  # noqa: ASYNC110 - it signals nothing
                await asyncio.sleep(0.01)
        await process.stop()
        assert process.returncode == 3
        assert process.tail.split("\n") == ["variable 7 False", "socket False"]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().split()[3])


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it may end between opening and reading
        return False
