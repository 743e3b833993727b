"""LAMM as a Hugging Face model, for training and as the reference of the serving engine.

It combines transformers' `CLIPVisionModel` and `LlamaForCausalLM` with the EPCL encoder, with one
linear projector per modality. It is not optimised; `lamm_model.decoder` is the fast decoder.

Shapes: B rows, T tokens, M media, N tokens per medium, P points, S pixels, D encoder width,
H hidden size.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    CLIPVisionModel,
    GenerationMixin,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from lamm_model.config import EpclConfig, LammConfig
from lamm_model.encoders.epcl import EpclEncoder


class PlaceholderMismatchError(ValueError):
    """The number of placeholders differs from the number of media features."""


class LammForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Next-token logits of text, pictures and clouds.

    Image features are the output of the last CLIP block without CLS and without post-layernorm, as
    in LAMM's training (OpenLAMM `CLIP/model.py` `forward_patch_features` @ d5ca246).
    """

    config_class = LammConfig
    base_model_prefix = "lamm"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")  # type: ignore[assignment]
    supports_gradient_checkpointing = True
    _no_split_modules = ["LlamaDecoderLayer", "CLIPEncoderLayer"]  # noqa: RUF012 - declared so
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: LammConfig) -> None:
        super().__init__(config)
        text, vision, point = config.text_config, config.vision_config, config.point_config
        # LammConfig converts dictionaries to configuration objects.
        assert isinstance(text, LlamaConfig)
        self.vision_tower: CLIPVisionModel | None = None
        self.image_projector: nn.Linear | None = None
        self.point_tower: EpclEncoder | None = None
        self.point_projector: nn.Linear | None = None
        if vision is not None:
            assert isinstance(vision, CLIPVisionConfig)
            self.vision_tower = CLIPVisionModel(vision)
            self.image_projector = nn.Linear(vision.hidden_size, text.hidden_size)
        if point is not None:
            assert isinstance(point, EpclConfig)
            self.point_tower = EpclEncoder(point)
            self.point_projector = nn.Linear(point.hidden_size, text.hidden_size)
        self.language_model = LlamaForCausalLM(text)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        points: Tensor | None = None,
        image_features: Tensor | None = None,
        point_features: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, T, vocab], and the loss over `labels` [B, T] other than -100.

        Media are `pixel_values` [M, 3, S, S] and `points` [M, P, 3 or 6], or encoded but not
        projected `image_features` and `point_features` [M, N, D], in the order of their
        placeholders, row by row.

        Raises:
            PlaceholderMismatchError: the numbers of placeholders and features differ.
            ValueError: neither `input_ids` nor `inputs_embeds` is given.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("input_ids and inputs_embeds are None; expected one of them")
            if pixel_values is not None:
                image_features = self.encode_image_features(pixel_values)
            if points is not None:
                point_features = self.encode_point_features(points)
            inputs_embeds = self.embed(input_ids, image_features, point_features)
        output: CausalLMOutputWithPast = self.language_model(
            inputs_embeds=inputs_embeds, attention_mask=attention_mask, labels=labels, **kwargs
        )
        return output

    def embed(
        self, input_ids: Tensor, image_features: Tensor | None, point_features: Tensor | None
    ) -> Tensor:
        """Embeddings [B, T, H] of text, with projected features at the media positions."""
        config = self.config
        embedding = self.language_model.get_input_embeddings()
        # Placeholders are above the vocabulary; the features overwrite row 0 at their positions.
        embeds_BTH = embedding(input_ids.masked_fill(input_ids >= config.text_config.vocab_size, 0))
        for name, token_id, features, projector in (
            ("image", config.image_token_id, image_features, self.image_projector),
            ("point", config.point_token_id, point_features, self.point_projector),
        ):
            mask_BT = input_ids == token_id
            wanted = int(mask_BT.sum())
            given = 0 if features is None else features.shape[0] * features.shape[1]
            if wanted != given:
                raise PlaceholderMismatchError(
                    f"input_ids has {wanted} {name} placeholders; expected {given}, one per feature"
                )
            if features is None:
                continue
            self._check_rows(name, mask_BT, features.shape[1])
            assert projector is not None
            projected = projector(features.to(projector.weight.dtype)).reshape(wanted, -1)
            embeds_BTH = embeds_BTH.masked_scatter(
                mask_BT.unsqueeze(-1), projected.to(embeds_BTH.dtype)
            )
        return embeds_BTH  # type: ignore[no-any-return]

    def encode_image_features(self, pixel_values: Tensor) -> Tensor:
        """Frozen features [M, N, D] of pictures [M, 3, S, S], before the projector."""
        if self.vision_tower is None:
            raise ValueError("this checkpoint has no image encoder")
        dtype = self.vision_tower.embeddings.patch_embedding.weight.dtype
        return self.vision_tower(pixel_values.to(dtype)).last_hidden_state[:, 1:]  # type: ignore[no-any-return]

    def encode_point_features(self, points: Tensor) -> Tensor:
        """Frozen features [M, N, D] of clouds [M, P, 3 or 6], before the projector."""
        if self.point_tower is None:
            raise ValueError("this checkpoint has no point encoder")
        return self.point_tower(points)  # type: ignore[no-any-return]

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Projected features [M, N, H] of pictures [M, 3, S, S]."""
        assert self.image_projector is not None
        return self.image_projector(self.encode_image_features(pixel_values))  # type: ignore[no-any-return]

    def encode_points(self, points: Tensor) -> Tensor:
        """Projected features [M, N, H] of clouds [M, P, 3 or 6]."""
        assert self.point_projector is not None
        return self.point_projector(self.encode_point_features(points))  # type: ignore[no-any-return]

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the language model's token embedding."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        return self.language_model.get_output_embeddings()  # type: ignore[no-any-return]

    def prepare_inputs_for_generation(  # type: ignore[override]
        self,
        input_ids: Tensor,
        past_key_values: Any = None,
        is_first_iteration: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Passes media with the prompt only; later steps use the KV cache."""
        # The mixin's annotation of `self` accepts transformers' own classes only.
        mixin: Any = super()
        inputs: dict[str, Any] = mixin.prepare_inputs_for_generation(
            input_ids,
            past_key_values=past_key_values,
            is_first_iteration=is_first_iteration,
            **kwargs,
        )
        if not is_first_iteration and kwargs.get("use_cache", True):
            for name in ("pixel_values", "points", "image_features", "point_features"):
                inputs.pop(name, None)
        return inputs

    @staticmethod
    def _check_rows(name: str, mask_BT: Tensor, per_medium: int) -> None:
        # The totals can agree although one row has too many and another too few.
        for row, count in enumerate(mask_BT.sum(-1).tolist()):
            if count % per_medium:
                raise PlaceholderMismatchError(
                    f"row {row} has {count} {name} placeholders; "
                    f"expected a multiple of {per_medium}"
                )


AutoModelForCausalLM.register(LammConfig, LammForConditionalGeneration)
AutoModelForImageTextToText.register(LammConfig, LammForConditionalGeneration)
