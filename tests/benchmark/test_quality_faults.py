"""Deaths and refusals in mid-run: nothing that was answered is asked again, no score changes."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from benchmark.answers import Answer, AnswerStore, KeptAnswers
from benchmark.cli import bench
from benchmark.commands import quality as quality_command
from benchmark.errors import BenchmarkError, BusyError, ServerGoneError
from benchmark.http.client import ChatClient, RetryPolicy
from benchmark.http.connection import open_http
from benchmark.judge.backends import Exhibit
from benchmark.judge.pairwise import TRANSCRIPTS_FILE, Transcript, TranscriptStore
from benchmark.quality import report
from benchmark.quality.run import QualityRun, run_quality
from benchmark.suite_reader import load_suite
from tests.benchmark.counting_server import asked, wait_until

QUICK = RetryPolicy(attempts=2, base_delay=0.01, max_delay=0.02)
QUESTIONS = 20
WORKERS = 2
SERVER = Path(__file__).with_name("counting_server.py")


class Counting:
    """A counting server in a process of its own, started and killed as often as wanted."""

    def __init__(self, directory: Path, answers: dict[str, str]) -> None:
        self.log = directory / "asked.log"
        self._answers = directory / "right.json"
        self._answers.write_text(json.dumps(answers))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, seconds: float = 0.0) -> None:
        """Serves, each answer taking so many seconds."""
        argv = [str(self.port), str(self._answers), str(self.log), str(seconds)]
        self.process = subprocess.Popen([sys.executable, str(SERVER), *argv])

        def up() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_until(up)

    def kill(self) -> None:
        """As `kill -9` does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def asked(self) -> list[str]:
        """Every question that came, whether it was answered or not."""
        return asked(self.log)


@pytest.fixture
def counting(suite_files: Any, tmp_path: Path) -> Iterator[Counting]:
    """A counting server that is not started yet."""
    server = Counting(tmp_path, suite_files.right_answers)
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


async def ask(url: str, directory: Path, out: Path) -> QualityRun:
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
        client = ChatClient(http, WORKERS, QUICK)
        return await run_quality(load_suite(directory), client, url, out, workers=WORKERS)


def kept(out: Path) -> list[str]:
    """Ids of rows and records whose whole answers are on disk."""
    lines = (out / "answers.jsonl").read_bytes().split(b"\n")
    found = []
    for line in lines[:-1]:
        answer = json.loads(line)
        found.append(f"{answer['row']}/{answer['id']}")
    return found


def questions_by_place(directory: Path) -> dict[str, str]:
    items = [item for row in load_suite(directory).rows for item in row.items]
    return {f"{item.row}/{item.sample.id}": item.sample.question for item in items}


async def same_scores_as_undisturbed(
    counting: Counting, directory: Path, disturbed: QualityRun, tmp_path: Path
) -> None:
    undisturbed = await ask(counting.url, directory, tmp_path / "undisturbed")
    assert disturbed.complete
    assert report.as_json(disturbed)["rows"] == report.as_json(undisturbed)["rows"]


async def test_a_server_killed_in_mid_run(
    counting: Counting, suite_files: Any, tmp_path: Path
) -> None:
    out, directory = tmp_path / "out", suite_files.directory
    counting.start(seconds=0.05)
    run = asyncio.create_task(ask(counting.url, directory, out))
    await asyncio.to_thread(wait_until, lambda: len(counting.asked()) >= 12)
    counting.kill()
    with pytest.raises(ServerGoneError, match=r"of 20 questions are done .* to continue"):
        await run
    before, answered = counting.asked(), kept(out)
    assert len(before) - WORKERS <= len(answered) < QUESTIONS
    counting.start()
    again = await ask(counting.url, directory, out)
    assert (again.asked, again.reused) == (QUESTIONS - len(answered), len(answered))
    times = Counter(counting.asked())
    by_place = questions_by_place(directory)
    # What had its answer was asked once; only what was in flight at the kill was asked again.
    assert {times[by_place[place]] for place in answered} == {1}
    assert len(counting.asked()) - QUESTIONS == len(before) - len(answered) <= WORKERS
    counting.log.unlink()
    await same_scores_as_undisturbed(counting, directory, again, tmp_path)


async def test_a_client_killed_in_mid_run(
    counting: Counting, suite_files: Any, tmp_path: Path
) -> None:
    out, directory = tmp_path / "out", suite_files.directory
    counting.start(seconds=0.2)
    program = (
        "import asyncio, sys; from pathlib import Path;"
        "from tests.benchmark.test_quality_faults import ask;"
        "asyncio.run(ask(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))"
    )
    argv = [sys.executable, "-c", program, counting.url, str(directory), str(out)]
    client = await asyncio.create_subprocess_exec(*argv, cwd=Path(__file__).parents[2])
    try:
        await asyncio.to_thread(wait_until, lambda: len(counting.asked()) >= 9, 100)
    finally:
        client.kill()
        await client.wait()
    before, answered = counting.asked(), kept(out)
    assert 0 < len(answered) < QUESTIONS
    counting.kill()
    counting.start()
    again = await ask(counting.url, directory, out)
    assert (again.asked, again.reused) == (QUESTIONS - len(answered), len(answered))
    times = Counter(counting.asked())
    by_place = questions_by_place(directory)
    assert {times[by_place[place]] for place in answered} == {1}
    assert len(counting.asked()) - QUESTIONS == len(before) - len(answered) <= WORKERS
    counting.log.unlink()
    await same_scores_as_undisturbed(counting, directory, again, tmp_path)


