"""Reports: the numbers are those of the runs, stamps stand on every table, no 0 is silent."""

from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmark.cli import bench
from benchmark.commands.report import REVISIONS
from benchmark.errors import BenchmarkError
from benchmark.quality.protocol_scores import PROTOCOLS
from benchmark.report.document import as_json, as_markdown, make_report
from benchmark.report.figures import Figure, figures_of, number
from benchmark.report.files import read_findings
from benchmark.report.load_tables import load_table
from benchmark.report.plots import load_plot, score_plot
from benchmark.report.provenance import client_facts, keep_server_facts
from benchmark.report.published import Column, load_published
from benchmark.report.stamps import stamps_of

HOSTILE = "<script>alert(1)</script> | **dog** [x](y)"
MINI = {"source": {"name": "mini-benchmark", "comparable_with_published_results": False}}


class Page(HTMLParser):
    """A page's texts, tags and attributes as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(" ".join(data.split()))


def row(name: str, score: float | None = 0.5, metric: str = "accuracy", **more: Any) -> Any:
    """A row of scores.json."""
    interval = None if score is None else [score * 0.8, score * 1.1]
    return {
        "name": name, "task": "classification", "metric": metric, "n": 0 if score is None else 40,
        "score": score, "interval_95": interval, "chance": 0.1, "target": None, "unparsed": 0.125,
        "partial": 0.0, "metrics": {}, "unanswered": {}, "problems": [], **more,
    }  # fmt: skip


def under(name: str, protocol: str, score: float | None, metric: str, **more: Any) -> Any:
    """A protocol's row of scores.json."""
    interval = None if score is None else [score * 0.9, score * 1.1]
    return {
        "row": name, "task": "classification", "protocol": protocol, "n": 40, "metric": metric,
        "score": score, "interval_95": interval, "chance": None, "unparsed": 0.125, **more,
    }  # fmt: skip


def write_run(
    directory: Path,
    rows: list[Any],
    protocols: list[Any] | None = None,
    suite: str = "lamm-benchmark",
    provenance: dict[str, Any] | None = None,
) -> Path:
    """A quality run's folder."""
    directory.mkdir(parents=True, exist_ok=True)
    identity = {"url": "http://there:8000", "model": "lamm", "fingerprint": "fp_1"}
    scores = {
        "suite": suite, "suite_provenance": provenance or {}, "model": identity, "complete": True,
        "client": {"commit": "abc123", "machine": "a machine"}, "rows": rows,
        "protocols": protocols or [],
    }  # fmt: skip
    (directory / "scores.json").write_text(json.dumps(scores))
    (directory / "run.json").write_text(json.dumps(identity | {"preset": "lamm-train", "seed": 3}))
    (directory / "server.json").write_text(json.dumps({"server": {"version": "9.8"}}))
    return directory


def pages(tmp_path: Path, *given: str) -> tuple[str, str, Any]:
    """HTML, Markdown and JSON of the command's report."""
    out = tmp_path / "report"
    assert bench(["report", *given, "--out", str(out)]) == 0
    names = ("report.html", "report.md", "report.json")
    page, markdown, values = ((out / name).read_text(encoding="utf8") for name in names)
    return page, markdown, json.loads(values)


async def test_the_prompt_preset_is_kept_with_the_run_and_told(tmp_path: Path) -> None:
    preset = {"name": "upstream-bench", "digest": "feedface01234567"}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/version":
            return httpx.Response(200, json={"prompt_presets": {"m": preset}})
        return httpx.Response(200, json={"data": [{"id": "m", "prompt_preset": preset}]})

    run = write_run(tmp_path / "run", [row("Classification_CIFAR10")])
    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(base_url="http://lamm", transport=transport) as http:
        await keep_server_facts(http, "m", run)
    kept = json.loads((run / "server.json").read_text())
    assert kept["model_card"]["prompt_preset"] == preset
    report = make_report(read_findings([str(run)]), load_published(), "today")
    facts = report.provenance[0].facts
    assert facts["model_card.prompt_preset.name"] == "upstream-bench"
    assert facts["model_card.prompt_preset.digest"] == "feedface01234567"


