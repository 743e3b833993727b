"""Prometheus metrics of one app; the only module that imports prometheus_client.

Handlers and streams report through `Metrics`; engine values are read from `Engine.stats()` at
scrape time. Names and bucket edges follow vLLM's, so that dashboards carry over. Labels never
contain a request, a prompt or an address.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lamm_model.conversation import Modality
from service.engine.base import (
    EngineStats,
    EngineStoppedError,
    FinishReason,
    QueueFullError,
    RequestTimings,
)
from service.exceptions import ContextLengthError, NotReadyError, OverloadedError, RateLimitedError

_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
         20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)  # fmt: skip
_ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
        20.0, 40.0, 80.0)  # fmt: skip
_REQUEST = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0,
            240.0, 480.0, 960.0, 1920.0, 7680.0)  # fmt: skip
_MEDIA = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_REJECTIONS: Mapping[type[Exception], str] = {
    QueueFullError: "queue_full",
    EngineStoppedError: "engine_stopped",
    NotReadyError: "not_ready",
    ContextLengthError: "context_length_exceeded",
}


class Metrics:
    """Counters and histograms of one app, in its own registry, labelled with one model."""

    def __init__(
        self, model_name: str, engine_stats: Mapping[str, Callable[[], EngineStats]]
    ) -> None:
        """`engine_stats` maps the model names of each engine to its `stats`."""
        self._model = model_name
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(engine_stats))
        self._ttft = self._histogram("time_to_first_token_seconds", "Arrival to first token", _TTFT)
        self._itl = self._histogram("inter_token_latency_seconds", "Time between tokens", _ITL)
        # Looked up once: it is observed for every token.
        self._itl_of_model = self._itl.labels(model_name)
        self._e2e = self._histogram("e2e_request_latency_seconds", "Arrival to end", _REQUEST)
        self._queue = self._histogram("request_queue_time_seconds", "Time waiting", _REQUEST)
        self._prefill = self._histogram("request_prefill_time_seconds", "Time in prefill", _REQUEST)
        self._decode = self._histogram("request_decode_time_seconds", "Time in decode", _REQUEST)
        self._media_fetch = self._by_modality("media_fetch_seconds", "Time to obtain a medium")
        self._media_decode = self._by_modality("media_decode_seconds", "Time to decode a medium")
        self._media_encode = self._by_modality("media_encode_seconds", "Time to encode a medium")
        self._preparing = Gauge(
            "lamm:num_requests_preparing_media", "Requests whose media are decoded or wait for it",
            ["model_name"], registry=self._registry,
        )  # fmt: skip
        self._success = Counter(
            "lamm:request_success", "Finished sequences", ["model_name", "finished_reason"],
            registry=self._registry,
        )  # fmt: skip
        self._rejections = Counter(
            "lamm:admission_rejections", "Requests refused before they ran",
            ["model_name", "reason"], registry=self._registry,
        )  # fmt: skip
        self._task_answers = Counter(
            "lamm:task_answers", "Answers of vision tasks, by how their text could be read",
            ["model_name", "task", "parse_status"], registry=self._registry,
        )  # fmt: skip

        self._batch_lines = Counter(
            "lamm:batch_lines", "Lines of batches, by what they came to; retried: put back",
            ["model_name", "status"], registry=self._registry,
        )  # fmt: skip
        self._batches = Gauge(
            "lamm:batches", "Batches that this server works on, by status",
            ["model_name", "status"], registry=self._registry,
        )  # fmt: skip
        for status in ("completed", "failed", "expired", "cancelled", "retried"):
            self._batch_lines.labels(model_name, status)
        for status in ("validating", "in_progress", "finalizing", "cancelling"):
            self._batches.labels(model_name, status)

    def of_model(self, model_name: str) -> Metrics:
        """The same metrics, labelled with another model."""
        view = copy.copy(self)
        view._model, view._itl_of_model = model_name, self._itl.labels(model_name)
        view._begin_at_zero()
        return view

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def first_token(self, seconds: float) -> None:
        """A sequence's first token arrived `seconds` after its request."""
        self._ttft.labels(self._model).observe(seconds)

    def tokens(self, count: int, seconds: float) -> None:
        """`count` more tokens arrived `seconds` after the previous ones."""
        for _ in range(count):
            self._itl_of_model.observe(seconds / count)

    def finished(self, reason: str, seconds: float, timings: RequestTimings | None = None) -> None:
        """A sequence ended: `stop`, `length`, `abort` or `error`."""
        self._success.labels(self._model, reason).inc()
        self._e2e.labels(self._model).observe(seconds)
        if timings is not None:
            self._queue.labels(self._model).observe(timings.queue)
            self._prefill.labels(self._model).observe(timings.prefill)
            self._decode.labels(self._model).observe(timings.generate)

    def media_read(self, modality: Modality, fetch: float, decode: float) -> None:
        """A medium was obtained and decoded; seconds of each stage."""
        self._media_fetch.labels(self._model, modality).observe(fetch)
        self._media_decode.labels(self._model, modality).observe(decode)

    def preparing_media(self, change: int) -> None:
        """Changes the number of requests that have media to decode by 1 or -1."""
        self._preparing.labels(self._model).inc(change)

    def media_encoded(self, modality: Modality, seconds: float) -> None:
        """A medium went through its encoder; cached ones do not count."""
        self._media_encode.labels(self._model, modality).observe(seconds)

    def rejected(self, reason: str) -> None:
        """A request was refused; `reason` is a code from the error table."""
        self._rejections.labels(self._model, reason).inc()

    def task_answered(self, task: str, parse_status: str) -> None:
        """A task's answer was read: `ok`, `partial` or `unparsed`."""
        self._task_answers.labels(self._model, task, parse_status).inc()

    def batch_lines(self, status: str, count: int) -> None:
        """Counts batch lines: `completed`, `failed`, `expired`, `cancelled` or `retried`."""
        self._batch_lines.labels(self._model, status).inc(count)

    def batches(self, counts: Mapping[str, int]) -> None:
        """Sets the number of batches per status."""
        for status, count in counts.items():
            self._batches.labels(self._model, status).set(count)

    def _begin_at_zero(self) -> None:
        # A series that starts at 1 hides its first event from rate() and increase().
        for reason in (*FinishReason, "abort", "error"):
            self._success.labels(self._model, reason)
        for histogram in (self._ttft, self._e2e, self._queue, self._prefill, self._decode):
            histogram.labels(self._model)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"lamm:{name}", help_text, ["model_name"], buckets=buckets, registry=self._registry
        )

    def _by_modality(self, name: str, help_text: str) -> Histogram:
        return Histogram(
            f"lamm:{name}", help_text, ["model_name", "modality"], buckets=_MEDIA,
            registry=self._registry,
        )  # fmt: skip