async def test_an_answer_file_cut_anywhere(server: Any, suite_files: Any, tmp_path: Path) -> None:
    server.answers = {**suite_files.right_answers, "What is item 2?": "Un café, “coat” é."}
    whole = tmp_path / "whole"
    undisturbed = await ask(server.url, suite_files.directory, whole)
    content = (whole / "answers.jsonl").read_bytes()
    rng = random.Random(1)
    ends = [index for index, byte in enumerate(content) if byte == ord("\n")]
    # Anywhere, just before a line's end, just after it, within a character, and at the beginning.
    accent = content.index("é".encode()) + 1
    for cut in [rng.randrange(len(content)), ends[7], ends[7] + 1, accent, 0]:
        out = tmp_path / f"cut-{cut}"
        out.mkdir()
        (out / "run.json").write_bytes((whole / "run.json").read_bytes())
        (out / "answers.jsonl").write_bytes(content[:cut])
        # A line that lacks nothing but its end is whole.
        left = content[:cut].count(b"\n") + (cut in ends)
        again = await ask(server.url, suite_files.directory, out)
        assert (again.asked, again.reused) == (QUESTIONS - left, left), cut
        assert report.as_json(again)["rows"] == report.as_json(undisturbed)["rows"], cut
        assert (await ask(server.url, suite_files.directory, out)).asked == 0, cut


def test_the_command_says_what_is_kept_and_goes_on(
    server: Any,
    suite_files: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quality_command, "ChatClient", partial(ChatClient, retry=QUICK))
    server.answers = suite_files.right_answers
    server.die_after = 12
    out = str(tmp_path / "out")
    argv = ["quality", "--url", server.url, "--suite", str(suite_files.directory), "--out", out]
    argv += ["--concurrency", "4"]
    assert bench(argv) == 1
    shown = capsys.readouterr()
    assert "no answer from http://127.0.0.1" in shown.err
    assert f"of 20 questions are done and their answers saved in {out}" in shown.err.replace(
        "\n", " "
    )
    assert "Traceback" not in shown.err
    server.stop()
    server.die_after = None
    server.start()
    assert bench(argv) == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [row["score"] for row in scores["rows"]] == [1.0, 1.0, 1.0]
    assert len(KeptAnswers(tmp_path / "out" / "answers.jsonl")) == QUESTIONS