def test_the_page_has_the_numbers_of_the_runs(tmp_path: Path) -> None:
    control = {"text-only": {"score": 0.211, "interval_95": [0.1, 0.3], "n": 39}}
    order = {"consistency": 0.875, "n": 8, "position_bias": 0.25, "positions": [6, 2]}
    rows = [
        row("Classification_CIFAR10", 0.6173, controls=control, target=0.7, order_check=order),
        row("Counting_FSC147", 12.345, "mae"),
    ]
    protocols = [
        under("Classification_CIFAR10", "corrected-v1", 0.6173, "accuracy"),
        under("Classification_CIFAR10", "upstream-2023-07", 0.7129, "accuracy"),
        under("Counting_FSC147", "corrected-v1", 11.5, "mae_parsed"),
        under("Binary-Locating 2-set", "upstream-2023-07", 0.2222, "accuracy"),
    ]
    run = write_run(tmp_path / "run", rows, protocols)
    page, markdown, values = pages(tmp_path, f"ours={run}")
    words = Page(page).words
    stored = json.loads((run / "scores.json").read_text())
    # The task's own accuracy is corrected-v1's, which stands for both.
    for entry in (*stored["rows"][1:], *stored["protocols"]):
        low, high = (number(v, entry["metric"]) for v in entry["interval_95"])
        headline = f"{number(entry['score'], entry['metric'])} [{low}, {high}]"
        assert headline in words
        assert headline.replace("[", "\\[").replace("]", "\\]") in markdown
    assert "61.7 [55.6, 67.9]" in words
    assert "12.35 [9.88, 13.58]" in words
    details = next(text for text in words if "text-only" in text and text.startswith("n 40"))
    assert details == (
        "n 40 · unparsed 12.5 % · chance 10.0 · target 70.0 · text-only 21.1 [10.0, 30.0] (n 39) · "
        "same option when shuffled 87.5 % (n 8) · position bias 25.0 %"
    )
    table = next(table for table in values["tables"] if table["id"] == "comparison_2d")
    figures = table["rows"][0][-1]["figures"]
    assert [(f["protocol"], f["score"]) for f in figures] == [
        ("upstream-2023-07", 0.7129), ("corrected-v1", 0.6173)
    ]  # fmt: skip
    assert not values["stamps"]
    for fact in ("fp_1", "abc123", "a machine", "lamm-train", "9.8", "3"):
        assert fact in words
    for published in ("99.5", "60.83", "46.22", "0.158", "4.82", "53.97", "99.89", "31.2", "89"):
        assert published in words


def test_runs_stand_side_by_side_and_missing_rows_are_missing(tmp_path: Path) -> None:
    first = write_run(tmp_path / "zero", [row("Classification_CIFAR10", 0.0)])
    silent = row("Detection_VOC2012", None, unanswered={"a": "HTTP 500"})
    second = write_run(tmp_path / "tuned", [row("Classification_CIFAR10", 0.9), silent])
    _, markdown, values = pages(tmp_path, str(first), str(second))
    table = next(table for table in values["tables"] if table["id"] == "comparison_2d")
    assert table["columns"][-2:] == ["lamm (zero) (ours)", "lamm (tuned) (ours)"]
    cifar, voc, sqa = table["rows"][:3]
    assert [cell["figures"][0]["score"] for cell in cifar[-2:]] == [0.0, 0.9]
    assert [cell["kind"] for cell in voc[-2:]] == ["missing", "ours"]
    assert voc[-1]["figures"][0]["score"] is None
    assert {cell["text"] for cell in sqa[-2:]} == {"not measured"}
    assert "no score" in markdown
    assert figures_of(read_findings([str(first)]).runs[0], ["Detection_VOC2012"]) == ()
    scores = next(table for table in values["tables"] if table["id"] == "scores")
    assert [line[0]["text"] for line in scores["rows"]] == [
        "Classification_CIFAR10", "Detection_VOC2012"
    ]  # fmt: skip
    assert scores["rows"][1][2]["text"] == "not measured"


