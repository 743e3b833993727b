"""The options of `lamm bench load`; flags that `vllm bench serve` also has keep its names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from benchmark.commands.options import (
    Address,
    Argument,
    Assignment,
    CommaSeparated,
    Options,
    ServerOptions,
    Share,
    one_of,
    pair_of,
)
from benchmark.http.client import Backend
from benchmark.load.metrics import GOODPUT_METRICS, METRICS


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ValueError(f"{text!r} is not a size; expected WIDTHxHEIGHT such as 336x224")
    return int(width), int(height)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{text!r} is not a JSON object")
    return value


_SEVERAL = Argument(metavar="N[,N...]")
_Rate = Annotated[PositiveFloat | None, Argument(metavar="RATE")]
_Percentile = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
_Objective = Annotated[tuple[Annotated[str, one_of(GOODPUT_METRICS)], PositiveFloat], pair_of(":")]
_Paths = Annotated[tuple[Path, ...], Argument(nargs="+", metavar="PATH")]
_Assignments = Annotated[tuple[Assignment, ...], Argument(nargs="+", metavar="NAME=VALUE")]


class ProtocolOptions(ServerOptions):
    """The form of the requests."""

    heading = "protocol"

    backend: Backend = Field(
        default=Backend.LAMM,
        description="openai-chat sends standard fields only, for any other server",
    )
    ignore_eos: bool | None = Field(
        default=None,
        description="request outputs of an exact length (default: with --backend lamm)",
    )
    extra_body: Annotated[
        dict[str, Any], BeforeValidator(_json_object), Argument(metavar="JSON")
    ] = Field(default={}, description="fields added to every request")
    header: _Assignments = Field(default=(), description="headers sent with every request")


class ArrivalOptions(Options):
    """When requests are sent."""

    heading = "arrivals"

    max_concurrency: Annotated[tuple[NonNegativeInt, ...] | None, CommaSeparated, _SEVERAL] = Field(
        default=None,
        description="maximum requests in flight; a list runs one test each; 0 is unbounded "
        "(default: 8; unbounded at a finite rate)",
    )
    request_rate: PositiveFloat = Field(
        default=math.inf,
        description="requests per second; inf sends as soon as a slot is free",
    )
    burstiness: PositiveFloat = Field(
        default=1.0,
        description="shape of the intervals at a finite rate: 1 is Poisson, less is burstier",
    )
    ramp_up_strategy: Literal["linear", "exponential"] | None = Field(
        default=None, description="increase the rate during the test, instead of --request-rate"
    )
    ramp_up_start_rps: _Rate = Field(default=None, description="requests/s at the start")
    ramp_up_end_rps: _Rate = Field(default=None, description="requests/s at the end")
    cancel_rate: Share = Field(
        default=0.0, description="share of the requests that disconnect at a random moment"
    )


class WorkloadOptions(Options):
    """Number and size of the requests."""

    heading = "workload"

    num_prompts: PositiveInt = Field(default=64, description="requests per round")
    output_lens: Annotated[
        tuple[PositiveInt, ...], CommaSeparated, Argument("--output-len", metavar="N[,N...]")
    ] = Field(default=(8, 16, 32, 128), description="tokens to generate, mixed in equal shares")
    input_words: Annotated[tuple[PositiveInt, ...], CommaSeparated, _SEVERAL] = Field(
        default=(16,), description="words per question, mixed in equal shares"
    )
    seed: int = Field(default=0, description="random seed of prompts, mix, media and arrivals")
    num_warmups: NonNegativeInt = Field(default=2, description="requests before measuring")
    rounds: PositiveInt = Field(
        default=1, description="rounds with new prompts; medians over rounds are reported"
    )


class MediaOptions(Options):
    """Pictures and point clouds in the requests."""

    heading = "media"
    note = "used in turn; without any, requests are text only"

    image: _Paths = Field(default=(), description="picture files")
    image_sizes: Annotated[
        tuple[Annotated[tuple[int, int], BeforeValidator(_size)], ...],
        CommaSeparated,
        Argument(metavar="WxH[,...]"),
    ] = Field(default=(), description="generated pictures of these sizes")
    unique_images: bool = Field(
        default=False,
        description="a different picture per request, so that no cache of pictures helps: "
        "generated, or a file with one pixel changed",
    )
    cloud: _Paths = Field(default=(), description="point-cloud files")
    cloud_points: Annotated[tuple[PositiveInt, ...], CommaSeparated, _SEVERAL] = Field(
        default=(), description="generated point clouds with this many points"
    )
    unique_clouds: bool = Field(
        default=False,
        description="a different cloud per request: generated, or an npy file with one point "
        "moved by 1 cm",
    )


class QuestionOptions(Options):
    """Scored questions among the requests."""

    heading = "quality"
    note = "questions of a suite among the requests, scored"

    suite: str | None = Field(
        default=None, description="'mini', or the directory of a suite (default: no questions)"
    )
    data: Path | None = Field(
        default=None, description="directory of the suite (default: data/mini-suite for 'mini')"
    )
    suite_share: Share = Field(default=0.5, description="share of the requests that are questions")


class ResultOptions(Options):
    """What is printed and written."""

    heading = "result"

    percentile_metrics: Annotated[
        tuple[Annotated[str, one_of(METRICS)], ...],
        CommaSeparated,
        Argument(metavar="NAME[,NAME...]"),
    ] = Field(default=tuple(METRICS), description="latencies in the table")
    metric_percentiles: Annotated[
        tuple[_Percentile, ...], CommaSeparated, Argument(metavar="P[,P...]")
    ] = Field(default=(50.0, 90.0, 99.0), description="percentiles in the result files")
    goodput: Annotated[tuple[_Objective, ...], Argument(nargs="+", metavar="NAME:MS")] = Field(
        default=(),
        description="count the requests within these limits, such as ttft:500 tpot:50 e2el:2000",
    )
    save_result: bool = Field(default=False, description="write a JSON file per test")
    save_detailed: bool = Field(
        default=False, description="the same, with the times and text of every request"
    )
    plot: Annotated[Literal["png", "svg"] | None, Argument(nargs="?", const="png")] = Field(
        default=None,
        description="write a plot next to each JSON file, and one of all tests (default format: "
        "png)",
    )
    result_dir: Path = Field(
        default=Path("results/load"), description="directory of the result files"
    )
    result_filename: str | None = Field(
        default=None, description="name of the file (default: made from the test)"
    )
    label: str | None = Field(
        default=None, description="first part of the file name (default: the backend)"
    )
    metadata: _Assignments = Field(default=(), description="written into the result files")


class BaselineOptions(Options):
    """A second system that runs the same prompts."""

    heading = "baseline"
    note = "alternates with the server, on the same prompts; transformers needs the train extra"

    baseline: Literal["transformers", "server"] | None = Field(
        default=None,
        description="transformers: its generate, in static batches of size --max-concurrency; "
        "server: another OpenAI-compatible server, under the same load",
    )
    checkpoint: Path | None = Field(
        default=None, description="checkpoint that the server serves, for transformers"
    )
    baseline_device: str = Field(default="cpu", description="torch device of transformers")
    baseline_dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="precision of transformers; use the server's"
    )
    baseline_url: Address | None = Field(default=None, description="address of the other server")
    baseline_model: str | None = Field(
        default=None, description="its model id (default: the first in its /v1/models)"
    )


# The help lists the flags of the last class first.
class LoadOptions(
    BaselineOptions,
    ResultOptions,
    QuestionOptions,
    MediaOptions,
    WorkloadOptions,
    ArrivalOptions,
    ProtocolOptions,
):
    """Options of `lamm bench load`."""
