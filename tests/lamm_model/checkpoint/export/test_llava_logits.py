"""An exported LLaVA computes what the checkpoint computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration

from lamm_model.checkpoint.convert import convert
from lamm_model.checkpoint.convert_inputs import ConvertOptions
from lamm_model.checkpoint.load import load_model
from lamm_model.modeling import LammForConditionalGeneration
from tests.lamm_model.checkpoint.attached import attach
from tests.lamm_model.checkpoint.export.conftest import Export, write_tiny

MINI = Path(__file__).parents[4] / "checkpoints" / "lamm-mini"


def load(folder: Path, dtype: torch.dtype = torch.float32) -> LlavaForConditionalGeneration:
    """The export, if all of its weights and no others are the model's."""
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=dtype, output_loading_info=True
    )
    model, report = loaded
    assert not any(report.values()), report
    assert isinstance(model, LlavaForConditionalGeneration)
    return model


def inputs(model: LammForConditionalGeneration, pictures: int = 1) -> dict[str, Tensor]:
    """Tokens around pictures."""
    generator = torch.Generator().manual_seed(3)
    config = model.config
    size, count = config.vision_config.image_size, config.num_image_tokens
    ids = [1, 9, 8]
    for number in range(pictures):
        ids += [*[config.image_token_id] * count, 7 + number, 11]
    pixels = torch.randn(pictures, 3, size, size, generator=generator)
    return {"input_ids": torch.tensor([ids]), "pixel_values": pixels}


@torch.no_grad()
def difference(model: LammForConditionalGeneration, folder: Path, pictures: int = 1) -> float:
    """The largest difference of logits, over the vocabulary without the new rows."""
    given = inputs(model, pictures)
    expected = model(**given).logits
    logits = load(folder)(**given).logits
    assert logits.shape[-1] % 64 == 0
    assert expected.std() > 0.1
    rows = expected.shape[-1]
    # New rows never win against the unknown token, whose row they copy.
    assert torch.equal(logits[..., rows:], logits[..., :1].expand_as(logits[..., rows:]))
    return float((logits[..., :rows] - expected).abs().max())


@pytest.mark.parametrize("pictures", [1, 3])
def test_a_checkpoint_s_logits(tiny: Path, export: Export, tmp_path: Path, pictures: int) -> None:
    export(tiny, tmp_path / "llava")
    assert difference(load_model(tiny, torch.float32), tmp_path / "llava", pictures) == 0.0


def test_the_form_for_vllm_has_the_same_logits(tiny: Path, export: Export, tmp_path: Path) -> None:
    export(tiny, tmp_path / "llava", "vllm")
    config = json.loads((tmp_path / "llava" / "config.json").read_text())
    assert config["projector_hidden_act"] == "relu"
    assert difference(load_model(tiny, torch.float32), tmp_path / "llava") < 1e-5


@torch.no_grad()
def test_the_form_for_vllm_loses_no_precision_in_bfloat16(
    tiny: Path, export: Export, tmp_path: Path
) -> None:
    features = torch.randn(1, 64, 32, generator=torch.Generator().manual_seed(5))
    exact = load_model(tiny, torch.float32).image_projector
    assert exact is not None
    wanted = exact.to(torch.bfloat16).double()(features.bfloat16().double())
    errors = {}
    for target in ("transformers", "vllm"):
        export(tiny, tmp_path / target, target, dtype="bfloat16")
        projector = load(tmp_path / target, torch.bfloat16).model.multi_modal_projector
        errors[target] = float((projector(features.bfloat16()).double() - wanted).abs().max())
    assert 0 < errors["vllm"] <= errors["transformers"] * 1.01


