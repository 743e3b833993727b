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
from benchmark.load.plot import require_matplotlib
from benchmark.report.document import as_json, as_markdown, make_report
from benchmark.report.files import Findings, read_findings
from benchmark.report.gallery import shortened
from benchmark.report.page import Plot, RunGallery, report_page
from benchmark.report.published import PublishedResults, load_published
from benchmark.report.stamps import stamps_of
from benchmark.text import print_written

# The revisions in published_results.yaml; read when the report is written, not for --help.
REVISIONS = ("2023-06-11", "2023-07-28")
# Misses and hits per row on the page; gallery.html of a run has more.
SHOWN = 3
_HELP = """\
Puts results side by side in report.md, report.json and report.html: one page without scripts that
works offline, has a light and a dark theme, and prints.

  lamm bench report results/quality
  lamm bench report zero-shot=results/base fine-tuned=results/tuned results/load results/judge

DIR is the output of `lamm bench quality`, `lamm bench load --save-result` or `lamm bench judge`;
LABEL= before it names it in the report. The published tables of LAMM get a column for each quality
run, and LAMM's own column once per revision of its README; --revision DATE shows only one. A run on
a suite other than the published one is marked as not comparable.
"""


class ReportOptions(Options):
    """Options of `lamm bench report`."""

    directories: Annotated[
        tuple[str, ...], Argument("directories", nargs="+", metavar="[LABEL=]DIR")
    ] = Field(description="results to show")
    out: Path = Field(default=Path("results/report"), description="directory of the report")
    revision: Annotated[
        tuple[Annotated[str, one_of(REVISIONS)], ...], Argument(action="append", metavar="DATE")
    ] = Field(
        default=(),
        description="show the published results of this revision of LAMM's README; may be "
        f"repeated: {', '.join(REVISIONS)} (default: all)",
    )


def run(options: ReportOptions, console: Console) -> int:
    """Writes the three files of the report; returns 0.

    Raises:
        BenchmarkError: a directory holds no result, or matplotlib is not installed.
    """
    findings = read_findings(options.directories)
    written_at = datetime.now(UTC).isoformat(timespec="seconds")
    published = load_published().shown(options.revision)
    print_written(write_report(findings, published, options.out, written_at), console)
    return 0


def write_report(
    findings: Findings, published: PublishedResults, out: Path, written_at: str
) -> list[Path]:
    """Writes `report.md`, `report.json` and `report.html` to `out`; returns their paths."""
    report = make_report(findings, published, written_at)
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
