"""A service for the clients, and a record of what each of them was answered.

`LAMM_URL` names a running service; otherwise one is started from the project's own environment
(`LAMM_PYTHON`, by default `.venv/bin/python`). `CLIENT_RESULTS` names the JSON file that
`scripts/clients_table.py` reads. A test's docstring is the name of its call in the documentation.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from tests.clients.content import ROOT

_STARTED = re.compile(r"lamm chat --url (http://\S+)")
_LOGGED = 200_000


@dataclass(slots=True)
class Call:
    """One call of a client's library: a row of the results."""

    client: str
    version: str
    subject: str
    call: str
    test: str
    outcome: str = "failed"
    answer: str = ""


@dataclass(slots=True)
class Record:
    """What a test says of its call."""

    call: Call
    _outcome: str = field(default="works")

    def said(self, answer: object) -> str:
        """Notes the answer; returns it in small letters."""
        self.call.answer = str(answer)[:300]
        return str(answer).lower()

    def refused(self, error: BaseException) -> str:
        """Notes that the call was refused, and the words; returns them."""
        self._outcome = "refused"
        body = getattr(error, "body", None)
        message = body.get("message") if isinstance(body, dict) else None
        self.call.answer = str(message or error)[:300]
        return self.call.answer

    def note(self, outcome: str, answer: str) -> None:
        """Notes what another program saw of its call."""
        self._outcome, self.call.answer = outcome, answer[:300]

    def close(self) -> None:
        """The test has passed."""
        self.call.outcome = self._outcome


_CALLS = pytest.StashKey[list[Call]]()
_RECORD = pytest.StashKey[Record]()
_LOG: Path | None = None


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_CALLS] = []
    # What clients would ask of hosts elsewhere.
    os.environ.update(
        LITELLM_LOCAL_MODEL_COST_MAP="True", LANGSMITH_TRACING="false",
        OPENAI_AGENTS_DISABLE_TRACING="1", OPENAI_API_KEY="any",
    )  # fmt: skip


@pytest.fixture(scope="session")
def service() -> Iterator[str]:
    """The service's address."""
    given = os.environ.get("LAMM_URL")
    if given:
        yield given.rstrip("/")
        return
    global _LOG  # noqa: PLW0603 # the failing test's report shows what the service was sent
    with tempfile.TemporaryDirectory(prefix="lamm-clients-") as folder:
        _LOG = Path(folder, "service.log")
        process = _start(Path(folder), _LOG)
        try:
            yield _address(process, _LOG)
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="session")
def base_url(service: str) -> str:
    """What an OpenAI client takes as its base URL."""
    return f"{service}/v1"


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Notes the answer of the test's call."""
    module, test = request.module, cast(Any, request.node)
    words = (test.function.__doc__ or "").strip()
    assert words, f"{test.name} needs a docstring: the name of its call"
    if hasattr(test, "callspec"):
        words = words.format(**test.callspec.params)
    client = module.CLIENT
    version = getattr(module, "VERSION", None) or importlib.metadata.version(client)
    subject = getattr(module, "SUBJECT", "")
    made = Record(Call(client, version, subject, words, f"{module.__name__}::{test.name}"))
    test.stash[_RECORD] = made
    test.config.stash[_CALLS].append(made.call)
    return made


@pytest.fixture
def said(record: Record) -> Callable[[object], str]:
    """Notes the answer; returns it in small letters."""
    return record.said


@pytest.fixture
def refused(record: Record) -> Callable[[BaseException], str]:
    """Notes the refusal; returns its words."""
    return record.refused


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    logged = _LOG.read_text("utf8")[-_LOGGED:] if _LOG is not None and _LOG.exists() else ""
    report = yield
    if report.when == "call" and report.passed and _RECORD in item.stash:
        item.stash[_RECORD].close()
    if report.failed and logged:
        bodies = [line for line in logged.splitlines() if "service.bodies" in line]
        report.sections.append(("requests, newest last", "\n".join(bodies[-3:])))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = os.environ.get("CLIENT_RESULTS")
    if target and not session.config.option.collectonly:
        calls = [asdict(call) for call in session.config.stash[_CALLS]]
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(json.dumps(calls, indent=1) + "\n", "utf8")


def _start(folder: Path, log: Path) -> subprocess.Popen[str]:
    python = os.environ.get("LAMM_PYTHON", str(ROOT / ".venv/bin/python"))
    checkpoint = str(ROOT / "checkpoints/lamm-mini")
    command = [
        python, "-m", "lamm_model.cli", "serve", "--checkpoint", checkpoint, "--port", "0",
        "--media-workers", "1", "--num-threads", "1", "--files-dir", str(folder / "files"),
        "--log-format", "json", "--log-bodies", "--log-body-chars", "4000",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with log.open("w") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, text=True
        )


def _address(process: subprocess.Popen[str], log: Path) -> str:
    """Waits until the service listens."""
    while process.poll() is None:
        if found := _STARTED.search(log.read_text("utf8")):
            return found[1]
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    raise RuntimeError(f"the service ended with {process.returncode}:\n{log.read_text('utf8')}")
