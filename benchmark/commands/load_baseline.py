"""The second system of `lamm bench load`: its options are checked, and it is started or reached."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack

from benchmark.commands.load_options import LoadOptions
from benchmark.errors import BenchmarkError
from benchmark.load.baseline_process import TransformersBaseline
from benchmark.load.baseline_server import ServerBaseline
from benchmark.load.requests import RequestStyle

AnyBaseline = TransformersBaseline | ServerBaseline


def check_baseline(options: LoadOptions) -> None:
    """Checks the options before anything is started.

    Raises:
        BenchmarkError: they contradict one another.
    """
    if options.baseline != "server" and options.baseline_url is not None:
        raise BenchmarkError("--baseline-url needs --baseline server")
    if options.baseline is None:
        return
    if options.baseline == "server":
        if options.baseline_url is None:
            raise BenchmarkError("--baseline server needs --baseline-url, its address")
        if options.ramp_up_strategy or math.isfinite(options.request_rate):
            raise BenchmarkError("--baseline server runs a closed loop: remove the rates")
    elif options.checkpoint is None:
        raise BenchmarkError(
            "--baseline transformers needs --checkpoint, the checkpoint that the server serves"
        )
    for flag in ("suite", "cloud", "cloud_points", "cancel_rate"):
        if getattr(options, flag):
            name = flag.replace("_", "-")
            raise BenchmarkError(f"--baseline cannot be combined with --{name}")


async def open_baseline(
    options: LoadOptions, style: RequestStyle, stack: AsyncExitStack
) -> AnyBaseline | None:
    """The second system, or None; `stack` ends it.

    Raises:
        BenchmarkError: it does not start, or cannot be reached.
    """
    if options.baseline == "server" and options.baseline_url is not None:
        return await ServerBaseline.connect(
            stack,
            options.baseline_url,
            options.baseline_model,
            seconds=options.timeout,
            ignore_eos=style.ignore_eos,
            percentiles=options.metric_percentiles,
        )
    if options.baseline == "transformers" and options.checkpoint is not None:
        baseline = await TransformersBaseline.start(
            options.checkpoint, options.baseline_device, options.baseline_dtype
        )
        stack.push_async_callback(baseline.stop)
        return baseline
    return None
