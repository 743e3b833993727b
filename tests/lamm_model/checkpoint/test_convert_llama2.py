"""The delta on Llama 2 chat: its base is known by name and facts, and it gets its own prompt."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lamm_model.checkpoint.base_families import BaseFamily, family_of
from lamm_model.checkpoint.convert import convert
from lamm_model.checkpoint.convert_inputs import ConvertOptions
from lamm_model.checkpoint.load import load_model
from lamm_model.conversation import LLAMA2_NORMAL_SYSTEM, Modality, PromptPreset
from lamm_model.processing import LammProcessor
from lamm_model.spec import CheckpointError, CheckpointSpec
from tests.lamm_model.checkpoint.conftest import write_llm
from tests.lamm_model.checkpoint.test_convert_exact import TURNS, plain_clip, plain_logits, prompt

LLAMA2 = {"vocab_size": 32000, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}


@pytest.fixture(scope="module")
def llama2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bases") / "Llama-2-7b-chat-hf"
    torch.manual_seed(1)
    write_llm(path, **LLAMA2, _name_or_path="meta-llama/Llama-2-7b-chat-hf")
    return path


@pytest.fixture(scope="module")
def delta(upstream: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "lamm186k_llama2chat7b_lora32"
    folder.mkdir()
    shutil.copy(upstream.image_delta, folder)
    return folder / "pytorch_model.pt"


@pytest.fixture
def ours(options: ConvertOptions, delta: Path, llama2: Path) -> ConvertOptions:
    return dataclasses.replace(options, delta=delta, llm=llama2, dtype=torch.float32)


def renamed(llama2: Path, folder: Path, **config: Any) -> Path:
    shutil.copytree(llama2, folder)
    value = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(value))
    return folder


@torch.no_grad()
def test_it_converts_to_its_own_prompt_and_logits(
    upstream: Any, ours: ConvertOptions, llama2: Path
) -> None:
    provenance = convert(ours)
    assert provenance["base"]["family"] == "llama2-chat"
    assert provenance["base"]["forced_against"] == []
    assert "Llama 2 Community License" in provenance["licence"]
    spec = CheckpointSpec.from_pretrained(ours.out)
    assert spec.prompt_preset is PromptPreset.LLAMA2_CHAT
    assert spec.system_text() == LLAMA2_NORMAL_SYSTEM
    assert spec.system_text().startswith("This is a chat between a curious human")
    assert (spec.vocab_size, spec.image_token_id, spec.max_model_len) == (32000, 32000, 4096)
    assert spec.eos_token_ids == (2,)
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(3))
    ids, split = prompt(ours.out, Modality.IMAGE, 3)
    expected = plain_logits(
        dataclasses.replace(upstream, llm=llama2),
        ids,
        split,
        plain_clip(upstream.clip_tensors, pixels),
    )
    got = load_model(ours.out)(input_ids=torch.tensor([ids]), pixel_values=pixels).logits
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max().clamp(min=1)


def test_answers_end_with_bos_and_eos_and_train(ours: ConvertOptions) -> None:
    convert(dataclasses.replace(ours, merge=False))
    processor = LammProcessor.from_pretrained(ours.out / "base")
    ids, labels = processor.encode_conversation(TURNS)
    ends = [k for k in range(len(ids)) if ids[k : k + 2] == [1, 2]]
    assert len(ends) == len(TURNS) - 1
    assert all(labels[k : k + 2] == [1, 2] for k in ends)
    text = processor.decode([k for k in ids if k > 2])
    assert text.endswith("[/INST]: ")


def test_vicuna_v0_is_refused(upstream: Any, ours: ConvertOptions) -> None:
    with pytest.raises(CheckpointError) as caught:
        convert(dataclasses.replace(ours, llm=upstream.llm))
    said = str(caught.value)
    assert "not Llama 2 chat, on which the delta was trained" in said
    assert "vocab_size is 32001; Llama 2 chat has 32000 (Vicuna v0 has 32001)" in said
    assert "max_position_embeddings is 2048; Llama 2 chat has 4096" in said
    assert "the name 'vicuna-7b-v0' contains 'vicuna'" in said
    assert "use --base-family if the delta was trained on another base (vicuna-v0)" in said


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("lmsys/vicuna-7b-v1.5", "vicuna"),
        ("meta-llama/Llama-2-7b-hf", "Llama-2-7b"),
        ("codellama/CodeLlama-7b-hf", "codellama"),
    ],
)
def test_others_of_its_sizes_are_refused_by_name(
    ours: ConvertOptions, llama2: Path, tmp_path: Path, name: str, part: str
) -> None:
    llm = renamed(llama2, tmp_path / "base", _name_or_path=name)
    with pytest.raises(CheckpointError, match=f"the name '{name}' contains '{part}'"):
        convert(dataclasses.replace(ours, llm=llm))


def test_an_unnamed_delta_needs_the_family(
    upstream: Any, ours: ConvertOptions, llama2: Path
) -> None:
    unnamed = dataclasses.replace(ours, delta=upstream.image_delta)
    with pytest.raises(CheckpointError, match=r"not Vicuna v0(.|\n)*--base-family.*llama2-chat"):
        convert(unnamed)
    told = convert(dataclasses.replace(unnamed, base_family=BaseFamily.LLAMA2_CHAT))
    assert told["base"]["family"] == "llama2-chat"


@pytest.mark.parametrize(
    ("folder", "config", "family"),
    [
        ("lamm186k_llama2chat7b_lora32", {}, BaseFamily.LLAMA2_CHAT),
        ("mine", {"_name_or_path": "meta-llama/Llama-2-7b-chat-hf"}, BaseFamily.LLAMA2_CHAT),
        ("lamm_7b_lora32_186k", {}, BaseFamily.VICUNA_V0),
        ("lamm3d_13b_lora32_10k", {"_name_or_path": "vicuna"}, BaseFamily.VICUNA_V0),
    ],
)
def test_a_delta_s_directory_names_its_family(
    tmp_path: Path, folder: str, config: dict[str, str], family: BaseFamily
) -> None:
    assert family_of(tmp_path / folder / "pytorch_model.pt", config) is family
