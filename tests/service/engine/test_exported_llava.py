"""The engine and transformers with the exported model give the same greedy tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from lamm_model.checkpoint.export.base import ExportRequest
from lamm_model.checkpoint.export.registry import FORMATS
from lamm_model.checkpoint.load import load_model
from lamm_model.conversation import Modality, Turn
from lamm_model.processing import LammProcessor
from lamm_model.sampling_params import SamplingParams
from service.engine.base import GenerationRequest, MediaSpan
from service.engine.config import DeviceKind, EngineConfig
from service.engine.loading.model_source import ModelSource
from service.engine.torch_engine import TorchEngine
from tests.service.engine.harness import tokens_of
from training.mini.scenes import drawn_scenes

ROOT = Path(__file__).parents[3]
MINI = ROOT / "checkpoints" / "lamm-mini"
MAX_TOKENS = 40
QUESTIONS = (
    "What is this?", "Is this person smiling?", "What colour is the hair?", "Where is the head?",
    "What kind of land is this?", "How many products are there?", "What does it say?",
    "What is in the picture?", "Name everything.", "Hello?",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A conversation and its pictures, in order."""

    turns: Sequence[Turn]
    pictures: Sequence[Image.Image]


def cases() -> list[Case]:
    """50: the examples, drawings, noise of all sizes, no picture, several, and later turns."""
    rng = np.random.default_rng(0)
    examples = [
        Image.open(ROOT / "examples" / f"{name}.png").convert("RGB")
        for name in ("coat", "products", "word")
    ]
    drawings = [Image.fromarray(drawn_scenes.draw(rng).picture) for _ in range(20)]
    sizes = rng.integers(8, 200, (12, 2)).tolist()
    noise = [Image.fromarray(rng.integers(0, 256, (*s, 3), dtype=np.uint8)) for s in sizes]
    pictures = [*examples * 3, *drawings, *noise]
    made = [
        Case([Turn(QUESTIONS[n % len(QUESTIONS)], None, (Modality.IMAGE,))], [picture])
        for n, picture in enumerate(pictures)
    ]
    made += [Case([Turn(question)], []) for question in QUESTIONS[:3]]
    two = (Modality.IMAGE,) * 2
    made += [Case([Turn("Which is a coat?", None, two)], examples[:2])]
    made += [
        Case(
            [Turn("What is this?", "It is a coat.", two[:1]), Turn(question, None, media)],
            examples[: 1 + len(media)],
        )
        for question, media in zip(QUESTIONS[:5], ((), two[:1], (), two[:1], ()), strict=True)
    ]
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "llava"
    FORMATS["llava-hf"].write(ExportRequest(MINI, out, "transformers"))
    return out


@pytest.fixture
async def engine() -> AsyncIterator[TorchEngine]:
    config = EngineConfig(device=DeviceKind.CPU, kv_cache_bytes=64 << 20)
    running = TorchEngine((ModelSource.from_pretrained(MINI),), config)
    await running.start()
    yield running
    await running.stop()


def request(lamm: LammProcessor, case: Case, number: int) -> GenerationRequest:
    """The case for the engine; EOS and what ends an answer are left to the caller."""
    ids, _ = lamm.encode_conversation(case.turns)
    spans: list[MediaSpan] = []
    position, (token, count) = 0, lamm.spec.placeholder(Modality.IMAGE)
    for picture in case.pictures:
        position = ids.index(token, position)
        spans.append(MediaSpan(position, count, lamm.prepare_image(picture)))
        position += count
    params = SamplingParams(max_tokens=MAX_TOKENS, ignore_eos=True)
    return GenerationRequest(f"r{number}", tuple(ids), params, tuple(spans))


def processor_inputs(processor: Any, case: Case) -> Any:
    """The case through the chat template."""
    pictures = iter(case.pictures)
    messages: list[dict[str, Any]] = []
    for turn in case.turns:
        shown = [{"type": "image", "image": next(pictures)} for _ in turn.media]
        content = [*shown, {"type": "text", "text": turn.human}]
        messages.append({"role": "user", "content": content})
        if turn.assistant is not None:
            answer = [{"type": "text", "text": turn.assistant}]
            messages.append({"role": "assistant", "content": answer})
    return processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )


@pytest.mark.slow
async def test_fifty_prompts_have_the_engine_s_tokens(folder: Path, engine: TorchEngine) -> None:
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    llava: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    reference = load_model(MINI, torch.float32)
    lamm = LammProcessor.from_pretrained(MINI)
    answers = set()
    for number, case in enumerate(made := cases()):
        inputs = processor_inputs(processor, case)
        own = lamm(case.turns, images=case.pictures)
        assert torch.equal(inputs["input_ids"], own["input_ids"]), number
        if case.pictures:
            assert torch.equal(inputs["pixel_values"], own["pixel_values"]), number
        with torch.no_grad():
            expected, logits = reference(**own).logits, llava(**inputs).logits
        assert torch.equal(logits[..., : expected.shape[-1]], expected), number
        found = llava.generate(**inputs, max_new_tokens=MAX_TOKENS)
        tokens = found[0, inputs["input_ids"].shape[1] :].tolist()
        wanted = await tokens_of(engine, request(lamm, case, number))
        # transformers stops at what ends an answer; the engine was told not to.
        assert tokens == wanted[: len(tokens)], number
        assert len(tokens) == MAX_TOKENS or tokens[-1] in llava.generation_config.eos_token_id
        answers.add(tuple(tokens))
    assert len(made) == 50
    assert len(answers) > 20