@pytest.mark.parametrize(
    ("suite", "provenance"), [("mini", {}), ("mini-benchmark", MINI), ("lamm-benchmark", MINI)]
)
def test_a_run_on_other_data_is_stamped_on_every_table(
    tmp_path: Path, suite: str, provenance: dict[str, Any]
) -> None:
    rows = [row("Classification_CIFAR10")]
    run = write_run(tmp_path / "run", rows, suite=suite, provenance=provenance)
    page, markdown, values = pages(tmp_path, f"ours={run}")
    sections = page.split("<section")
    tables = [section for section in sections if "<table>" in section]
    assert len(tables) == 5
    assert all("NOT COMPARABLE with the published numbers" in section for section in tables)
    assert all(
        "NOT COMPARABLE" in part for part in markdown.split("\n## ") if "published metric" in part
    )
    assert values["tables"][0]["columns"][-1] == "ours (ours, NOT COMPARABLE)"
    assert all(any(stamp["grave"] for stamp in table["stamps"]) for table in values["tables"])


def test_parts_and_gaps_of_a_suite_are_said(tmp_path: Path) -> None:
    rows = [row("Classification_CIFAR10", unanswered={"c1": "HTTP 500"}, problems=["x.jsonl:1"])]
    run = write_run(tmp_path / "run", rows, provenance={"limit": 200, "seed": 5})
    stored = json.loads((run / "scores.json").read_text()) | {"complete": False}
    (run / "scores.json").write_text(json.dumps(stored))
    _, markdown, values = pages(tmp_path, str(run))
    assert [stamp["grave"] for stamp in values["stamps"]] == [False, False]
    assert "at most 200 records per set, sampled with seed 5" in markdown
    assert "1 questions have no answer, 1 records are invalid" in markdown
    assert "NOT COMPARABLE" not in markdown


def test_the_first_ones_and_some_rows_are_parts_too(tmp_path: Path) -> None:
    taken = {"seed": 1, "taken": {"limit": 5, "part": "2d"}}
    run = write_run(tmp_path / "run", [row("Classification_CIFAR10")], provenance=taken)
    _, markdown, values = pages(tmp_path, str(run))
    assert [stamp["grave"] for stamp in values["stamps"]] == [False, False]
    assert "at most 5 records per row, the first ones" in markdown
    assert "only its rows of 2d" in markdown
    whole = write_run(tmp_path / "whole", [], provenance={"part": "all", "limit": None, "seed": 0})
    assert stamps_of(read_findings([str(whole)]).runs[0]) == ()
    unseeded = write_run(tmp_path / "unseeded", [], provenance={"limit": 9})
    [stamp] = stamps_of(read_findings([str(unseeded)]).runs[0])
    assert stamp.text == "Part of the suite: at most 9 records per set, the first ones."


def test_answers_none_of_which_could_be_read_are_said() -> None:
    silent = Figure("corrected-v1", "mae_parsed", None, n=12, unparsed=1.0)
    assert silent.headline == "no score"
    assert silent.details == ("n 12", "unparsed 100.0 %", "no answer could be parsed")
    assert Figure("corrected-v1", "", None).details == ("no answers",)
    assert Figure("corrected-v1", "", None, reason="no rule").details == ("no rule",)


def test_a_report_holds_no_absolute_path(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run-7", [row("Classification_CIFAR10")], provenance={"from": str(tmp_path)}
    )
    page, markdown, values = pages(tmp_path, str(run))
    assert values["provenance"][0]["facts"]["folder"] == "run-7"
    assert not any(str(tmp_path) in text for text in (page, markdown, json.dumps(values)))


def test_what_models_write_is_escaped_and_the_page_needs_nothing(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = {**suite_files.right_answers, "What is item 0?": HOSTILE}
    server.answers["How many items, try 0?"] = "</svg></style>" + "9" * 900
    out = tmp_path / "run"
    argv = ["quality", "--url", server.url, "--data", str(suite_files.directory)]
    assert bench([*argv, "--out", str(out)]) == 0
    page, markdown, _ = pages(tmp_path, f"<b>$x$={out}")
    parsed = Page(page)
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert HOSTILE in parsed.words
    assert "<b>$x$" in parsed.words
    assert "b" not in {t for t, a in parsed.tags if a.get("class") == "hostile"}
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "xlink:href", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (tag, value)
    assert re.findall(r"url\((?!#)|@import|https?://(?!127\.0\.0\.1)", page) == []
    assert all("aria-label" in a for t, a in parsed.tags if a.get("role") == "img")
    assert {a.get("scope") for t, a in parsed.tags if t == "th"} == {"col", "row"}
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "\\<b\\>" in markdown


def test_dates_stay_on_one_line_and_names_stay_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [row("Classification_CIFAR10")])
    page, _, _ = pages(tmp_path, f"<i>2024-05-06={run}")
    assert '&lt;i&gt;<span class="whole">2024-05-06</span> (ours)</th>' in page
    assert 'LAMM zero-shot, <span class="whole">2023-07-28</span></th>' in page
    assert "i" not in {tag for tag, _ in Page(page).tags}


