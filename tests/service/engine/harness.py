"""What the engine's tests share: a tiny seeded LAMM, requests against it, and its oracle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import CLIPVisionConfig, LlamaConfig

from lamm_model.config import EpclConfig, LammConfig
from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.sampling_params import SamplingParams
from service.engine.base import Engine, GenerationChunk, GenerationRequest, MediaSpan

NUM_POINTS = 64
CORPUS = [
    "the quick brown fox jumps over the lazy dog and a picture of a cat",
    "what is in the picture? there are three chairs and one table in the room.",
    "### Human: count the objects\n### Assistant: there are two of them.",
]


def build_tokenizer() -> Tokenizer:
    """A LLaMA-style BPE: word borders as U+2581, unknown characters as UTF-8 bytes."""
    trainer = trainers.BpeTrainer(vocab_size=160, special_tokens=["<unk>", "<s>", "</s>"])
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = _normalizer()
    trained.train_from_iterator(CORPUS * 4, trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [p for p, _ in sorted(model["vocab"].items(), key=lambda i: i[1]) if p not in pieces]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=[tuple(merge) for merge in model["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = _normalizer()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def _normalizer() -> normalizers.Normalizer:
    return normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])


def build_config(vocab_size: int, heads: int = 4) -> LammConfig:
    """The tiny LAMM; vLLM's attention on CPUs needs heads of 32 channels: two of them."""
    return LammConfig(  # type: ignore[call-arg] # these go to its base, by **kwargs
        text_config=LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            max_position_embeddings=256,
            bos_token_id=1,
            eos_token_id=2,
            initializer_range=0.2,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=28,
            patch_size=7,
            initializer_range=0.2,
        ),
        point_config=EpclConfig(
            sa_num_points=(32, 8),
            sa_radius=(0.4, 1.6),
            sa_num_samples=(8, 16),
            sa_mlp=((16, 16), (32, 32)),
            position_hidden_size=16,
            num_task_tokens=3,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
        ),
        bos_token_id=1,
        eos_token_id=2,
    )


@dataclass
class Oracle:
    """The Hugging Face model's own greedy `generate`, one request at a time."""

    model: LammForConditionalGeneration
    memo: dict[tuple[Any, ...], list[int]] = field(default_factory=dict)

    def __call__(self, request: GenerationRequest) -> list[int]:
        params = request.sampling_params
        digests = tuple(span.media.digest for span in request.media)
        key = (request.prompt_token_ids, digests, params.max_tokens)
        if key not in self.memo:
            self.memo[key] = self._generate(request, params)
        return self.memo[key]

    def _generate(self, request: GenerationRequest, params: SamplingParams) -> list[int]:
        inputs: dict[str, Any] = {}
        for name, modality in (("pixel_values", Modality.IMAGE), ("points", Modality.POINT_CLOUD)):
            arrays = [s.media.array for s in request.media if s.media.modality is modality]
            if arrays:
                inputs[name] = torch.from_numpy(np.stack(arrays))
        ids = torch.tensor([request.prompt_token_ids])
        with torch.inference_mode():
            out = self.model.generate(  # type: ignore[misc] # a mixin whose self is a protocol
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=params.max_tokens,
                pad_token_id=0,
                eos_token_id=None,
                **inputs,
            )
        tokens: list[int] = out[0, ids.shape[1] :].tolist()
        return tokens


def picture(seed: int) -> PreparedMedia:
    array = np.random.default_rng(seed).standard_normal((3, 28, 28)).astype(np.float32)
    return PreparedMedia(Modality.IMAGE, f"picture-{seed}", array, {})


def cloud(seed: int) -> PreparedMedia:
    array = np.random.default_rng(seed).uniform(-1, 1, (NUM_POINTS, 3)).astype(np.float32)
    return PreparedMedia(Modality.POINT_CLOUD, f"cloud-{seed}", array, {})


@dataclass
class RequestMaker:
    """Seeded requests against the tiny checkpoint."""

    vocab_size: int
    count: int = 0

    def __call__(
        self,
        length: int = 12,
        *,
        seed: int | None = None,
        media: tuple[PreparedMedia, ...] = (),
        priority: int = 0,
        **params: Any,
    ) -> GenerationRequest:
        self.count += 1
        rng = np.random.default_rng(self.count if seed is None else seed)
        ids = [1, *rng.integers(3, self.vocab_size, length - 1).tolist()]
        spans = []
        for medium in media:
            image = medium.modality is Modality.IMAGE
            size = 16 if image else 8
            spans.append(MediaSpan(len(ids), size, medium))
            ids += [self.vocab_size + (not image)] * size
            ids += rng.integers(3, self.vocab_size, 3).tolist()
        params = {"max_tokens": 16, "ignore_eos": True, **params}
        return GenerationRequest(
            f"r{self.count}", tuple(ids), SamplingParams(**params), tuple(spans), priority
        )


EngineMaker = Callable[..., Any]


async def collect(engine: Engine, request: GenerationRequest) -> list[GenerationChunk]:
    return [chunk async for chunk in engine.generate(request)]


async def tokens_of(engine: Engine, request: GenerationRequest) -> list[int]:
    return [token for chunk in await collect(engine, request) for token in chunk.token_ids]


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what an engine does on its own thread."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the other thread signals nothing to tests
            await asyncio.sleep(0.002)
