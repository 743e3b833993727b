"""What happened to each request, in the keys that `vllm bench serve --save-detailed` writes.

Called by `load`; plots are drawn from these keys alone, so that vLLM's own files can be drawn too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.load.sender import Sent

DETAIL_KEYS = (
    "input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times",
    "generated_texts", "errors", "cancelled_requests",
)  # fmt: skip


def details(sent: Sequence[Sent]) -> dict[str, list[Any]]:
    """One entry a request in every list, in the order sent; times in seconds.

    `start_times` are on a clock of their own. Requests that failed or were cut off have no tokens;
    `errors` holds their reason and "" for all others.
    """
    records = [one.record for one in sent]
    usages = [record.usage if record.error is None else None for record in records]
    return {
        "input_lens": [usage.prompt_tokens if usage else 0 for usage in usages],
        "output_lens": [usage.completion_tokens if usage else 0 for usage in usages],
        "ttfts": [0.0 if record.error is not None else record.ttft for record in records],
        "itls": [[] if record.error is not None else record.itls for record in records],
        "latencies": [record.latency for record in records],
        "start_times": [record.start for record in records],
        "queue_times": [one.queue_time for one in sent],
        "generated_texts": [record.text for record in records],
        "errors": [record.error or "" for record in records],
        "cancelled_requests": [one.cancelled for one in sent],
    }


def without_details(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result without what `--save-detailed` asks for."""
    return {key: value for key, value in result.items() if key not in DETAIL_KEYS}