def test_load_tests_and_judgements_stand_beside(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [row("Classification_CIFAR10")])
    load = tmp_path / "load"
    load.mkdir()
    for limit, rate in ((8, 900.5), (1, 300.25)):
        result = {"model_id": "lamm", "max_concurrency": limit, "request_rate": "inf",
                  "completed": 10, "failed": 0, "request_throughput": 2.0,
                  "output_throughput": rate, "median_ttft_ms": 12.5, "errors": [],
                  "quality": {"accuracy": 0.625}}  # fmt: skip
        (load / f"{limit}.json").write_text(json.dumps(result))
    (load / "other.json").write_text('{"answer": 1}')
    judge = tmp_path / "judge"
    judge.mkdir()
    judgement = {
        "judge": "fair-1", "systems": ["theirs", "ours"], "n": 10,
        "counts": {"win": 2, "tie": 1, "disagreed": 1, "loss": 6}, "win_rate": 0.3,
        "interval_95": [0.1, 0.5], "upstream_win_rate": 0.25, "upstream_n": 8,
        "first_shown_preferred": 0.6, "unparsed": 0.0, "notes": ["as it is"],
    }  # fmt: skip
    (judge / "judge.json").write_text(json.dumps(judgement))
    page, _, values = pages(tmp_path, f"ours={run}", str(load), str(judge))
    words = Page(page).words
    for text in ("300.2", "900.5", "12.5", "62.5%", "fair-1", "30.0 [10.0, 50.0]", "25.0", "60.0"):
        assert text in words
    table = next(table for table in values["tables"] if table["id"] == "load")
    assert [line[1]["text"] for line in table["rows"]] == ["1", "8"]
    published = next(t for t in values["tables"] if t["id"] == "locating_and_judged")
    figure = published["rows"][1][-1]["figures"][0]
    assert figure["score"] == pytest.approx(0.7)
    assert figure["interval"] == pytest.approx([0.5, 0.9])
    assert figure["metric"] == "win rate against theirs"


def test_folders_without_results_and_files_of_another_form_are_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="is not a directory"):
        read_findings([str(tmp_path / "none")])
    with pytest.raises(BenchmarkError, match=r"has no scores\.json"):
        read_findings([str(tmp_path)])
    run = write_run(tmp_path / "run", [{"name": "x"}])
    with pytest.raises(BenchmarkError, match=r"scores\.json: rows\.0\.task: Field required"):
        read_findings([str(run)])
    (run / "scores.json").write_text("{")
    with pytest.raises(BenchmarkError, match="as JSON"):
        read_findings([str(run)])


def test_the_published_numbers_have_their_metrics_the_right_way_round() -> None:
    published = load_published()
    selected = next(table for table in published.tables if table.id == "selected_2d")
    assert [(r.dataset, r.metric) for r in published.of(selected)] == [
        ("CIFAR10", "accuracy"), ("VOC2012", "mAP"), ("SQAimage", "accuracy")
    ]  # fmt: skip
    assert len(published.results) == 16
    words = published.model_dump_json(exclude={"notes"})
    assert "clasification" not in words
    assert "prolblem" not in words
    assert "exchanged" in " ".join(published.notes)
    text = as_markdown(make_report(read_findings([]), published, "now"))
    assert text.startswith("# LAMM benchmark report")


