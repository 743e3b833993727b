"""`config.json` and `generation_config.json` of the exported LLaVA."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from lamm_model.checkpoint.export.llava.tensors import PaddedVocabulary, ProjectorForm
from lamm_model.checkpoint.export.llava.tokenizer import pieces_of
from lamm_model.checkpoint.export.source import ExportSource
from lamm_model.spec import CheckpointError
from lamm_model.tokenizer import LammTokenizer

# Servers split matrices of the vocabulary among GPUs and pad them to this multiple.
_ROWS_MULTIPLE = 64
_UNKNOWN = "<unk>"
_UNUSED = {
    "_name_or_path",
    "chunk_size_feed_forward",
    "id2label",
    "is_encoder_decoder",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "problem_type",
    "return_dict",
}


def padded_vocabulary(source: ExportSource) -> PaddedVocabulary:
    """Rows up to the placeholder's id, to a multiple of 64; new ones copy the unknown token.

    The placeholder's id is above LAMM's vocabulary, but LLaVA looks it up in the embedding.
    """
    rows = -(-(source.spec.image_token_id + 1) // _ROWS_MULTIPLE) * _ROWS_MULTIPLE
    unknown = pieces_of(source.tokenizer).get(_UNKNOWN, source.spec.bos_token_id)
    return PaddedVocabulary(rows, unknown)


def projector_form(source: ExportSource, target: str) -> ProjectorForm:
    """The form that `target` loads; vLLM has no activation named "linear"."""
    if target != "vllm":
        return ProjectorForm.LINEAR
    hidden, width = source.tensors["image_projector.weight"].shape
    return ProjectorForm.RELU if hidden >= 2 * width else ProjectorForm.IDENTITY


def llava_config(
    source: ExportSource, form: ProjectorForm, vocabulary: PaddedVocabulary
) -> dict[str, Any]:
    """The content of `config.json`.

    Raises:
        CheckpointError: the image size is not a multiple of the patch size.
    """
    config = source.config
    # LammConfig converts dictionaries to configuration objects.
    assert isinstance(config.text_config, LlamaConfig)
    assert isinstance(config.vision_config, CLIPVisionConfig)
    text, vision = copy.deepcopy(config.text_config), copy.deepcopy(config.vision_config)
    if int(vision.image_size) % int(vision.patch_size):  # type: ignore[arg-type]
        raise CheckpointError(
            f"{source.spec.path}: the image size is {vision.image_size}, not a multiple of the "
            f"patch size {vision.patch_size}, which LLaVA requires"
        )
    text.vocab_size = vocabulary.rows
    for part in (text, vision):
        part.name_or_path = ""
        part.dtype = source.dtype
    special: dict[str, Any] = {
        "bos_token_id": source.spec.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": pad_token_id(source),
    }
    written = LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=source.spec.image_token_id,
        image_seq_length=config.num_image_tokens,
        projector_hidden_act=form.value,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
        multimodal_projector_bias=True,
        tie_word_embeddings=bool(text.tie_word_embeddings),
        **special,
    )
    written.architectures = ["LlavaForConditionalGeneration"]
    written.dtype = source.dtype
    content = _stated(written.to_dict())
    # Readers of this file know the id by either name, and the base of RoPE too.
    content["image_token_id"] = source.spec.image_token_id
    if "rope_theta" in (rope := content["text_config"].get("rope_parameters") or {}):
        content["text_config"]["rope_theta"] = rope["rope_theta"]
    return content


def _stated(content: dict[str, Any]) -> dict[str, Any]:
    """Without what every configuration of transformers has and no LLaVA uses."""
    return {
        name: _stated(value) if isinstance(value, dict) else value
        for name, value in content.items()
        if name not in _UNUSED
    }


def generation_config(
    source: ExportSource, vocabulary: PaddedVocabulary, target: str
) -> dict[str, Any]:
    """The content of `generation_config.json`: greedy, and what ends an answer.

    Pieces that complete one of the prompt preset's stop strings end an answer like EOS does. If
    the tokenizer spells the end of an answer with several pieces, the strings themselves are added,
    which transformers accepts together with a tokenizer.
    """
    spec, tokenizer = source.spec, source.tokenizer
    content: dict[str, Any] = {
        "bos_token_id": spec.bos_token_id,
        "eos_token_id": [*spec.eos_token_ids, *stop_pieces(tokenizer, spec.stop_rule.strings)],
        "pad_token_id": pad_token_id(source),
        "do_sample": False,
        # Their rows copy the unknown token's, so sampling would choose them as often.
        "suppress_tokens": list(range(spec.vocab_size, vocabulary.rows)),
    }
    if needs_stop_strings(source):
        content["stop_strings"] = list(spec.stop_rule.strings)
    if target == "vllm":
        # vLLM reads no `do_sample`; without a temperature its default is 1.
        content["temperature"] = 0.0
    return content


def needs_stop_strings(source: ExportSource) -> bool:
    """Whether the end of an answer is more than one piece, so that no single id ends an answer."""
    strings = source.spec.stop_rule.strings
    last = source.tokenizer.encode(f"a.{strings[0]}")[-1]
    return last not in stop_pieces(source.tokenizer, strings)


def stop_pieces(tokenizer: LammTokenizer, strings: Sequence[str]) -> list[int]:
    """Ids of pieces that contain a stop string after nothing but blanks."""
    found = []
    for piece, token_id in pieces_of(tokenizer).items():
        text = piece.replace("\u2581", " ")
        if any(stop in text and not text.partition(stop)[0].strip() for stop in strings):
            found.append(token_id)
    return sorted(found)


def pad_token_id(source: ExportSource) -> int:
    """The padding token; EOS, or else BOS, for a checkpoint without one."""
    pad = getattr(source.config, "pad_token_id", None)
    if isinstance(pad, int) and 0 <= pad < source.spec.vocab_size:
        return pad
    return (*source.spec.eos_token_ids, source.spec.bos_token_id)[0]


def dtype_name(dtype: torch.dtype) -> str:
    """`float16` for `torch.float16`."""
    return str(dtype).removeprefix("torch.")