def test_a_narrow_model_gets_vllm_s_name_of_the_identity(export: Export, tmp_path: Path) -> None:
    def narrow(config: Any) -> Any:
        config.vision_config.hidden_size = config.vision_config.intermediate_size = 64
        return config

    write_tiny(tmp_path / "narrow", narrow)
    result = export(tmp_path / "narrow", tmp_path / "llava", "vllm")
    config = json.loads((tmp_path / "llava" / "config.json").read_text())
    assert config["projector_hidden_act"] == "torch.nn.modules.linear.Identity"
    assert any("transformers does not load" in note for note in result.notes)
    # The same weights as for transformers, which has another name for it.
    config["projector_hidden_act"] = "linear"
    (tmp_path / "llava" / "config.json").write_text(json.dumps(config))
    assert difference(load_model(tmp_path / "narrow"), tmp_path / "llava") == 0.0


def test_a_tied_head_stays_tied(export: Export, tmp_path: Path) -> None:
    def tied(config: Any) -> Any:
        config.text_config.tie_word_embeddings = True
        return config

    write_tiny(tmp_path / "tied", tied)
    export(tmp_path / "tied", tmp_path / "llava")
    assert "language_model.lm_head.weight" not in load_file(tmp_path / "llava/model.safetensors")
    assert difference(load_model(tmp_path / "tied"), tmp_path / "llava") == 0.0


def test_an_adapter_is_merged_on_the_way(
    tiny: Path, tiny_adapter: Path, export: Export, tmp_path: Path
) -> None:
    export(tiny, tmp_path / "llava", adapter=tiny_adapter)
    assert difference(attach(tiny, tiny_adapter), tmp_path / "llava") < 1e-4
    assert difference(load_model(tiny), tmp_path / "llava") > 0.1


@torch.no_grad()
def test_lamm_mini_s_logits_for_a_picture_and_for_a_cloud(export: Export, tmp_path: Path) -> None:
    """LLaVA has no point encoder, but takes a cloud's features as embeddings."""
    export(MINI, tmp_path / "llava")
    model = load_model(MINI, torch.float32)
    assert difference(model, tmp_path / "llava") == 0.0
    llava = load(tmp_path / "llava")
    cloud = torch.rand(1, 1024, 3, generator=torch.Generator().manual_seed(4))
    ids = torch.tensor([[1, 9, *[model.config.point_token_id] * 64, 7, 11]])
    embeds = model.embed(ids, None, model.encode_point_features(cloud))
    expected = model(input_ids=ids, points=cloud).logits
    logits = llava(inputs_embeds=embeds).logits[..., : expected.shape[-1]]
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("merged", [True, False])
def test_a_converted_official_delta(
    upstream: Any, export: Export, tmp_path: Path, merged: bool
) -> None:
    """Upstream's layouts: Vicuna's 32,001 rows, CLIP's names, LoRA and projector of the delta."""
    convert(
        ConvertOptions(
            delta=upstream.image_delta,
            llm=upstream.llm,
            vision=upstream.clip,
            out=tmp_path / "lamm",
            merge=merged,
            dtype=torch.float32,
        )
    )
    if merged:
        result = export(tmp_path / "lamm", tmp_path / "llava")
        model = load_model(tmp_path / "lamm")
    else:
        base, adapter = tmp_path / "lamm/base", tmp_path / "lamm/adapter"
        result = export(base, tmp_path / "llava", adapter=adapter)
        model = attach(base, adapter)
    assert difference(model, tmp_path / "llava") < (1e-9 if merged else 1e-4)
    config = json.loads((tmp_path / "llava" / "config.json").read_text())
    assert config["image_token_index"] == config["image_token_id"] == 32001
    assert config["text_config"]["vocab_size"] == 32064
    # LLaMA's pieces spell the end of an answer with three tokens.
    generation = json.loads((tmp_path / "llava" / "generation_config.json").read_text())
    assert generation["stop_strings"] == ["\n###", "###"]
    assert any("several tokens" in note for note in result.notes)
    card = (tmp_path / "llava" / "README.md").read_text()
    assert "CC BY-NC 4.0" in card
    assert "license: other" in card
    assert "tokenizer=processor.tokenizer" in card