# The README's numbers of each revision, in the order of its tables.
ZERO_SHOT = {
    "2023-06-11": [34.5, 4.82, 47.15, 19.5, 0.7, 13, 53.97, 4.2, 51.3, 30.48, "failed",
                   9.3, "failed", 26.54, 31.2, 89],
    "2023-07-28": [37.9, 7.2, 49.88, 20.92, 2.56, 18.23, 46.88, 29.14, 57.6, 56.96, "failed",
                   8.2, "failed", 24.9, 36.53, 89],
}  # fmt: skip


def test_each_revision_has_its_own_values() -> None:
    published = load_published()
    assert published.dates == tuple(ZERO_SHOT) == REVISIONS
    for date, values in ZERO_SHOT.items():
        column = Column("lamm_zero_shot", "", date)
        assert [result.value(column) for result in published.results] == values
    tuned = [result.value(Column("lamm_finetune", "")) for result in published.results]
    assert [value for value in tuned if value is not None] == [
        91.2, 13.48, 74.27, 11.89, 3.38, 99.89
    ]  # fmt: skip
    with pytest.raises(ValueError, match="revision '2023-07-27' is not one of 2023-06-11"):
        published.shown(["2023-07-27"])


def test_the_revision_asked_for_stands_beside_ours(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [row("Classification_CIFAR10")])

    def comparison(*given: str) -> dict[str, Any]:
        _, markdown, values = pages(tmp_path, f"ours={run}", *given)
        dates = given[1::2] or REVISIONS
        assert all(f"- {date}: README of LAMM, commit" in markdown for date in dates)
        return next(table for table in values["tables"] if table["id"] == "comparison_2d")

    both = comparison()
    june, july = "LAMM zero-shot, 2023-06-11", "LAMM zero-shot, 2023-07-28"
    assert both["columns"][-3:] == [july, june, "ours (ours)"]
    cells = [[cell["text"] for cell in line[-3:-1]] for line in both["rows"]]
    assert cells[0] == ["37.9", "34.5"]
    assert cells[10] == ["failed", "failed"]
    assert "README of LAMM, 2023-06-11 and 2023-07-28" in both["caption"]
    old = comparison("--revision", "2023-06-11")
    assert old["columns"][-2:] == [june, "ours (ours)"]
    assert july not in old["columns"]
    # Hair: LLaVA's 46.42 is the best until LAMM's 56.96.
    hair = next(line for line in old["rows"] if line[1]["text"] == "CelebA (hair)")
    assert [cell["text"] for cell in hair if cell["kind"] == "best"] == ["46.42"]
    new = comparison("--revision", "2023-07-28")
    hair = next(line for line in new["rows"] if line[1]["text"] == "CelebA (hair)")
    assert [cell["text"] for cell in hair if cell["kind"] == "best"] == ["56.96"]


def test_an_unknown_revision_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench(["report", "x", "--revision", "2024-01-01"])
    assert "'2024-01-01' is not one of 2023-06-11, 2023-07-28" in capsys.readouterr().err


def test_other_thresholds_of_a_metric_are_told(tmp_path: Path) -> None:
    def metric(value: float) -> dict[str, Any]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40, "note": ""}

    metrics = {"accuracy@0.5": metric(0.3), "accuracy@0.25": metric(0.5),
               "accuracy@0.25_unique": metric(0.6), "f1@0.25": metric(0.7)}  # fmt: skip
    grounding = under("VG_ScanRefer", "upstream-2023-07", 0.3, "accuracy@0.5", metrics=metrics)
    run = write_run(tmp_path / "run", [row("VG_ScanRefer", 0.2, "accuracy@0.5")], [grounding])
    [figure, _] = figures_of(read_findings([str(run)]).runs[0], ["VG_ScanRefer"])
    assert figure.details[:2] == ("accuracy@0.25 50.0 [40.0, 60.0]", "n 40")
    assert not any("unique" in text or "f1" in text for text in figure.details)


def held_out(digest: str, name: str = "Classification_CIFAR10", limit: int = 100) -> dict[str, Any]:
    """Provenance of a suite from the held-out part of a published file."""
    return {"files": {"a.json": {"name": name, "sha256": digest}}, "limit": limit, "seed": 0,
            "source": {"held_out": {"train_share": 0.5}}}  # fmt: skip


