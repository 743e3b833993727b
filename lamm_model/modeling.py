"""LAMM as a Hugging Face model: what trains, and the oracle of the serving engine's tests.

Composed of transformers' `CLIPVisionModel` and `LlamaForCausalLM` and our EPCL encoder; one linear
projector a modality. Kept plain on purpose: speed lives in `lamm_model.decoder`.

Shapes: B rows, T tokens, M media, N tokens a medium, P points, S pixels, D encoder width,
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
    """A row's placeholders and its media's features differ in number."""


class LammForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Text, pictures and clouds in; next-token logits out.

    A picture's features are the last CLIP block's output without CLS and without post-layernorm, as
    LAMM trained (OpenLAMM `CLIP/model.py` `forward_patch_features` @ d5ca246).
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
        # The configuration has made objects of dictionaries.
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
        """Logits [B, T, vocab], and the loss where `labels` [B, T] are not -100.

        Media come as `pixel_values` [M, 3, S, S] and `points` [M, P, 3 or 6], or already encoded
        (but not projected) as `image_features` and `point_features` [M, N, D]; in the order in
        which their placeholders stand, row by row.

        Raises:
            PlaceholderMismatchError: placeholders and features differ in number; both are named.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("give input_ids or inputs_embeds")
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
        """Embeddings [B, T, H]: text looked up, media positions filled with projected features."""
        config = self.config
        embedding = self.language_model.get_input_embeddings()
        # Placeholders lie above the vocabulary; row 0 stands in until the features overwrite it.
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
                    f"{wanted} {name} placeholders in input_ids but {given} {name} features"
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
        """Projected features [M, N, H] of pictures [M, 3, S, S]: what a serving engine caches."""
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
        """Media enter with the prompt; later steps see the cache alone."""
        # The mixin's types take transformers' own classes alone for `self`.
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
        # The total can agree while one row has too many and another too few.
        for row, count in enumerate(mask_BT.sum(-1).tolist()):
            if count % per_medium:
                raise PlaceholderMismatchError(
                    f"row {row} has {count} {name} placeholders; a medium has {per_medium} features"
                )


AutoModelForCausalLM.register(LammConfig, LammForConditionalGeneration)
AutoModelForImageTextToText.register(LammConfig, LammForConditionalGeneration)
