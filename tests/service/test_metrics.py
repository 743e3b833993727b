"""The metrics' names, labels and bucket edges: what dashboards and alert rules are written on."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from lamm_model.conversation import Modality
from service.engine.base import EngineStats, RequestTimings
from service.metrics import Metrics

# vLLM's names behind the prefix, with their types as Prometheus reads them.
CONTRACT = {
    "time_to_first_token_seconds": "histogram",
    "inter_token_latency_seconds": "histogram",
    "e2e_request_latency_seconds": "histogram",
    "request_queue_time_seconds": "histogram",
    "request_prefill_time_seconds": "histogram",
    "request_decode_time_seconds": "histogram",
    "num_requests_running": "gauge",
    "num_requests_waiting": "gauge",
    "kv_cache_usage_perc": "gauge",
    "prompt_tokens": "counter",
    "generation_tokens": "counter",
    "request_success": "counter",
    "prefix_cache_queries": "counter",
    "prefix_cache_hits": "counter",
    "mm_cache_queries": "counter",
    "mm_cache_hits": "counter",
    "num_preemptions": "counter",
    "admission_rejections": "counter",
    "task_answers": "counter",
    "media_fetch_seconds": "histogram",
    "media_decode_seconds": "histogram",
    "media_encode_seconds": "histogram",
}
FORBIDDEN_LABELS = {"request", "request_id", "prompt", "url", "user", "key", "path"}
REQUEST_EDGES = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960,
                 1920, 7680]  # fmt: skip
EDGES = {
    "time_to_first_token_seconds": [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
                                    0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560],
    "inter_token_latency_seconds": [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75,
                                    1, 2.5, 5, 7.5, 10, 20, 40, 80],
    "e2e_request_latency_seconds": REQUEST_EDGES,
    "request_queue_time_seconds": REQUEST_EDGES,
    "request_prefill_time_seconds": REQUEST_EDGES,
    "request_decode_time_seconds": REQUEST_EDGES,
}  # fmt: skip


def _metrics() -> Metrics:
    return Metrics("lamm", {"lamm": lambda: EngineStats(running=2, waiting=3)}).of_model("lamm")


def _exercised() -> Metrics:
    metrics = _metrics()
    metrics.first_token(0.1)
    metrics.tokens(2, 0.1)
    metrics.finished("stop", 1.0, RequestTimings(queue=0.1, prefill=0.2, generate=0.5))
    metrics.media_read(Modality.IMAGE, 0.1, 0.1)
    metrics.media_encoded(Modality.IMAGE, 0.1)
    metrics.rejected("queue_full")
    metrics.task_answered("detection", "ok")
    return metrics


def test_every_metric_of_the_contract_is_there_with_its_type() -> None:
    families = text_string_to_metric_families(_exercised().exposition().decode())
    types = {family.name.removeprefix("lamm:"): family.type for family in families}
    assert {name: types.get(name) for name in CONTRACT} == CONTRACT


def test_bucket_edges_are_those_that_dashboards_expect() -> None:
    found: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(_exercised().exposition().decode()):
        edges = [
            float(sample.labels["le"])
            for sample in family.samples
            if sample.name.endswith("_bucket") and sample.labels["le"] != "+Inf"
        ]
        found[family.name.removeprefix("lamm:")] = edges
    assert {name: found[name] for name in EDGES} == EDGES


def test_every_sample_names_its_model_and_nothing_of_a_request() -> None:
    for family in text_string_to_metric_families(_exercised().exposition().decode()):
        for sample in family.samples:
            assert sample.labels["model_name"] == "lamm", sample.name
            assert not FORBIDDEN_LABELS & set(sample.labels), sample.name


def test_counts_begin_at_zero_so_that_the_first_event_is_an_increase() -> None:
    text = _metrics().exposition().decode()
    for reason in ("stop", "length", "abort", "error"):
        series = f'lamm:request_success_total{{finished_reason="{reason}",model_name="lamm"}} 0.0'
        assert series in text
    assert 'lamm:time_to_first_token_seconds_count{model_name="lamm"} 0.0' in text