def test_zero_shot_against_fine_tuned_from_two_folders(tmp_path: Path) -> None:
    cifar, voc = "Classification_CIFAR10", "Detection_VOC2012"
    before = [under(cifar, "upstream-2023-07", 0.4, "accuracy"),
              under(voc, "upstream-2023-07", 0.3, "recall@0.5")]  # fmt: skip
    provenance = held_out("aa")
    provenance["files"]["b.json"] = {"name": voc, "sha256": "bb"}
    zero = write_run(
        tmp_path / "zero", [row(cifar, 0.4), row(voc, 0.3)], before, provenance=provenance
    )
    tuned = tmp_path / "tuned"
    after = [under(cifar, "upstream-2023-07", 0.7, "accuracy")]
    one_row = held_out("aa") | {"part": "classification"}
    write_run(tuned / "cifar10", [row(cifar, 0.7)], after, provenance=one_row)
    write_run(tuned / "voc2012", [row(voc, 0.2)], provenance=held_out("cc", voc))
    page, markdown, values = pages(tmp_path, "--zero-shot", str(zero), "--fine-tuned", str(tuned))
    [table] = values["tables"]
    assert table["columns"][3:] == [
        "LAMM zero-shot, 2023-07-28", "LAMM zero-shot, 2023-06-11", "LAMM fine-tuned",
        "zero-shot (ours)", "fine-tuned (ours)", "change (ours)",
    ]  # fmt: skip
    assert [line[1]["text"] for line in table["rows"]] == [
        "CIFAR10", "VOC2012", "SQAimage", "ScanNet", "ScanRefer", "ScanQA (multiple choice)"
    ]  # fmt: skip
    assert [cell["text"] for cell in table["rows"][0][3:6]] == ["37.9", "34.5", "91.2"]
    change = table["rows"][0][-1]["figures"][0]
    assert change["score"] == pytest.approx(0.3)
    # Scores 0.4 [0.36, 0.44] and 0.7 [0.63, 0.77]: 0.3 -+ hypot(0.07, 0.04).
    assert change["interval"] == pytest.approx([0.3 - 0.0806226, 0.3 + 0.0806226])
    assert "+30.0 [21.9, 38.1]" in Page(page).words
    assert "**+30.0" in markdown
    refused = table["rows"][1][-1]["figures"]
    assert [(one["score"], one["reason"]) for one in refused] == [
        (None, "the runs were asked different records")
    ]
    assert table["rows"][2][-1]["text"] == "not compared"
    assert [entry["label"] for entry in values["provenance"]] == [
        "zero-shot", "fine-tuned: cifar10", "fine-tuned: voc2012"
    ]  # fmt: skip
    assert not any("held out of training" in stamp["text"] for stamp in table["stamps"])
    assert [stamp["text"] for stamp in values["stamps"]] == [
        "Part of the suite: at most 100 records per set, sampled with seed 0.",
        "Part of the suite: only records held out of fine-tuning.",
    ]


def test_records_that_may_be_trained_on_are_stamped(tmp_path: Path) -> None:
    zero, tuned = (
        str(write_run(tmp_path / name, [row("VQA_SQAimage")])) for name in ("zero", "tuned")
    )
    _, _, values = pages(tmp_path, "--zero-shot", zero, "--fine-tuned", tuned)
    [stamp] = values["tables"][0]["stamps"]
    assert stamp["runs"] == ["fine-tuned"]
    assert "may have been trained on them" in stamp["text"]


def test_one_side_alone_and_one_row_twice_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name, [row("VQA_SQAimage")])
    (tmp_path / "empty").mkdir()
    runs, one = str(tmp_path / "runs"), str(tmp_path / "runs" / "a")
    for argv, message in (
        (["--fine-tuned", one], "--fine-tuned needs --zero-shot too"),
        (["--zero-shot", one], "--zero-shot needs --fine-tuned too"),
        (["--zero-shot", one, "--fine-tuned", runs], "both have the row VQA_SQAimage"),
        (["--zero-shot", one, "--fine-tuned", str(tmp_path / "empty")], "nor has any folder in it"),
        (["--zero-shot", one, "--fine-tuned", str(tmp_path / "no")], "no is not a directory"),
        ([], "nothing to report"),
    ):
        assert bench(["report", *argv]) == 1
        assert message in " ".join(capsys.readouterr().err.split())


