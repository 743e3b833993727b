"""Inputs of a conversion: opened and checked against one another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from lamm_model.checkpoint.base_families import FAMILIES, BaseFamily, family_of
from lamm_model.checkpoint.base_llm import BaseModel, objections, open_base
from lamm_model.checkpoint.clip_keys import ClipTower, open_clip
from lamm_model.checkpoint.epcl_keys import EpclTower, open_epcl
from lamm_model.checkpoint.load import refuse
from lamm_model.checkpoint.official_delta import LORA_ALPHA, OfficialDelta, open_delta
from lamm_model.checkpoint.sentencepiece_model import tokenizer_json
from lamm_model.checkpoint.shards import MAX_SHARD_BYTES
from lamm_model.spec import CheckpointError


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """Options of a conversion. Exactly one of `vision` and `points` is set.

    `base_family` is the language model that the delta was trained on; None reads it from the
    delta's directory.
    """

    delta: Path
    llm: Path
    out: Path
    vision: Path | None = None
    points: Path | None = None
    tokenizer: Path | None = None
    merge: bool = False
    dtype: torch.dtype = torch.float16
    lora_alpha: float = LORA_ALPHA
    replace: bool = False
    base_family: BaseFamily | None = None
    force_base: bool = False
    expect_base_digest: str | None = None
    max_shard_bytes: int = MAX_SHARD_BYTES


@dataclass(frozen=True, slots=True)
class OpenedInputs:
    """The opened inputs; `tokenizer` is the text of tokenizer.json."""

    delta: OfficialDelta
    base: BaseModel
    family: BaseFamily
    tower: ClipTower | EpclTower
    tokenizer: str
    objections: tuple[str, ...]

    @property
    def projector(self) -> str:
        """Attribute name of the projector that the delta has weights for."""
        return "image_projector" if isinstance(self.tower, ClipTower) else "point_projector"


def open_inputs(options: ConvertOptions) -> OpenedInputs:
    """Opens all inputs.

    Raises:
        CheckpointError: an input cannot be read, the inputs do not match, or the language model
            is not the one that the delta was trained on.
    """
    if (options.vision is None) == (options.points is None):
        raise CheckpointError(
            "expected either --vision or --points; a LAMM delta has one projector"
        )
    delta = open_delta(options.delta)
    places = [options.tokenizer] if options.tokenizer else [options.llm, options.delta.parent]
    tokenizer = _tokenizer_text(places)
    bos, eos = _special_ids(tokenizer)
    base = open_base(options.llm, bos, eos)
    family = options.base_family or family_of(options.delta, delta.sibling_config)
    against = tuple(_check_base(options, base, delta, family))
    tower: ClipTower | EpclTower
    if options.vision is not None:
        tower = open_clip(options.vision)
    else:
        assert options.points is not None
        tower = open_epcl(options.points)
    if tower.config.hidden_size != delta.encoder_width:
        raise CheckpointError(
            f"{delta.path}: the projector has input width {delta.encoder_width}, but the encoder "
            f"has output width {tower.config.hidden_size}"
        )
    return OpenedInputs(delta, base, family, tower, tokenizer, against)


def _check_base(
    options: ConvertOptions, base: BaseModel, delta: OfficialDelta, family: BaseFamily
) -> list[str]:
    """Reasons against the base, if `force_base` overrides them; otherwise they are raised."""
    pairs = (
        ("hidden_size", base.config.hidden_size, delta.hidden_size),
        ("num_hidden_layers", base.config.num_hidden_layers, delta.num_layers),
    )
    wrong = [
        f"{name}: {have} in the base, {want} in the delta"
        for name, have, want in pairs
        if have != want
    ]
    refuse(f"{base.path}: the sizes differ from those of the delta", {"different": wrong})
    expected = options.expect_base_digest
    if expected is not None and expected != base.fingerprint.digest:
        raise CheckpointError(
            f"{base.path}: the digest is {base.fingerprint.digest}; expected {expected}"
        )
    against = objections(base, delta.sibling_config, family)
    if not options.force_base:
        others = ", ".join(other for other in BaseFamily if other is not family)
        refuse(
            f"{base.path}: not {FAMILIES[family].title}, on which the delta was trained; with "
            "another base the model answers nonsense without an error",
            {"reasons": against},
            (
                f"use --base-family if the delta was trained on another base ({others}), or "
                "--force-base to convert anyway",
            ),
        )
    return against


def _tokenizer_text(places: list[Path]) -> str:
    # tokenizer.model takes precedence: upstream used it, and a later tokenizer.json may differ.
    for place in places:
        if (place / "tokenizer.model").is_file():
            return tokenizer_json(place / "tokenizer.model")
    for place in places:
        if (place / "tokenizer.json").is_file():
            return (place / "tokenizer.json").read_text(encoding="utf8")
    where = ", ".join(map(str, places))
    raise CheckpointError(
        f"tokenizer.model or tokenizer.json not found in {where}; use --tokenizer"
    )


def _special_ids(text: str) -> tuple[int, int]:
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises no narrower type
        raise CheckpointError(f"the tokenizer cannot be read: {error}") from error
    bos, eos = tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")
    if bos is None or eos is None:
        raise CheckpointError("the tokenizer lacks <s> or </s>; expected LLaMA's tokenizer")
    return int(bos), int(eos)
