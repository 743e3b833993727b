"""Configuration of LAMM as a Hugging Face model: one language model, up to two frozen encoders."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, CLIPVisionConfig, LlamaConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec


class EpclConfig(PreTrainedConfig):
    """Sizes of the EPCL point encoder; the defaults are LAMM's: ScanNet, ViT-L/14, 256 tokens.

    Set-abstraction layers (`sa_*`, one entry per layer) thin the cloud; CLIP blocks follow.
    `sa_mlp` lists the output channels of each layer; the last value equals `hidden_size`.
    Source: OpenLAMM `src/model/EPCL/model_3detr.py` @ d5ca246.
    """

    model_type = "lamm_epcl"
    base_config_key = "point_config"

    use_color: bool = False
    sa_num_points: list[int] | tuple[int, ...] = (2048, 256)
    sa_radius: list[float] | tuple[float, ...] = (0.2, 1.6)
    sa_num_samples: list[int] | tuple[int, ...] = (64, 512)
    sa_mlp: list[list[int]] | tuple[tuple[int, ...], ...] = ((64, 256), (512, 1024))
    position_hidden_size: int = 128
    num_task_tokens: int = 19
    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        layers = {
            len(self.sa_num_points),
            len(self.sa_radius),
            len(self.sa_num_samples),
            len(self.sa_mlp),
        }
        if len(layers) != 1:
            raise ValueError(
                f"the sa_* lists have lengths {sorted(layers)}; expected equal lengths"
            )
        if self.sa_mlp[-1][-1] != self.hidden_size:
            raise ValueError(
                f"sa_mlp ends with {self.sa_mlp[-1][-1]} channels; "
                f"expected hidden_size = {self.hidden_size}"
            )

    @property
    def num_tokens(self) -> int:
        """Tokens per cloud."""
        return int(self.sa_num_points[-1])


class LammConfig(PreTrainedConfig):
    """A LAMM checkpoint: `text_config`, and `vision_config` and/or `point_config`.

    `image_token_id` and `point_token_id` mark media positions in `input_ids`. They are at or above
    the vocabulary size (default: the first two such ids), so no text encodes to them.
    """

    model_type = "lamm"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "text_config": SubConfigSpec(config_class=LlamaConfig),
        "vision_config": SubConfigSpec(config_class=CLIPVisionConfig, optional=True),
        "point_config": SubConfigSpec(config_class=EpclConfig, optional=True),
    }

    text_config: dict[str, Any] | LlamaConfig | None = None
    vision_config: dict[str, Any] | CLIPVisionConfig | None = None
    point_config: dict[str, Any] | EpclConfig | None = None
    image_token_id: int | None = None
    point_token_id: int | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        vocab = self.text_config.vocab_size  # type: ignore[union-attr]
        self.image_token_id = vocab if self.image_token_id is None else self.image_token_id
        self.point_token_id = vocab + 1 if self.point_token_id is None else self.point_token_id
        if min(self.image_token_id, self.point_token_id) < vocab:
            raise ValueError(
                f"the placeholder ids are {self.image_token_id} and {self.point_token_id}; "
                f"expected at least the vocabulary size {vocab}"
            )

    @property
    def num_image_tokens(self) -> int:
        """Tokens per image (patches, without CLS); 0 without an image encoder."""
        if self.vision_config is None:
            return 0
        return int((self.vision_config.image_size // self.vision_config.patch_size) ** 2)  # type: ignore[operator, union-attr]

    @property
    def num_point_tokens(self) -> int:
        """Tokens per cloud; 0 without a point encoder."""
        return 0 if self.point_config is None else self.point_config.num_tokens  # type: ignore[union-attr]


AutoConfig.register("lamm_epcl", EpclConfig)
AutoConfig.register("lamm", LammConfig)