def test_one_command_scores_and_reports_anew(
    server: Any, suite_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = suite_files.right_answers
    out = tmp_path / "runs" / "one"
    argv = ["quality", "--url", server.url, "--data", str(suite_files.directory)]
    assert bench([*argv, "--suite", "2d", "--limit", "3", "--out", str(out)]) == 0
    server.stop()
    right = (out / "scores.json").read_text()
    (out / "scores.json").write_text(right.replace('"score": 1.0', '"score": 0.0'))
    side = str(tmp_path / "runs")
    pages(tmp_path, str(out), "--zero-shot", side, "--fine-tuned", side, "--rescore")
    again = json.loads((out / "scores.json").read_text())
    assert again["rows"] == json.loads(right)["rows"]
    assert {line["protocol"] for line in again["protocols"]} == set(PROTOCOLS)
    suite_files.directory.rename(tmp_path / "moved")
    assert bench(["report", str(out), "--rescore"]) == 1
    assert "is not there; if it was moved, run" in " ".join(capsys.readouterr().err.split())
    (out / "questions.json").unlink()
    assert bench(["report", str(out), "--rescore"]) == 1
    assert "has no questions.json" in " ".join(capsys.readouterr().err.split())


def test_a_report_without_runs_has_no_published_tables(tmp_path: Path) -> None:
    report = make_report(read_findings([]), load_published(), "now")
    assert as_json(report)["tables"] == []


def test_plots_are_inline_and_follow_the_page(tmp_path: Path) -> None:
    rows = [row("Classification_CIFAR10"), row("Counting_FSC147", 3.0, "mae")]
    found = read_findings([str(write_run(tmp_path / "run", rows))])
    plot = score_plot(found.runs)
    assert plot is not None
    assert plot.startswith("<svg")
    assert "var(--ink)" in plot
    assert "http" not in plot
    assert "Counting" not in plot
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', plot))
    assert used <= set(re.findall(r' id="([^"]+)"', plot))
    assert load_plot(found.loads) is None


def test_provenance_is_that_of_the_scores(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [row("Classification_CIFAR10")])
    # A later run of the folder was broken off before it was scored.
    later = {"url": "http://there:8000", "model": "other", "fingerprint": "fp_2"}
    (run / "run.json").write_text(json.dumps(later))
    report = make_report(read_findings([str(run)]), load_published(), "today")
    facts = report.provenance[0].facts
    assert (facts["model"], facts["fingerprint"]) == ("lamm", "fp_1")


def test_answers_by_likelihood_are_stamped(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [row("Classification_CIFAR10")])
    stored = json.loads((run / "scores.json").read_text())
    stored["model"]["mode"] = "likelihood"
    (run / "scores.json").write_text(json.dumps(stored))
    [stamp] = stamps_of(read_findings([str(run)]).runs[0])
    assert "by the most likely option" in stamp.text


def test_load_tests_of_other_work_are_stamped(tmp_path: Path) -> None:
    base = {"model_id": "lamm", "max_concurrency": 1, "request_rate": "inf", "completed": 10,
            "failed": 0, "output_throughput": 5.0, "goodput": None}  # fmt: skip
    mixes: list[dict[str, Any]] = [
        {"output_len_mix": [8, 16]}, {"output_len_mix": [8, 16], "goodput": {"ttft": 5.0}}, {},
        {"output_len_mix": [128], "ramp_up_strategy": "linear", "ramp_up_start_rps": 1.0,
         "ramp_up_end_rps": 9.0},
    ]  # fmt: skip
    for index, mix in enumerate(mixes):
        (tmp_path / f"{index}.json").write_text(json.dumps(base | mix))
    tests = read_findings([str(tmp_path)]).loads
    assert load_table(tests[:3]).stamps == ()
    table = load_table(tests)
    [stamp] = table.stamps
    assert (stamp.grave, stamp.runs) == (True, ("lamm",))
    assert "differ in output_len_mix" in stamp.text
    assert [line[2].text for line in table.rows] == ["inf", "inf", "inf", "1.0 to 9.0"]


def test_a_slow_git_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*command: Any, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 10)

    monkeypatch.setattr(subprocess, "run", slow)
    assert client_facts()["commit"] is None
