"""A load test's items as request bodies, in the dialect of the server that is asked.

Called by `load`. `openai-chat` is the standard alone; `lamm` adds what makes outputs of an exact
length, which vLLM, SGLang and LMDeploy take too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmark.content import user_message
from benchmark.errors import BenchmarkError
from benchmark.http.client import Backend
from benchmark.load.workload import WorkItem


@dataclass(frozen=True, slots=True)
class RequestStyle:
    """How an item is asked. `extra_body` is merged into every body, last."""

    backend: Backend = Backend.LAMM
    ignore_eos: bool = True
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def takes_clouds(self) -> bool:
        """Whether the dialect has a content part for point clouds."""
        return self.backend is Backend.LAMM

    def body(self, model: str, item: WorkItem) -> dict[str, Any]:
        """A greedy request; of an exact output length where EOS is ignored.

        Raises:
            BenchmarkError: a point cloud, which OpenAI's protocol has no part for.
        """
        if item.media is not None and not item.media.is_image and not self.takes_clouds:
            raise BenchmarkError(
                f"--backend {self.backend} has no part for point clouds; leave out --cloud and "
                "--cloud-points"
            )
        body: dict[str, Any] = {
            "model": model,
            "messages": [user_message(item.prompt, item.media.part() if item.media else None)],
            "temperature": 0,
            "max_tokens": item.output_len,
        }
        if self.ignore_eos and item.question is None:
            # Both: some servers honour stop strings even where EOS is ignored.
            body |= {"min_tokens": item.output_len, "ignore_eos": True}
        return {**body, **self.extra_body}
