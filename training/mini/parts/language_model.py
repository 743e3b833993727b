"""Pre-training of lamm-mini's base language model on text and facts (`training.mini.corpus`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AttentionInterface, LlamaForCausalLM

from lamm_model.conversation import Modality, TextChunk, render
from lamm_model.tokenizer import LammTokenizer
from training.mini import corpus
from training.mini.mixture import MIXTURE, Mixture
from training.mini.parts import geometry
from training.mini.parts.pretrain import DenseTask
from training.mini.parts.tokenizer import train_tokenizer
from training.mini.scenes import facts

BOS = 1
PAD = 2
VOCAB_SIZE = 1700
_MUST_HAVE = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
FACT_READER = "fact_reader.safetensors"
_QUESTION_WEIGHT = 0.1
# Half of the tokens of a box are brackets and commas, which teach nothing.
_PLACE_WEIGHT = 2.0
_PLACE = re.compile(r"▁?0?\.\d\d")


def _float32_sdpa(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    # Under autocast the kernel would run in bfloat16, which is 50 % slower on a CPU.
    del module, mask  # Rows are right-padded, so the causal mask suffices.
    with torch.autocast("cpu", enabled=False):
        out = F.scaled_dot_product_attention(
            query.float(), key.float(), value.float(), is_causal=True, scale=kwargs["scaling"]
        )
    return out.transpose(1, 2).contiguous(), None


_FLOAT32_SDPA = "lamm_mini_float32_sdpa"
AttentionInterface.register(_FLOAT32_SDPA, _float32_sdpa)


@dataclass(slots=True)
class _Row:
    """Token ids and loss weights of one conversation; its facts [64, *] begin at `start`."""

    ids: list[int]
    weight: list[float]
    modality: Modality | None
    facts: npt.NDArray[np.float32] | None
    start: int = 0


class FactReader(nn.Module):
    """Two linear layers that embed facts where LAMM's projectors put features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.picture = nn.Linear(facts.PICTURE_FACTS, width)
        self.cloud = nn.Linear(facts.CLOUD_FACTS, width)
        for layer in (self.picture, self.cloud):
            # Embeddings start at 0.02; facts with a larger scale would dominate the words at first.
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def layers(self) -> tuple[tuple[Modality, nn.Linear], ...]:
        return (Modality.IMAGE, self.picture), (Modality.POINT_CLOUD, self.cloud)

    @classmethod
    def load(cls, directory: Path, width: int) -> FactReader:
        reader = cls(width)
        reader.load_state_dict(load_file(directory / FACT_READER))
        return reader


