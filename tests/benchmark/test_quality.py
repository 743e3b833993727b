"""Quality runs: scores, resuming after deaths, re-scoring, and data that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from benchmark.answers import AnswerStore
from benchmark.cli import bench
from benchmark.errors import BenchmarkError, ServerGoneError
from benchmark.http.client import Backend, ChatClient, RetryPolicy, shown
from benchmark.quality import report
from benchmark.quality.run import QualityRun, rescore, run_quality
from benchmark.quality.tree import open_suite
from benchmark.suite_reader import find_suite, load_suite
from lamm_model.tasks import ParseStatus

QUICK = RetryPolicy(attempts=2, base_delay=0.01, max_delay=0.02)


async def ask(server: Any, directory: Path, out: Path, limit: int | None = None) -> QualityRun:
    suite = load_suite(directory, limit)
    async with server.client() as http:
        client = ChatClient(http, 4, QUICK)
        return await run_quality(suite, client, server.url, out, workers=4)


async def test_scores_of_right_wrong_and_unreadable_answers(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = {**suite_files.right_answers, "What is item 0?": "A bag."}
    server.answers["What is item 1?"] = "Hmm."
    run = await ask(server, suite_files.directory, tmp_path / "out")
    classify, count, clouds = run.rows
    assert classify.estimate is not None
    assert (classify.estimate.value, classify.estimate.n) == (0.8, 10)
    assert classify.share(ParseStatus.UNPARSED) == 0.1
    assert classify.reaches_target is False
    assert count.metrics["mae"].value == 0.0
    assert clouds.row.chance == 0.5
    assert (run.asked, run.reused, run.complete) == (20, 0, True)
    body = next(b for b in server.bodies if "furniture" in str(b))
    part = body["messages"][0]["content"][0]
    assert part["type"] == "point_cloud_url"
    assert part["point_cloud_url"]["format"] == "npy"
    assert body["temperature"] == 0


async def test_a_server_that_dies_is_resumed_and_nothing_asked_twice(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    server.die_after = 11
    with pytest.raises(ServerGoneError):
        await ask(server, suite_files.directory, tmp_path / "out")
    kept = len((tmp_path / "out" / "answers.jsonl").read_text().splitlines())
    assert 7 <= kept <= 11
    server.stop()
    server.die_after = None
    server.start()
    before = len(server.asked)
    run = await ask(server, suite_files.directory, tmp_path / "out")
    assert run.complete
    assert (run.asked, run.reused) == (20 - kept, kept)
    assert len(server.asked) - before == 20 - kept
    again = await ask(server, suite_files.directory, tmp_path / "out")
    assert (again.asked, again.reused) == (0, 20)
    undisturbed = await ask(server, suite_files.directory, tmp_path / "other")
    assert report.as_json(again)["rows"] == report.as_json(undisturbed)["rows"]


async def test_an_answer_cut_short_by_a_kill_is_asked_again(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    await ask(server, suite_files.directory, tmp_path)
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    run = await ask(server, suite_files.directory, tmp_path)
    assert (run.asked, run.broken_lines, run.complete) == (1, 1, True)
    with AnswerStore(path) as store:
        assert store.broken_lines == 1


async def test_other_weights_and_other_pictures_are_asked_afresh(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    await ask(server, suite_files.directory, tmp_path)
    (suite_files.directory / "images/0.png").write_bytes(b"another picture")
    # One picture stands in two rows.
    assert (await ask(server, suite_files.directory, tmp_path)).asked == 2
    server.fingerprint = "weights-2"
    assert (await ask(server, suite_files.directory, tmp_path)).asked == 20
    server.fingerprint = None
    assert (await ask(server, suite_files.directory, tmp_path)).asked == 20


async def test_a_model_that_changes_midway_stops_the_run(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    class Changing(dict[str, str]):
        def get(self, key: str, default: Any = None, /) -> Any:
            if key == "What is item 5?":
                server.fingerprint = "weights-2"
            return default

    server.answers = Changing()
    with pytest.raises(BenchmarkError, match="from 'weights-1' to 'weights-2'"):
        await ask(server, suite_files.directory, tmp_path)


async def test_rescoring_needs_no_server_and_ids_align(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    run = await ask(server, suite_files.directory, tmp_path)
    server.stop()
    suite_files.write_rows("classify.jsonl", suite_files.rows("classify.jsonl")[::-1])
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    dropped = json.loads(lines[0])
    (tmp_path / "answers.jsonl").write_text("\n".join(lines[1:]) + "\n")
    again = rescore(load_suite(suite_files.directory), tmp_path)
    assert [row.estimate and row.estimate.value for row in again.rows] == [1.0, 1.0, 1.0]
    row = next(r for r in again.rows if r.row.name == dropped["row"])
    assert row.unanswered == {dropped["id"]: "not asked yet"}
    assert run.complete
    assert not again.complete
    with pytest.raises(BenchmarkError, match="cannot read the run"):
        rescore(load_suite(suite_files.directory), tmp_path / "empty")


async def test_a_refused_question_is_counted_and_named(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    from starlette.responses import JSONResponse

    server.answers = suite_files.right_answers
    suite = load_suite(suite_files.directory)
    async with server.client() as http:
        client = ChatClient(http, 1, QUICK)
        refusal = JSONResponse({"error": {"message": "no such format"}}, status_code=415)

        def once(item: Any) -> None:
            if item.sample.id == "c2":
                server.refusals.append(refusal)

        run = await run_quality(suite, client, server.url, tmp_path, 1, on_answer=once)
    assert run.rows[0].unanswered == {"c3": "HTTP 415: no such format"}
    assert run.rows[0].estimate is not None
    assert run.rows[0].estimate.n == 9
    expected = "classify: no answer, HTTP 415: no such format: 1 (c3)"
    assert report.notes(run) == [expected]


def test_broken_records_are_counted_and_named(suite_files: Any) -> None:
    rows = suite_files.rows("classify.jsonl")
    (suite_files.directory / "images/4.png").unlink()
    broken = json.loads(rows[5]) | {"target": "hat"}
    escaping = json.loads(rows[6]) | {"image": "../../secret.png"}
    other = json.loads(rows[7]) | {"task": "ocr"}
    bad = [rows[0], "{oops", rows[4], json.dumps(broken), json.dumps(escaping), json.dumps(other)]
    suite_files.write_rows("classify.jsonl", [*bad, rows[0], "", '{"id": ""}', rows[8]])
    row = load_suite(suite_files.directory).rows[0]
    assert [item.sample.id for item in row.items] == ["c0", "c8"]
    expected = [
        "classify.jsonl:2: not JSON: '{oops'",
        "classify.jsonl:3: id 'c4': images/4.png not found",
        "classify.jsonl:4: target 'hat' is not among the 2 labels",
        "classify.jsonl:5: '../../secret.png' is outside the suite",
        "classify.jsonl:6: id 'c7' has task 'ocr'; expected 'classification' of the row",
        "classify.jsonl:7: id 'c0' is a duplicate",
    ]
    assert list(row.problems[:6]) == expected
    assert row.problems[6].startswith("classify.jsonl:9: id:")
    assert len(row.problems) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "juggling"}, "unknown task 'juggling'; expected one of caption"),
        ({"metric": "bleu"}, "task counting has no metric 'bleu'"),
        ({"file": "none.jsonl"}, "cannot read none.jsonl"),
        ({"file": "../x.jsonl"}, "outside the suite"),
        ({"chance": 3}, "suite.json"),
        ({"name": "classify"}, "row names must be unique"),
    ],
)
def test_a_wrong_suite_file_is_refused(
    suite_files: Any, change: dict[str, Any], message: str
) -> None:
    path = suite_files.directory / "suite.json"
    suite = json.loads(path.read_text())
    suite["rows"][1] |= change
    path.write_text(json.dumps(suite))
    with pytest.raises(BenchmarkError, match=message):
        load_suite(suite_files.directory)


def test_the_limit_takes_the_first_records_of_each_row(suite_files: Any) -> None:
    rows = load_suite(suite_files.directory, limit=3).rows
    assert [len(row.items) for row in rows] == [3, 3, 3]


def test_a_suite_says_what_of_it_was_taken(suite_files: Any, tmp_path: Path) -> None:
    directory = suite_files.directory
    assert load_suite(directory, limit=9).provenance == {"seed": 1, "taken": {"limit": 9}}
    # Nothing was cut.
    assert load_suite(directory, limit=10).provenance == {"seed": 1}
    assert open_suite("all", directory, None, tmp_path).provenance == {"seed": 1}
    part = open_suite("3d", directory, 2, tmp_path)
    assert part.provenance == {"seed": 1, "taken": {"limit": 2, "part": "3d"}}


@pytest.mark.parametrize("given", [{"target": 0.8}, {"chance": 0.1}])
def test_an_error_metric_has_no_target_and_no_chance(
    suite_files: Any, given: dict[str, float]
) -> None:
    path = suite_files.directory / "suite.json"
    suite = json.loads(path.read_text())
    suite["rows"][1] |= {"metric": "mae"}
    path.write_text(json.dumps(suite))
    assert load_suite(suite_files.directory).rows[1].metric == "mae"
    suite["rows"][1] |= given
    path.write_text(json.dumps(suite))
    with pytest.raises(BenchmarkError, match=r"row count: target .* the error metric 'mae'"):
        load_suite(suite_files.directory)


def test_an_absent_suite_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"lamm data mini-suite .*none"):
        find_suite("mini", tmp_path / "none")


def test_the_command_prints_a_table_and_writes_reports(
    server: Any, suite_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = suite_files.right_answers
    out = tmp_path / "out"
    argv = ["quality", "--url", server.url + "/v1", "--data", str(suite_files.directory)]
    argv += ["--out", str(out), "--concurrency", "4"]
    assert bench(argv) == 0
    shown = capsys.readouterr().out
    assert "classify" in shown
    assert "100.0" in shown
    assert "20 asked, 0 kept" in shown
    scores = json.loads((out / "scores.json").read_text())
    assert scores["rows"][0]["score"] == 1.0
    assert scores["rows"][0]["interval_95"][0] == pytest.approx(0.7225, abs=1e-3)
    assert scores["model"]["fingerprint"] == "weights-1"
    assert "| classify | 10 | accuracy | 100.0 |" in (out / "scores.md").read_text()
    gallery = (out / "gallery.html").read_text()
    assert gallery.count("data:image/png;base64,") == 14
    assert "http://" not in gallery.replace(server.url, "")
    server.stop()
    assert bench([*argv, "--rescore"]) == 0
    assert "0 asked, 20 kept" in capsys.readouterr().out


def test_the_command_reports_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(["quality", "--data", str(tmp_path)]) == 1
    assert "has no suite.json" in capsys.readouterr().err.replace("\n", " ")
    with pytest.raises(SystemExit):
        bench(["quality", "--limit", "0"])
    assert "greater than 0, got '0'" in capsys.readouterr().err


def test_brackets_in_names_are_no_markup(
    server: Any, suite_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described = json.loads((suite_files.directory / "suite.json").read_text())
    described |= {"name": "mine [/i]", "rows": described["rows"][:1]}
    described["rows"][0]["name"] = "coats [left] [/b]"
    (suite_files.directory / "suite.json").write_text(json.dumps(described))
    argv = ["quality", "--url", server.url, "--data", str(suite_files.directory)]
    assert bench([*argv, "--limit", "1", "--control", "text-only", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("coats [left] [/b]") >= 3


def test_markdown_of_a_gallery_escapes_what_models_write(suite_files: Any, tmp_path: Path) -> None:
    suite = load_suite(suite_files.directory, limit=1)
    (tmp_path / "run.json").write_text(
        json.dumps({"url": "u", "model": "<m>", "fingerprint": "f", "asked_at": "now"})
    )
    item = suite.rows[0].items[0]
    key = item.key("f", {"temperature": 0, "max_tokens": item.task.max_tokens})
    answer = {
        "key": key, "row": "classify", "id": "c0", "text": "<script>x</script>", "model": "<m>",
        "finish_reason": "stop", "fingerprint": "f", "prompt_tokens": 1, "completion_tokens": 1,
        "seconds": 0.1,
    }  # fmt: skip
    (tmp_path / "answers.jsonl").write_text(json.dumps(answer))
    report.write_reports(rescore(suite, tmp_path), tmp_path)
    page = (tmp_path / "gallery.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


async def test_what_a_server_says_is_no_markup_of_the_scores(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    suite = load_suite(suite_files.directory, limit=1)
    page = "<html>\n\n# gone | <img src=http://x>"
    # The first reply names the weights.
    server.refusals = [JSONResponse({"choices": [{"message": {"content": "Hello"}}]})]
    server.refusals += [Response(page, status_code=418) for _ in range(3)]
    async with server.client() as http:
        run = await run_quality(suite, ChatClient(http, 1), server.url, tmp_path, 1)
    markdown = report.as_markdown(run)
    assert "<" not in markdown
    assert len([line for line in markdown.splitlines() if line.startswith("#")]) == 1


async def test_no_password_of_the_address_is_kept(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    suite = load_suite(suite_files.directory, limit=1)
    url = server.url.replace("http://", "http://me:s3cret@")
    other = Backend.OPENAI_CHAT
    async with server.client() as http:
        run = await run_quality(suite, ChatClient(http, 1), url, tmp_path, 1, backend=other)
    report.write_reports(run, tmp_path)
    assert run.identity.url == server.url
    for name in ("run.json", "answers.jsonl", "scores.json", "scores.md", "gallery.html"):
        assert "s3cret" not in (tmp_path / name).read_text(encoding="utf8")
    assert shown("http://a@b:c@host:1/v1?q=@") == "http://host:1/v1?q=@"
