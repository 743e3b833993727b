"""Pre-training of lamm-mini's base language model on text alone (see `training.mini.corpus`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaForCausalLM

from lamm_model.conversation import TextChunk, render
from lamm_model.tokenizer import LammTokenizer
from training.mini import corpus, geometry
from training.mini.pretrain import DenseTask
from training.mini.tokenizer import train_tokenizer

BOS = 1
PAD = 2
VOCAB_SIZE = 1300
_QUESTION_WEIGHT = 0.1


class TextTask(DenseTask):
    """A LLaMA on conversations whose media are spelled in words; answers bear most of the loss."""

    encoder: LlamaForCausalLM

    def __init__(self, pools: corpus.Pools, test: corpus.Pools, tokenizer: LammTokenizer) -> None:
        super().__init__()
        self.encoder = LlamaForCausalLM(geometry.text_config(tokenizer.vocab_size))
        self._pools, self._test, self._tokenizer = pools, test, tokenizer

    def loss(self, rng: np.random.Generator, batch_size: int) -> Tensor:
        """Weighted next-token loss of a fresh batch."""
        return self._loss([corpus.draw(self._pools, rng) for _ in range(batch_size)], rng)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Answer-token accuracy on held-out scenes (teacher forced)."""
        rng = np.random.default_rng(12345)
        conversations = [corpus.draw(self._test, rng) for _ in range(192)]
        right = total = 0.0
        for start in range(0, len(conversations), 32):
            ids, weight = self._batch(conversations[start : start + 32], rng)
            logits = self.encoder(input_ids=ids[:, :-1]).logits
            answers = weight[:, 1:] == 1.0
            right += float((logits.argmax(-1) == ids[:, 1:])[answers].sum())
            total += float(answers.sum())
        return {"answer_tokens": right / total}

    def _loss(self, conversations: list[corpus.Conversation], rng: np.random.Generator) -> Tensor:
        ids, weight = self._batch(conversations, rng)
        hidden = self.encoder.model(input_ids=ids[:, :-1]).last_hidden_state
        wanted = weight[:, 1:] > 0
        # The head runs on text positions alone: a third of every row is medium or padding.
        loss = F.cross_entropy(
            self.encoder.lm_head(hidden[wanted]), ids[:, 1:][wanted], reduction="none"
        )
        scale = weight[:, 1:][wanted]
        return (loss * scale).sum() / scale.sum()

    def _batch(
        self, conversations: list[corpus.Conversation], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        rows = [self._row(conversation, rng) for conversation in conversations]
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), longest), PAD)
        weight = torch.zeros(len(rows), longest)
        for number, (row, scale) in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            weight[number, : len(row)] = torch.tensor(scale)
        return ids, weight

    def _row(
        self, conversation: corpus.Conversation, rng: np.random.Generator
    ) -> tuple[list[int], list[float]]:
        ids, weight = [BOS], [0.0]
        for chunk in render(conversation.turns(), corpus.SYSTEM):
            if isinstance(chunk, TextChunk):
                piece = self._tokenizer.encode(chunk.text)
                weight += [1.0 if chunk.trains else _QUESTION_WEIGHT] * len(piece)
            else:
                piece = [
                    self._tokenizer.encode(word)[0]
                    for word in corpus.medium_words(conversation, rng)
                ]
                weight += [0.0] * len(piece)
            ids += piece
        return ids, weight


def make_tokenizer(
    pools: corpus.Pools, directory: Path, conversations: int = 4000
) -> LammTokenizer:
    """The tokenizer of the training texts, made once and then read back."""
    if not (directory / "tokenizer.json").is_file():
        train_tokenizer(
            _texts(pools, conversations), corpus.vocabulary_words(), VOCAB_SIZE, directory
        )
    return LammTokenizer.from_pretrained(directory)


def _texts(pools: corpus.Pools, count: int) -> Iterator[str]:
    rng = np.random.default_rng(7)
    # Rare ones (a "Q" alone) would otherwise miss the vocabulary in a short corpus.
    for _ in range(20):
        yield from corpus.vocabulary_words()
    for _ in range(count):
        conversation = corpus.draw(pools, rng)
        yield from (
            c.text for c in render(conversation.turns(), corpus.SYSTEM) if isinstance(c, TextChunk)
        )
        yield from corpus.medium_words(conversation, rng)
