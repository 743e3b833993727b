"""Set abstraction without gradients: the step-by-step result, whatever the balls hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lamm_model.config import EpclConfig
from lamm_model.encoders import ball_pooling
from lamm_model.encoders.epcl import EpclEncoder, SetAbstraction, SharedLayer


def trained_layer(channels: list[int], radius: float = 0.3) -> SetAbstraction:
    """A layer whose normalisation has seen data; some of its scales are negative."""
    torch.manual_seed(0)
    layer = SetAbstraction(16, radius, 12, channels).eval()
    for shared in layer.mlp:
        assert isinstance(shared, SharedLayer)
        assert shared.bn.running_mean is not None
        assert shared.bn.running_var is not None
        shared.bn.running_mean.normal_()
        shared.bn.running_var.uniform_(0.2, 2.0)
        torch.nn.init.normal_(shared.bn.weight)
        torch.nn.init.normal_(shared.bn.bias)
    return layer


def plain(layer: SetAbstraction, xyz: Tensor, features: Tensor | None) -> Tensor:
    """With gradients every step is spelled out."""
    with torch.enable_grad():
        pooled: Tensor = layer(xyz, features)[1]
    assert pooled.requires_grad
    return pooled.detach()


@pytest.mark.parametrize("rows", [1, 50, 1 << 17], ids=["a ball", "some balls", "all balls"])
@pytest.mark.parametrize("channels", [[0, 8, 16], [5, 24], [5, 16, 32, 8]])
@pytest.mark.parametrize("radius", [1e-4, 0.3, 3.0], ids=["lone points", "mixed", "full balls"])
def test_equals_the_layers_one_by_one(
    channels: list[int], radius: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ball_pooling, "_CPU_ROWS", rows)
    layer = trained_layer(channels, radius)
    xyz = torch.rand(3, 90, 3) + 20.0  # far from the origin, where coordinates are coarse
    features = torch.randn(3, 90, channels[0]) if channels[0] else None
    expected = plain(layer, xyz, features)
    with torch.no_grad():
        found = layer(xyz, features)[1]
    assert found.shape == (3, 16, channels[-1])
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_empty_balls_hold_the_first_point() -> None:
    layer = trained_layer([4, 8])
    xyz = torch.full((1, 20, 3), float("nan"))
    xyz[:, 0] = 0.1
    index = torch.zeros(1, 16, 12, dtype=torch.long)
    centres, features = torch.rand(1, 16, 3), torch.randn(1, 20, 4)
    with torch.no_grad():
        expected = layer._pool(xyz, features, centres, index)
        folded = [shared.folded() for shared in layer.mlp if isinstance(shared, SharedLayer)]
        found = ball_pooling.pool_balls(xyz[0], features[0], centres[0], index[0], 0.3, folded)
    assert torch.allclose(found, expected[0], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_cloud_is_the_same_in_any_company() -> None:
    layer = trained_layer([4, 8, 16])
    xyz, features = torch.rand(4, 80, 3), torch.randn(4, 80, 4)
    together = layer(xyz, features)[1]
    alone = torch.cat([layer(xyz[b : b + 1], features[b : b + 1])[1] for b in range(4)])
    assert torch.equal(together, alone)


def test_training_uses_the_statistics_of_the_batch() -> None:
    layer = trained_layer([4, 8]).train()
    xyz, features = torch.rand(2, 80, 3), torch.randn(2, 80, 4)
    before = layer.mlp[0].bn.running_mean.clone()  # type: ignore[operator]
    with torch.no_grad():
        in_training = layer(xyz, features)[1]
        assert not torch.allclose(in_training, layer.eval()(xyz, features)[1])
    assert not torch.equal(before, layer.mlp[0].bn.running_mean)  # type: ignore[arg-type]


def test_the_whole_encoder_agrees_and_half_precision_is_near() -> None:
    torch.manual_seed(0)
    config = EpclConfig(
        sa_num_points=[64, 16], sa_radius=[0.2, 0.8], sa_num_samples=[8, 16],
        sa_mlp=[[16, 32], [32, 32]], hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_task_tokens=3, position_hidden_size=16,
    )  # fmt: skip
    encoder = EpclEncoder(config).eval()  # type: ignore[no-untyped-call]
    points = torch.rand(2, 128, 3)
    expected = encoder(points).detach()
    with torch.no_grad():
        found = encoder(points)
        half = encoder.to(torch.bfloat16)(points)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (half.float() - expected).abs().max() < 0.1