async def test_a_server_that_refuses_everything_ends_the_run(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    refusals = [Response("full", status_code=503) for _ in range(60)]

    def later(item: Any) -> None:
        if item.sample.id == "c3":
            server.refusals = refusals

    suite = load_suite(suite_files.directory)
    async with server.client() as http:
        client = ChatClient(http, WORKERS, QUICK)
        with pytest.raises(BenchmarkError, match="7 questions in a row were refused: HTTP 503"):
            await run_quality(suite, client, server.url, tmp_path, WORKERS, on_answer=later)
    server.refusals = []
    run = await ask(server.url, suite_files.directory, tmp_path)
    assert run.complete
    assert run.reused >= 4


class Resets:
    """A way to a server on which every question of some words breaks off."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.way = httpx.AsyncHTTPTransport()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if any(words in request.content.decode() for words in self.words):
            raise httpx.ReadError("reset by peer")
        return await self.way.handle_async_request(request)


async def ask_through(server: Any, resets: Resets, directory: Path, out: Path) -> QualityRun:
    transport = httpx.MockTransport(resets)
    async with httpx.AsyncClient(base_url=server.url, transport=transport) as http, resets.way:
        client = ChatClient(http, WORKERS, QUICK)
        return await run_quality(load_suite(directory), client, server.url, out, WORKERS)


async def ask_with_refusals(
    server: Any, http: httpx.AsyncClient, directory: Path, out: Path, *refusals: Response
) -> QualityRun:
    """Asks one question at a time; the server refuses the one after c2."""

    def refuse(item: Any) -> None:
        if item.sample.id == "c2":
            server.refusals += refusals

    suite, client = load_suite(directory), ChatClient(http, 1, QUICK)
    return await run_quality(suite, client, server.url, out, 1, on_answer=refuse)


async def assert_one_is_asked_again(server: Any, directory: Path, out: Path) -> None:
    again = await ask(server.url, directory, out)
    assert (again.asked, again.complete) == (1, True)


async def test_a_question_that_breaks_its_connection_fails_alone(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    run = await ask_through(server, Resets("item 4?"), suite_files.directory, tmp_path)
    assert run.asked == QUESTIONS - 1
    assert run.rows[0].unanswered.keys() == {"c4"}
    assert "ReadError" in run.rows[0].unanswered["c4"]
    await assert_one_is_asked_again(server, suite_files.directory, tmp_path)


async def test_a_server_that_drops_everything_ends_the_run(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    resets = Resets("item", "furniture")
    with pytest.raises(BusyError, match="7 questions in a row lost their connection"):
        await ask_through(server, resets, suite_files.directory, tmp_path)


@pytest.mark.parametrize("lean", [True, False])
async def test_an_answer_that_cannot_be_decompressed_fails_alone(
    server: Any, suite_files: Any, tmp_path: Path, lean: bool
) -> None:
    server.answers = suite_files.right_answers
    garbled = Response(b"no gzip", headers={"Content-Encoding": "gzip"})
    async with open_http(server.url, 10.0) if lean else server.client() as http:
        run = await ask_with_refusals(server, http, suite_files.directory, tmp_path, garbled)
    assert run.asked == QUESTIONS - 1
    assert run.rows[0].unanswered.keys() == {"c3"}
    assert "cannot be decompressed" in run.rows[0].unanswered["c3"]
    await assert_one_is_asked_again(server, suite_files.directory, tmp_path)


async def test_few_refusals_are_counted_and_asked_again(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    busy = [Response("busy", status_code=429) for _ in range(2)]
    async with server.client() as http:
        run = await ask_with_refusals(server, http, suite_files.directory, tmp_path, *busy)
    assert run.rows[0].unanswered == {"c3": "HTTP 429: busy"}
    assert not run.complete
    await assert_one_is_asked_again(server, suite_files.directory, tmp_path)


async def test_a_picture_that_goes_away_is_named(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    suite = load_suite(suite_files.directory)
    (suite_files.directory / "images/9.png").unlink()
    async with server.client() as http:
        client = ChatClient(http, WORKERS, QUICK)
        run = await run_quality(suite, client, server.url, tmp_path, WORKERS)
    assert run.rows[0].unanswered == {"c9": "images/9.png: No such file or directory"}
    assert len(run.rows[0].scored) == 9


def test_one_run_at_a_time_writes_to_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerStore(path), pytest.raises(BenchmarkError, match="another run is writing to"):
        AnswerStore(path)
    with AnswerStore(path) as store:
        assert len(store) == 0


def test_a_full_disk_ends_the_run(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    answer = Answer("k", "row", "id", "text", "stop", "m", "f", 1, 1, 0.1)
    with AnswerStore(path) as store:
        store.add(answer)
        with (
            files_end_at(path.stat().st_size + 40),
            pytest.raises(BenchmarkError, match=r"answers\.jsonl: File too large"),
        ):
            store.add(replace(answer, key="k2"))
        # What is not kept has not been answered.
        assert store.get("k2") is None
        # Somebody makes room: the half line stays alone.
        store.add(replace(answer, key="k3"))
    kept = KeptAnswers(path)
    assert (len(kept), kept.broken_lines) == (2, 1)
    assert kept.get("k3") is not None


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file grows beyond so many bytes: what a full disk does, for this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_the_judging(tmp_path: Path) -> None:
    path = tmp_path / TRANSCRIPTS_FILE
    transcript = Transcript("k", "j", "row", "id", False, Exhibit("q", "r", "a", "b"), "words")
    store = TranscriptStore(path)
    with (
        files_end_at(20),
        pytest.raises(BenchmarkError, match=r"transcripts\.jsonl: File too large"),
    ):
        store.add(transcript)
    assert store.get("k") is None
    store.close()


def test_text_that_utf8_cannot_spell_is_kept(tmp_path: Path) -> None:
    answer = Answer("k", "row", "id", "half \ud83d of it", "stop", "m", "f", 1, 1, 0.1)
    with AnswerStore(tmp_path / "answers.jsonl") as store:
        store.add(answer)
    # As a question mark: reports are files too.
    kept_answer = KeptAnswers(tmp_path / "answers.jsonl").get("k")
    assert kept_answer == replace(answer, text="half ? of it")
    assert kept_answer.text.encode("utf8")


async def test_an_answer_that_utf8_cannot_spell_breaks_no_report(
    suite_files: Any, tmp_path: Path
) -> None:
    def odd(_: httpx.Request) -> httpx.Response:
        choice = {"message": {"content": "a coat \ud83d"}, "finish_reason": "stop"}
        # In ASCII: the half character stands as an escape.
        return httpx.Response(200, content=json.dumps({"choices": [choice], "data": [{"id": "m"}]}))

    async with httpx.AsyncClient(base_url="http://m", transport=httpx.MockTransport(odd)) as http:
        suite, client = load_suite(suite_files.directory), ChatClient(http, WORKERS, QUICK)
        run = await run_quality(suite, client, "http://m", tmp_path, WORKERS)
    assert run.rows[0].scored[0].text == "a coat ?"
    report.write_reports(run, tmp_path)
    assert "a coat ?" in (tmp_path / "items.jsonl").read_text()
