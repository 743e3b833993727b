"""Point operations against plain loops that follow the CUDA kernels' rules one by one."""

from __future__ import annotations

import pytest
import torch

from lamm_model.encoders.point_ops import ball_query, farthest_point_sample, gather, group


def _slow_sample(points: list[list[float]], count: int) -> list[int]:
    distance, chosen = [1e10] * len(points), [0]
    while len(chosen) < count:
        last, best, best_distance = points[chosen[-1]], 0, -1.0
        for k, point in enumerate(points):
            if sum(v * v for v in point) <= 1e-3:
                continue
            gap = sum((a - b) ** 2 for a, b in zip(point, last, strict=True))
            distance[k] = min(distance[k], gap)
            if distance[k] > best_distance:
                best, best_distance = k, distance[k]
        chosen.append(best)
    return chosen


def _slow_ball(points: torch.Tensor, centre: torch.Tensor, radius: float, count: int) -> list[int]:
    hits = [k for k, p in enumerate(points) if float((p - centre).square().sum()) < radius * radius]
    hits = hits[:count]
    return hits + [hits[0]] * (count - len(hits)) if hits else [0] * count


@pytest.mark.parametrize("seed", range(5))
def test_sampling_equals_the_plain_loop(seed: int) -> None:
    torch.manual_seed(seed)
    clouds = torch.rand(2, 60, 3) - 0.5
    clouds[:, 3:6] = 0.005  # within the origin's ball: never chosen, except as the first
    found = farthest_point_sample(clouds, 20)
    for row in range(2):
        assert found[row].tolist() == _slow_sample(clouds[row].tolist(), 20)
        assert not set(found[row, 1:].tolist()) & {3, 4, 5}


def test_sampling_starts_at_index_zero_even_at_the_origin() -> None:
    cloud = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [5, 0, 0]]])
    assert farthest_point_sample(cloud, 3).tolist() == [[0, 2, 1]]


def test_a_cloud_within_the_origin_ball_repeats_index_zero() -> None:
    assert farthest_point_sample(torch.zeros(1, 4, 3), 3).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("count", [1, 8, 40])
def test_ball_query_takes_first_hits_pads_with_the_first_and_zeros_when_empty(count: int) -> None:
    torch.manual_seed(0)
    points = torch.rand(2, 50, 3)
    centres = torch.cat([points[:, :9], torch.full((2, 1, 3), 9.0)], dim=1)
    found = ball_query(0.3, count, points, centres)
    for row in range(2):
        for k in range(10):
            expected = _slow_ball(points[row], centres[row, k], 0.3, count)
            assert found[row, k].tolist() == expected
    assert found[:, 9].eq(0).all()


def test_group_and_gather_pick_the_indexed_rows() -> None:
    features = torch.arange(24.0).view(1, 6, 4)
    index = torch.tensor([[[5, 0], [2, 2]]])
    assert group(features, index).tolist() == features[0][index[0]].unsqueeze(0).tolist()
    assert gather(features, index[:, 0]).tolist() == features[:, [5, 0]].tolist()
