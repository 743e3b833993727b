"""EPCL, a point-cloud encoder with CLIP's transformer (arXiv:2212.04098), as used by LAMM.

Set abstraction layers, a position MLP, CLIP's `ln_pre`, task tokens and CLIP's blocks; the output
is the point tokens. Source of the layout: OpenLAMM `src/model/EPCL` @ d5ca246.

Shapes: B clouds, N points, M centres, K neighbours, C channels, T tokens, D width.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.clip.modeling_clip import CLIPEncoder

from lamm_model.config import EpclConfig
from lamm_model.encoders.ball_pooling import pool_balls
from lamm_model.encoders.point_ops import ball_query, farthest_point_sample, group


class EpclEncoder(PreTrainedModel):
    """Clouds `[B, N, 3]` (`[B, N, 6]` with colour) in metres -> features `[B, T, D]`."""

    config_class = EpclConfig
    base_model_prefix = "epcl"
    main_input_name = "points"
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: EpclConfig) -> None:
        super().__init__(config)
        channels = 3 if config.use_color else 0
        layers = []
        for points, radius, samples, mlp in zip(
            config.sa_num_points,
            config.sa_radius,
            config.sa_num_samples,
            config.sa_mlp,
            strict=True,
        ):
            layers.append(SetAbstraction(points, radius, samples, [channels, *mlp]))
            channels = mlp[-1]
        self.pre_encoder = nn.ModuleList(layers)
        self.pos_embed = nn.Sequential(
            nn.Linear(3, config.position_hidden_size),
            nn.GELU(),
            nn.Linear(config.position_hidden_size, config.hidden_size),
        )
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.task_tokens = TaskTokens(config.num_task_tokens, config.hidden_size)
        self.encoder = CLIPEncoder(config)  # type: ignore[arg-type]
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, points: Tensor) -> Tensor:
        """Features [B, T, D] of clouds [B, N, 3 + C].

        Raises:
            ValueError: the number of columns does not match the configuration.
        """
        expected = 6 if self.config.use_color else 3
        if points.dim() != 3 or points.shape[-1] != expected:
            raise ValueError(
                f"points have shape {tuple(points.shape)}; expected [B, N, {expected}]"
            )
        # Coordinates stay float32 for all dtypes of the weights: half precision moves points by
        # millimetres and more.
        xyz_BN3 = points[..., :3].float()
        features: Tensor | None = points[..., 3:] if self.config.use_color else None
        for layer in self.pre_encoder:
            xyz_BN3, features = layer(xyz_BN3, features)
        assert features is not None
        dtype = self.pre_layrnorm.weight.dtype
        tokens_BTD = features + self.pos_embed(xyz_BN3.to(dtype))
        tokens_BTD = self.pre_layrnorm(tokens_BTD)
        task = self.task_tokens().expand(points.shape[0], -1, -1)
        tokens_BTD = torch.cat([tokens_BTD, task], dim=1)
        hidden: Tensor = self.encoder(inputs_embeds=tokens_BTD).last_hidden_state
        return hidden[:, : xyz_BN3.shape[1]]

    def token_positions(self, points: Tensor) -> Tensor:
        """Centres [B, T, 3] of the tokens of `forward`, in metres."""
        xyz_BN3 = points[..., :3].float()
        for layer in self.pre_encoder:
            assert isinstance(layer, SetAbstraction)
            xyz_BN3 = group(xyz_BN3, farthest_point_sample(xyz_BN3, layer.num_points))
        return xyz_BN3

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.trunc_normal_(module.weight, std=0.02)


class SetAbstraction(nn.Module):
    """A PointNet++ layer (arXiv:1706.02413): sample centres, group balls, shared MLP, pooling.

    Most time is spent in the products of the wide MLP layers: at LAMM's sizes the second set
    abstraction takes 137 GFLOP per cloud, for 256 full balls of 512 points and the layer of
    512 x 1024. `pool_balls` is the fast path without gradients.
    """

    def __init__(
        self, num_points: int, radius: float, num_samples: int, channels: list[int]
    ) -> None:
        super().__init__()
        self.num_points, self.radius, self.num_samples = num_points, radius, num_samples
        sizes = [channels[0] + 3, *channels[1:]]
        self.mlp = nn.ModuleList(
            SharedLayer(size_in, size_out) for size_in, size_out in pairwise(sizes)
        )

    def forward(self, xyz_BN3: Tensor, features_BNC: Tensor | None) -> tuple[Tensor, Tensor]:
        """Centres [B, M, 3] and their features [B, M, channels[-1]]."""
        centre_BM3 = group(xyz_BN3, farthest_point_sample(xyz_BN3, self.num_points))
        index_BMK = ball_query(self.radius, self.num_samples, xyz_BN3, centre_BM3)
        if self.training or torch.is_grad_enabled():
            return centre_BM3, self._pool(xyz_BN3, features_BNC, centre_BM3, index_BMK)
        layers = [layer.folded() for layer in self.mlp if isinstance(layer, SharedLayer)]
        # One cloud at a time, so that its features do not depend on the batch.
        pooled = [
            pool_balls(
                xyz_BN3[b],
                None if features_BNC is None else features_BNC[b],
                centre_BM3[b],
                index_BMK[b],
                self.radius,
                layers,
            )
            for b in range(len(xyz_BN3))
        ]
        return centre_BM3, torch.stack(pooled)

    def _pool(
        self, xyz_BN3: Tensor, features_BNC: Tensor | None, centre_BM3: Tensor, index_BMK: Tensor
    ) -> Tensor:
        """The same as `pool_balls` step by step, for training and as its reference."""
        grouped = (group(xyz_BN3, index_BMK) - centre_BM3.unsqueeze(2)) / self.radius
        grouped = grouped.to(self.mlp[0].conv.weight.dtype)  # type: ignore[arg-type, union-attr]
        if features_BNC is not None:
            grouped = torch.cat([grouped, group(features_BNC.to(grouped.dtype), index_BMK)], dim=-1)
        for layer in self.mlp:
            grouped = layer(grouped)
        return grouped.amax(dim=2)


class SharedLayer(nn.Module):
    """A linear layer without bias, batch normalisation over all positions, and ReLU."""

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.conv = nn.Linear(size_in, size_out, bias=False)
        self.bn = nn.BatchNorm1d(size_out)

    def forward(self, x: Tensor) -> Tensor:
        """[..., size_in] -> [..., size_out]."""
        shape = x.shape[:-1]
        out = self.bn(self.conv(x).reshape(-1, self.bn.num_features))
        return torch.relu(out).view(*shape, -1)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight [O, I] and bias [O] with the normalisation folded in (running statistics).

        Computed in float32, because the error of a half-precision variance affects all weights.
        """
        mean, variance = self.bn.running_mean, self.bn.running_var
        assert mean is not None
        assert variance is not None
        scale = self.bn.weight.float() * (variance.float() + self.bn.eps).rsqrt()
        bias = self.bn.bias.float() - mean.float() * scale
        dtype = self.conv.weight.dtype
        return (self.conv.weight.float() * scale[:, None]).to(dtype), bias.to(dtype)


class TaskTokens(nn.Module):
    """EPCL's learned task tokens [1, num_tokens, D]: an embedding and a two-layer MLP."""

    def __init__(self, num_tokens: int, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, size)
        self.trans = nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.Linear(size, size))

    def forward(self) -> Tensor:
        """The tokens, the same for every cloud."""
        return self.trans(self.embedding.weight).unsqueeze(0)  # type: ignore[no-any-return]
