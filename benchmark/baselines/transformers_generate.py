"""transformers' `generate` in static batches, for `lamm bench load --baseline transformers`.

A child process, so that the client imports no torch. Jobs are JSON lines on stdin,
`{"batch_size", "requests": [{"prompt", "image", "output_len"}]}` with pictures in base64; each
reply is a line on stdout, `{"seconds", "output_tokens", "texts"}`. The first output line has the
versions and means that the checkpoint is loaded.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from typing import Any

import torch
import transformers

from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.processing import LammProcessor

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def main() -> int:
    """Loads a checkpoint, then runs jobs until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    arguments = parser.parse_args()
    # Only replies go to the pipe: output of libraries must not break the protocol.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    generator = StaticBatches(arguments.checkpoint, arguments.device, DTYPES[arguments.dtype])
    _reply(replies, generator.facts())
    for line in sys.stdin:
        job = json.loads(line)
        _reply(replies, generator.run(job["requests"], job["batch_size"]))
    return 0


class StaticBatches:
    """Greedy generation in batches of `batch_size`; a batch runs until its longest answer ends."""

    def __init__(self, checkpoint: str, device: str, dtype: torch.dtype) -> None:
        self._processor = LammProcessor.from_pretrained(checkpoint)
        model = LammForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype)
        self._device = torch.device(device)
        # Type checkers cannot follow the `to` of transformers.
        torch.nn.Module.to(model, self._device)
        self._model = model.train(False)
        # Jobs set the lengths; EOS must not shorten the baseline's work.
        self._model.generation_config.eos_token_id = None
        self._model.generation_config.pad_token_id = 0

    def facts(self) -> dict[str, Any]:
        """Device, precision and versions, for the result."""
        return {
            "device": str(self._device),
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def run(self, requests: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, Any]:
        """Generates for all requests. `output_tokens` counts requested tokens without padding.

        The time covers media decoding, tokenization and generation, as for the server.
        """
        texts: list[str] = []
        started = time.perf_counter()
        for first in range(0, len(requests), batch_size):
            texts += self._batch(requests[first : first + batch_size])
        seconds = time.perf_counter() - started
        tokens = sum(int(request["output_len"]) for request in requests)
        return {"seconds": seconds, "output_tokens": tokens, "texts": texts}

    @torch.inference_mode()
    def _batch(self, requests: Sequence[Mapping[str, Any]]) -> list[str]:
        inputs = [self._encode(request) for request in requests]
        width = max(one["input_ids"].shape[1] for one in inputs)
        batch = {
            # Left padding, so that the next token of every row is in the last column.
            name: torch.cat([_pad_left(one[name], width) for one in inputs]).to(self._device)
            for name in ("input_ids", "attention_mask")
        }
        pictures = [one["pixel_values"] for one in inputs if "pixel_values" in one]
        if pictures:
            batch["pixel_values"] = torch.cat(pictures).to(self._device)
        longest = max(int(request["output_len"]) for request in requests)
        output = self._model.generate(**batch, do_sample=False, max_new_tokens=longest)
        new = output[:, -longest:].tolist()
        return [
            self._processor.decode(row[: int(request["output_len"])])
            for row, request in zip(new, requests, strict=True)
        ]

    def _encode(self, request: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        image = request["image"]
        images = () if image is None else (base64.b64decode(image),)
        return self._processor(request["prompt"], images=images)


def _pad_left(row: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(row, (width - row.shape[1], 0))


def _reply(stream: TextIOWrapper, value: Mapping[str, Any]) -> None:
    stream.write(json.dumps(value) + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
