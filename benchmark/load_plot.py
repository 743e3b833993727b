"""Plots saved results of load tests: one file as a single test, several as a sweep.

    python -m benchmark.load_plot results/load/*.json --out sweep.png

Reads the files of `lamm bench load --save-detailed` and of `vllm bench serve`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.load.plot import require_matplotlib, run_figure, sweep_figure, write_figure


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.load_plot", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="result files of lamm bench load")
    parser.add_argument("--out", type=Path, default=Path("load.png"), help="png or svg to write")
    arguments = parser.parse_args(argv)
    try:
        require_matplotlib()
        results = [json.loads(file.read_text(encoding="utf8")) for file in arguments.files]
        figure = run_figure(results[0]) if len(results) == 1 else sweep_figure(results)
        write_figure(figure, arguments.out)
    except (BenchmarkError, OSError, ValueError) as error:
        sys.stderr.write(f"benchmark.load_plot: {error}\n")
        return 1
    except (LookupError, TypeError, AttributeError) as error:
        sys.stderr.write(f"benchmark.load_plot: not a load test result: {error!r}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