class TextTask(DenseTask):
    """A LLaMA on conversations whose media are facts; answers bear most of the loss."""

    encoder: LlamaForCausalLM
    # Rows of similar length that are computed together.
    group = 8
    # Features of an encoder are noisier than facts.
    noise = 0.1

    def __init__(
        self,
        pools: corpus.Pools,
        test: corpus.Pools,
        tokenizer: LammTokenizer,
        mixture: Mixture = MIXTURE,
    ) -> None:
        super().__init__()
        self._mixture = mixture
        config = geometry.text_config(tokenizer.vocab_size)
        self.encoder = LlamaForCausalLM(config)
        self.encoder.set_attn_implementation(_FLOAT32_SDPA)
        self.reader = FactReader(config.hidden_size)
        self._pools, self._test, self._tokenizer = pools, test, tokenizer
        pieces = (tokenizer.id_to_piece(id_) for id_ in range(tokenizer.vocab_size))
        self._weight = [_PLACE_WEIGHT if _PLACE.fullmatch(p or "") else 1.0 for p in pieces]

    def loss(self, rng: np.random.Generator, batch_size: int) -> Tensor:
        return self.loss_of((self._draw(self._pools, rng) for _ in range(batch_size)), rng)

    def loss_of(
        self, conversations: Iterable[corpus.Conversation], rng: np.random.Generator
    ) -> Tensor:
        """Weighted next-token loss of conversations; `rng` draws token positions and noise."""
        rows = [self._row(conversation, rng) for conversation in conversations]
        # Grouped by length: a third of a plain batch would be padding.
        rows.sort(key=lambda row: len(row.ids))
        noise = torch.Generator().manual_seed(int(rng.integers(2**31)))
        total = sum(sum(row.weight[1:]) for row in rows)
        parts = [
            self._group_loss(rows[k : k + self.group], noise)
            for k in range(0, len(rows), self.group)
        ]
        return torch.stack(parts).sum() / total

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Answer-token accuracy on held-out scenes (teacher forced)."""
        rng = np.random.default_rng(12345)
        rows = [self._row(self._draw(self._test, rng), rng) for _ in range(192)]
        right = total = 0.0
        for start in range(0, len(rows), 32):
            ids, weight, hidden = self._forward(rows[start : start + 32], None)
            answers = weight[:, 1:] >= 1.0
            hit = self.encoder.lm_head(hidden).argmax(-1) == ids[:, 1:]
            right += float(hit[answers].sum())
            total += float(answers.sum())
        return {"answer_tokens": right / total}

    def save(self, out: Path) -> None:
        """Writes the language model and the fact reader, from which the projectors start."""
        super().save(out)
        save_file(self.reader.state_dict(), out / FACT_READER)

    def _group_loss(self, rows: list[_Row], noise: torch.Generator) -> Tensor:
        ids, weight, hidden = self._forward(rows, noise)
        wanted = weight[:, 1:] > 0
        # The head runs on text positions only: a third of every row is media or padding.
        logits = self.encoder.lm_head(hidden[wanted]).float()
        loss = F.cross_entropy(logits, ids[:, 1:][wanted], reduction="none")
        return (loss * weight[:, 1:][wanted]).sum()

    def _forward(
        self, rows: list[_Row], noise: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        longest = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), longest), PAD)
        weight = torch.zeros(len(rows), longest)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            weight[number, : len(row.ids)] = torch.tensor(row.weight)
        embeds = self.encoder.get_input_embeddings()(ids)
        for modality, layer in self.reader.layers():
            these = [k for k, row in enumerate(rows) if row.modality is modality]
            if not these:
                continue
            told = torch.stack([torch.from_numpy(rows[k].facts) for k in these])
            if noise is not None:
                told = told + self.noise * torch.randn(told.shape, generator=noise)
            at = torch.tensor([[rows[k].start] for k in these]) + torch.arange(told.shape[1])
            embeds = embeds.index_put((torch.tensor(these)[:, None], at), layer(told).float())
        hidden = self.encoder.model(inputs_embeds=embeds[:, :-1]).last_hidden_state
        return ids, weight, hidden

    def _draw(self, pools: corpus.Pools, rng: np.random.Generator) -> corpus.Conversation:
        return corpus.draw(pools, rng, self._mixture)

    def _row(self, conversation: corpus.Conversation, rng: np.random.Generator) -> _Row:
        facts = corpus.medium_facts(conversation, rng)
        row = _Row([BOS], [0.0], conversation.modality, facts)
        for chunk in render(conversation.turns(), corpus.SYSTEM):
            if isinstance(chunk, TextChunk):
                piece = self._tokenizer.encode(chunk.text)
                weight = 1.0 if chunk.trains else _QUESTION_WEIGHT
                row.weight += [weight * self._weight[id_] for id_ in piece]
            else:
                assert facts is not None
                row.start = len(row.ids)
                piece = [PAD] * len(facts)
                row.weight += [0.0] * len(piece)
            row.ids += piece
        return row


def make_tokenizer(
    pools: corpus.Pools, directory: Path, conversations: int = 4000
) -> LammTokenizer:
    """The tokenizer of the training texts, trained on the first call and cached in `directory`."""
    if not (directory / "tokenizer.json").is_file():
        train_tokenizer(_texts(pools, conversations), _MUST_HAVE, VOCAB_SIZE, directory)
    return LammTokenizer.from_pretrained(directory)


def _texts(pools: corpus.Pools, count: int) -> Iterator[str]:
    rng = np.random.default_rng(7)
    # Rare ones (a single "Q") would otherwise be missing from the vocabulary.
    for _ in range(20):
        yield from _MUST_HAVE
    for _ in range(count):
        conversation = corpus.draw(pools, rng)
        yield from (
            c.text for c in render(conversation.turns(), corpus.SYSTEM) if isinstance(c, TextChunk)
        )
