"""`lamm bench report`: its options, and the function that runs it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field
from rich.console import Console

from benchmark.answers import write_whole
from benchmark.commands.options import Argument, Command, Options, one_of
from benchmark.errors import BenchmarkError
from benchmark.load.plot import require_matplotlib
from benchmark.quality.protocol_scores import PROTOCOLS, score_protocols
from benchmark.quality.report import write_reports
from benchmark.quality.run import rescore
from benchmark.quality.stored_suite import stored_suite
from benchmark.report.document import Report, as_json, as_markdown, make_report
from benchmark.report.files import Findings, read_findings, read_label
from benchmark.report.gallery import shortened
from benchmark.report.page import Plot, RunGallery, report_page
from benchmark.report.published import load_published
from benchmark.report.stamps import stamps_of
from benchmark.report.tuning import read_tuning, run_folders
from benchmark.text import print_written

# The revisions in published_results.yaml; read when the report is written, not for --help.
REVISIONS = ("2023-06-11", "2023-07-28")
# Misses and hits per row on the page; gallery.html of a run has more.
SHOWN = 3
_HELP = """\
Puts results side by side in report.md, report.json and report.html: one page without scripts that
works offline, has a light and a dark theme, and prints.

  lamm bench report results/quality
  lamm bench report ours=results/lamm theirs=results/llava results/load results/judge
  lamm bench report --zero-shot results/base --fine-tuned results/tuned --rescore

DIR is the output of `lamm bench quality`, `lamm bench load --save-result` or `lamm bench judge`;
LABEL= before it names it in the report. The published tables of LAMM get a column for each quality
run, and LAMM's own column once per revision of its README; --revision DATE shows only one. A run on
a suite other than the published one is marked as not comparable. --zero-shot and --fine-tuned fill
the published table of six rows that compares them. --rescore makes everything anew from the answers
on disk.
"""


class ReportOptions(Options):
    """Options of `lamm bench report`."""

    directories: Annotated[
        tuple[str, ...], Argument("directories", nargs="*", metavar="[LABEL=]DIR")
    ] = Field(default=(), description="results to show")
    out: Path = Field(default=Path("results/report"), description="directory of the report")
    revision: Annotated[
        tuple[Annotated[str, one_of(REVISIONS)], ...], Argument(action="append", metavar="DATE")
    ] = Field(
        default=(),
        description="show the published results of this revision of LAMM's README; may be "
        f"repeated: {', '.join(REVISIONS)} (default: all)",
    )
    zero_shot: Annotated[tuple[str, ...], Argument(action="append", metavar="[LABEL=]DIR")] = Field(
        default=(),
        description="run of a model before fine-tuning, or a folder of such runs; may be repeated",
    )
    fine_tuned: Annotated[tuple[str, ...], Argument(action="append", metavar="[LABEL=]DIR")] = (
        Field(default=(), description="the same after fine-tuning")
    )
    rescore: bool = Field(
        default=False,
        description="first score the stored answers of all quality runs again, under all protocols",
    )


def run(options: ReportOptions, console: Console) -> int:
    """Writes the three files of the report; returns 0.

    Raises:
        BenchmarkError: a directory holds no result, a run cannot be scored again, or a package is
            not installed.
    """
    if not (options.directories or options.zero_shot or options.fine_tuned):
        raise BenchmarkError("nothing to report: name a DIR, or --zero-shot and --fine-tuned")
    if options.rescore:
        _rescore(options, console)
    findings = read_findings(options.directories)
    tuning = None
    if options.zero_shot or options.fine_tuned:
        tuning = read_tuning(options.zero_shot, options.fine_tuned)
    written_at = datetime.now(UTC).isoformat(timespec="seconds")
    published = load_published().shown(options.revision)
    report = make_report(findings, published, written_at, tuning)
    print_written(write_report(report, findings, options.out), console)
    return 0


def _rescore(options: ReportOptions, console: Console) -> None:
    """Scores the answers of all given quality runs again."""
    given = (*options.directories, *options.zero_shot, *options.fine_tuned)
    folders = [folder for one in given for folder in run_folders(read_label(one)[1])]
    for folder in dict.fromkeys(folders):
        console.print(f"scoring {folder} ...", markup=False, highlight=False)
        result = rescore(stored_suite(folder), folder)
        write_reports(result, folder, score_protocols(result.rows, PROTOCOLS))


def write_report(report: Report, findings: Findings, out: Path) -> list[Path]:
    """Writes `report.md`, `report.json` and `report.html` to `out`; returns their paths."""
    galleries = [
        RunGallery(run.label, shortened(run.gallery, SHOWN), stamps_of(run))
        for run in findings.runs
        if run.gallery.rows
    ]
    texts = {
        "report.md": as_markdown(report),
        "report.json": json.dumps(as_json(report), indent=2) + "\n",
        "report.html": report_page(report, _plots(findings), galleries),
    }
    for name, text in texts.items():
        write_whole(out / name, text)
    return [out / name for name in texts]


def _plots(findings: Findings) -> list[Plot]:
    require_matplotlib()
    # Imported here because matplotlib is in the bench extra.
    from benchmark.report.plots import load_plot, score_plot  # noqa: PLC0415

    drawn = (
        (
            "Scores at a glance",
            "Score of each row in percent with 95 % interval, chance and blind controls. The table "
            "of all scores has the same numbers.",
            score_plot(findings.runs),
        ),
        (
            "Load at a glance",
            "Output tokens per second and median time to first token over concurrency. The table "
            "of latency and throughput has the same numbers.",
            load_plot(findings.loads),
        ),
    )
    return [Plot(title, words, svg) for title, words, svg in drawn if svg is not None]


COMMAND = Command(
    "report",
    "results next to the published ones: Markdown, JSON, one HTML page",
    _HELP,
    ReportOptions,
    run,
)
