"""Request bodies of a load test.

`openai-chat` has standard fields only; `lamm` adds the fields for outputs of an exact length, which
vLLM, SGLang and LMDeploy accept too.
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
    """The form of the requests. `extra_body` is merged into every body last."""

    backend: Backend = Backend.LAMM
    ignore_eos: bool = True
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def takes_clouds(self) -> bool:
        """Whether the API has a content part for point clouds."""
        return self.backend is Backend.LAMM

    def body(self, model: str, item: WorkItem) -> dict[str, Any]:
        """The body of a greedy request, with an exact output length if EOS is ignored.

        Raises:
            BenchmarkError: a point cloud, for which OpenAI's API has no content part.
        """
        if item.media is not None and not item.media.is_image and not self.takes_clouds:
            raise BenchmarkError(
                f"--backend {self.backend} cannot send point clouds; remove --cloud and "
                "--cloud-points"
            )
        body: dict[str, Any] = {
            "model": model,
            "messages": [user_message(item.prompt, item.media.part() if item.media else None)],
            "temperature": 0,
            "max_tokens": item.output_len,
        }
        if self.ignore_eos and item.question is None:
            # Both: some servers apply stop strings although EOS is ignored.
            body |= {"min_tokens": item.output_len, "ignore_eos": True}
        return {**body, **self.extra_body}
