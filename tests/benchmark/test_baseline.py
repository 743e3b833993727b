"""The transformers baseline as a real process on a tiny checkpoint, beside the oracle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPVisionConfig, LlamaConfig

from benchmark.baselines.transformers_generate import StaticBatches
from benchmark.load.baseline_process import TransformersBaseline
from benchmark.load.run import LoadSpec, run_load
from benchmark.load.workload import WorkItem, WorkloadSpec, make_workload
from lamm_model.config import LammConfig
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.processing import LammProcessor, write_processor_config


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: two layers of width 32, pictures of four tokens, a byte-level tokenizer."""
    directory = tmp_path_factory.mktemp("tiny-lamm")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["What is in this picture? A coat."], trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text = LlamaConfig(
        **sizes, num_attention_heads=2, vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=256, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    vision = CLIPVisionConfig(**sizes, num_attention_heads=2, image_size=16, patch_size=8)
    torch.manual_seed(0)
    config = LammConfig(text_config=text, vision_config=vision)
    model = LammForConditionalGeneration(config)
    # Far-apart logits: padding must not tip a greedy choice by rounding.
    model.language_model.lm_head.weight.data.mul_(50)
    model.save_pretrained(directory)
    write_processor_config(directory, config)
    return directory


def oracle(checkpoint: Path, item: WorkItem) -> str:
    """One prompt alone, greedily, without a stop at EOS."""
    model = LammForConditionalGeneration.from_pretrained(checkpoint).eval()  # type: ignore[no-untyped-call]
    model.generation_config.eos_token_id = None
    processor = LammProcessor.from_pretrained(checkpoint)
    inputs = processor(item.prompt, images=(item.media.content,) if item.media else ())
    with torch.inference_mode():
        output = model.generate(
            **inputs, do_sample=False, max_new_tokens=item.output_len, pad_token_id=0
        )
    return processor.decode(output[0, -item.output_len :].tolist())


def test_batches_give_what_each_prompt_gives_alone(checkpoint: Path, tmp_path: Path) -> None:
    import base64

    from PIL import Image

    image = tmp_path / "a.png"
    Image.new("RGB", (20, 20), (200, 30, 30)).save(image)
    spec = WorkloadSpec(
        3, input_words=(4,), output_lens=(3, 9), images=(image,), unique_images=True
    )
    items = make_workload(spec, seed=1)
    items[0] = WorkItem("Short", None, 5)
    requests = [
        {
            "prompt": item.prompt,
            "image": base64.b64encode(item.media.content).decode() if item.media else None,
            "output_len": item.output_len,
        }
        for item in items
    ]
    reply = StaticBatches(str(checkpoint), "cpu", torch.float32).run(requests, batch_size=2)
    assert reply["texts"] == [oracle(checkpoint, item) for item in items]
    assert reply["output_tokens"] == sum(item.output_len for item in items)
    assert reply["seconds"] > 0


async def test_the_process_takes_turns_with_the_server(server: Any, checkpoint: Path) -> None:
    baseline = await TransformersBaseline.start(checkpoint)
    try:
        assert baseline.facts["dtype"] == "float32"
        spec = LoadSpec("fake-lamm", WorkloadSpec(4, output_lens=(2, 6)), 2, rounds=2)
        async with server.client() as http:
            result = await run_load(http, spec, baseline)
    finally:
        await baseline.stop()
    assert result["baseline"] == "transformers generate"
    assert result["completed"] == 8
    rates = result["round_output_throughputs"], result["baseline_round_output_throughputs"]
    ratios = [ours / theirs for ours, theirs in zip(*rates, strict=True)]
    assert result["speedup"] == pytest.approx(sum(ratios) / 2)
    assert "baseline_result" not in result


def test_the_client_imports_without_torch() -> None:
    code = "import sys, benchmark.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