@contextlib.contextmanager
def counted_rejections(metrics: Metrics) -> Iterator[None]:
    """Counts a refusal that is raised within the context."""
    try:
        yield
    except (OverloadedError, RateLimitedError) as error:
        metrics.rejected(error.reason)
        raise
    except Exception as error:
        if type(error) in _REJECTIONS:
            metrics.rejected(_REJECTIONS[type(error)])
        raise


class _EngineCollector(Collector):
    """Engine values, read at scrape time."""

    def __init__(self, engine_stats: Mapping[str, Callable[[], EngineStats]]) -> None:
        self._engine_stats = engine_stats

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing to read at registration: the engine may not have started

    def collect(self) -> Iterable[Metric]:
        all_stats = {label: stats() for label, stats in self._engine_stats.items()}
        for name, help_text, read in _GAUGES:
            gauge = GaugeMetricFamily(f"lamm:{name}", help_text, labels=["model_name"])
            for label, stats in all_stats.items():
                gauge.add_metric([label], read(stats))
            yield gauge
        for name, help_text, read in _COUNTERS:
            counter = CounterMetricFamily(f"lamm:{name}", help_text, labels=["model_name"])
            for label, stats in all_stats.items():
                counter.add_metric([label], read(stats))
            yield counter


_Row = tuple[str, str, Callable[[EngineStats], float]]

_GAUGES: tuple[_Row, ...] = (
    ("num_requests_running", "Sequences being generated", lambda s: s.running),
    ("num_requests_waiting", "Sequences waiting", lambda s: s.waiting),
    ("kv_cache_usage_perc", "Used part of the KV cache, 1 is all", lambda s: s.kv_cache_usage),
)
_COUNTERS: tuple[_Row, ...] = (
    ("prompt_tokens", "Prompt tokens processed", lambda s: s.prompt_tokens_total),
    ("generation_tokens", "Tokens generated", lambda s: s.generation_tokens_total),
    ("num_preemptions", "Sequences set back to recompute", lambda s: s.preemptions_total),
    ("prefix_cache_queries", "Tokens looked up", lambda s: s.prefix_cache_queries_total),
    ("prefix_cache_hits", "Tokens found", lambda s: s.prefix_cache_hits_total),
    ("mm_cache_queries", "Encoded media looked up", lambda s: s.mm_cache_queries_total),
    ("mm_cache_hits", "Encoded media found", lambda s: s.mm_cache_hits_total),
)
