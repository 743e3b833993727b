"""`lamm bench quality --through batch`: the same answers as one by one, and nothing asked twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from benchmark.cli import bench
from benchmark.errors import BenchmarkError
from benchmark.http.batches import BatchClient
from benchmark.http.client import ChatClient, RetryPolicy
from benchmark.quality import report
from benchmark.quality.run import QualityRun, run_quality
from benchmark.suite_reader import load_suite
from tests.benchmark.conftest import FakeServer
from tests.benchmark.counting_server import wait_until

QUICK = RetryPolicy(attempts=2, base_delay=0.01, max_delay=0.02)


class BatchServer(FakeServer):
    """The scripted server with batches: a batch is done as soon as `released` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.batches: list[dict[str, Any]] = []
        self.released = threading.Event()
        self.released.set()
        self.outcome = "completed"

    def app(self) -> Starlette:
        app = super().app()
        app.router.routes += [
            Route("/v1/files", self._upload, methods=["POST"]),
            Route("/v1/files/{id}/content", self._content),
            Route("/v1/batches", self._create, methods=["POST"]),
            Route("/v1/batches", self._list),
            Route("/v1/batches/{id}", self._retrieve),
        ]
        return app

    async def _upload(self, request: Request) -> Response:
        async with request.form() as form:
            assert form["purpose"] == "batch"
            content = await form["file"].read()
        self.files[f"file-{len(self.files)}"] = content
        return JSONResponse({"id": f"file-{len(self.files) - 1}"})

    async def _content(self, request: Request) -> Response:
        content = self.files.get(request.path_params["id"])
        return PlainTextResponse(content or b"", 404 if content is None else 200)

    async def _create(self, request: Request) -> Response:
        body = await request.json()
        lines = self.files[body["input_file_id"]].splitlines()
        self.batches.append({"id": f"batch-{len(self.batches)}", "status": "in_progress", **body})
        self.asked += [json.loads(line)["custom_id"] for line in lines]
        assert {json.loads(line)["url"] for line in lines} == {body["endpoint"]}
        return JSONResponse(self.batches[-1])

    async def _list(self, request: Request) -> Response:
        newest = self.batches[::-1]
        ids = [batch["id"] for batch in newest]
        start = ids.index(request.query_params["after"]) + 1 if "after" in ids else 0
        return JSONResponse({"data": newest[start:], "has_more": False})

    async def _retrieve(self, request: Request) -> Response:
        [batch] = [one for one in self.batches if one["id"] == request.path_params["id"]]
        if batch["status"] == "in_progress" and self.released.is_set():
            self._finish(batch)
        return JSONResponse(batch)

    def _finish(self, batch: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        output, errors = [], []
        for line in lines:
            content = line["body"]["messages"][-1]["content"]
            question = content if isinstance(content, str) else content[-1]["text"]
            if question in self.answers:
                response = {"status_code": 200, "body": self._whole(self.answers[question])}
                output.append({"custom_id": line["custom_id"], "response": response, "error": None})
            else:
                error = {"code": "batch_expired", "message": "too late"}
                errors.append({"custom_id": line["custom_id"], "response": None, "error": error})
        for kind, found in (("output", output), ("error", errors)):
            name = f"{kind}-{batch['id']}"
            lines_ = (json.dumps(one, ensure_ascii=False) for one in found)
            self.files[name] = "".join(f"{line}\n" for line in lines_).encode()
            batch[f"{kind}_file_id"] = name if found else None
        counts = {"total": len(lines), "completed": len(output), "failed": len(errors)}
        batch |= {"status": self.outcome, "request_counts": counts}
        if self.outcome == "failed":
            problem = {"line": 3, "message": "the line is not valid JSON"}
            batch["errors"] = {"object": "list", "data": [problem]}


@pytest.fixture
def batch_server() -> Any:
    server = BatchServer()
    server.start()
    yield server
    server.stop()


async def ask(server: FakeServer, directory: Path, out: Path, through: bool = True) -> QualityRun:
    async with server.client() as http:
        client = ChatClient(http, 4, QUICK)
        return await run_quality(
            load_suite(directory), client, server.url, out, workers=4,
            batches=BatchClient(http, client) if through else None,
        )  # fmt: skip


async def test_answers_are_those_of_single_requests(
    batch_server: BatchServer, suite_files: Any, tmp_path: Path
) -> None:
    batch_server.answers = suite_files.right_answers
    run = await ask(batch_server, suite_files.directory, tmp_path / "batch")
    assert (run.asked, run.reused, run.complete) == (20, 0, True)
    assert len(batch_server.batches) == 1
    alone = await ask(batch_server, suite_files.directory, tmp_path / "alone", through=False)
    assert report.as_json(run)["rows"] == report.as_json(alone)["rows"]
    again = await ask(batch_server, suite_files.directory, tmp_path / "batch", through=False)
    assert (again.asked, again.reused) == (0, 20), "kept under the same keys"
    assert not (tmp_path / "batch" / ".batch-input.jsonl").exists()


async def test_what_a_batch_left_out_is_asked_by_the_next_run(
    batch_server: BatchServer, suite_files: Any, tmp_path: Path
) -> None:
    right = suite_files.right_answers
    batch_server.answers = {q: a for q, a in right.items() if q != "What is item 3?"}
    run = await ask(batch_server, suite_files.directory, tmp_path)
    assert (run.asked, run.complete) == (19, False)
    assert "too late" in str(report.notes(run))
    batch_server.answers = right
    run = await ask(batch_server, suite_files.directory, tmp_path)
    assert (run.asked, run.reused, run.complete) == (1, 19, True)
    assert len(batch_server.asked) == 21


async def test_letters_that_some_take_for_an_end_of_line(
    batch_server: BatchServer, suite_files: Any, tmp_path: Path
) -> None:
    batch_server.answers = {
        question: f"{answer}\u2028\u0085" for question, answer in suite_files.right_answers.items()
    }
    run = await ask(batch_server, suite_files.directory, tmp_path)
    assert (run.asked, run.complete) == (20, True)


async def test_what_files_that_expired_held_is_asked_again(
    batch_server: BatchServer, suite_files: Any, tmp_path: Path
) -> None:
    await ask(batch_server, suite_files.directory, tmp_path)
    assert len(batch_server.batches) == 1
    batch_server.files.clear()
    batch_server.answers = suite_files.right_answers
    run = await ask(batch_server, suite_files.directory, tmp_path)
    assert (run.asked, run.complete, len(batch_server.batches)) == (20, True, 2)


async def test_a_batch_that_fails_is_told(
    batch_server: BatchServer, suite_files: Any, tmp_path: Path
) -> None:
    batch_server.outcome = "failed"
    with pytest.raises(BenchmarkError, match="line 3: the line is not valid JSON"):
        await ask(batch_server, suite_files.directory, tmp_path)


def test_a_killed_client_finds_its_batch_again(
    batch_server: BatchServer, suite_files: Any, tmp_path: Path
) -> None:
    batch_server.answers = suite_files.right_answers
    batch_server.released.clear()
    arguments = [
        "quality", "--suite", str(suite_files.directory), "--url", batch_server.url,
        "--out", str(tmp_path / "out"), "--through", "batch",
    ]  # fmt: skip
    command = [sys.executable, "-m", "lamm_model.cli", "bench", *arguments]
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: bool(batch_server.batches))
    finally:
        client.send_signal(signal.SIGKILL)
        client.wait()
    batch_server.released.set()
    assert bench(arguments) == 0
    assert len(batch_server.batches) == 1
    assert len(batch_server.asked) == 20
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["rows"][0]["n"] == 10
