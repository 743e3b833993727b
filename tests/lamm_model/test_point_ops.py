"""Point operations against plain loops that follow the CUDA kernels' rules one by one."""

from __future__ import annotations

from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamm_model.encoders import point_ops
from lamm_model.encoders.point_ops import ball_query, farthest_point_sample, group

Points = npt.NDArray[np.float32]


def _square(a: Points, b: Points) -> np.float32:
    """The kernels' distance: float32, each operation rounded, x + y first."""
    x, y, z = (a[axis] - b[axis] for axis in range(3))
    return np.float32((x * x + y * y) + z * z)


def _kernel_sample(points: Points, count: int) -> list[int]:
    """The sampling kernel, thread by thread, with its tree of comparisons."""
    threads = min(2 ** int(np.log2(len(points))), 512)
    nearest = [np.float32(1e10)] * len(points)
    chosen = [0]
    while len(chosen) < count:
        best, best_index = [np.float32(-1)] * threads, [0] * threads
        for thread in range(threads):
            for k in range(thread, len(points), threads):
                if float(_square(points[k], np.zeros(3, np.float32))) <= 1e-3:
                    continue
                nearest[k] = min(_square(points[k], points[chosen[-1]]), nearest[k])
                if nearest[k] > best[thread]:
                    best[thread], best_index[thread] = nearest[k], k
        half = threads // 2
        while half:
            for thread in range(half):
                if best[thread + half] > best[thread]:
                    best[thread] = best[thread + half]
                    best_index[thread] = best_index[thread + half]
            half //= 2
        chosen.append(best_index[0])
    return chosen


def _kernel_ball(points: Points, centre: Points, radius: float, count: int) -> list[int]:
    limit = np.float32(radius) * np.float32(radius)
    hits = [k for k in range(len(points)) if _square(centre, points[k]) < limit][:count]
    return hits + [hits[0]] * (count - len(hits)) if hits else [0] * count


def _on_a_grid(values: list[tuple[int, int, int]]) -> Points:
    """Points whose distances tie often; the spacing puts some within the origin's ball."""
    return np.array(values, np.float32) * np.float32(0.03)


grid_points = st.lists(
    st.tuples(st.integers(-4, 4), st.integers(-4, 4), st.integers(-2, 2)), min_size=1, max_size=25
)


@pytest.mark.parametrize("seed", range(3))
def test_sampling_equals_the_plain_loop(seed: int) -> None:
    torch.manual_seed(seed)
    clouds = torch.rand(2, 60, 3) - 0.5
    clouds[:, 3:6] = 0.005  # within the origin's ball: never chosen, except as the first
    found = farthest_point_sample(clouds, 20)
    for row in range(2):
        assert found[row].tolist() == _kernel_sample(clouds[row].numpy(), 20)
        assert not set(found[row, 1:].tolist()) & {3, 4, 5}


@settings(max_examples=40)
@given(values=grid_points, count=st.integers(1, 8))
def test_equally_far_points_are_taken_as_the_kernel_does(
    values: list[tuple[int, int, int]], count: int
) -> None:
    points = _on_a_grid(values)
    found = farthest_point_sample(torch.from_numpy(points)[None], count)
    assert found[0].tolist() == _kernel_sample(points, count)


def test_ties_among_more_points_than_threads() -> None:
    points = np.random.default_rng(0).integers(1, 4, (700, 3)).astype(np.float32)
    found = farthest_point_sample(torch.from_numpy(points)[None], 4)
    assert found[0].tolist() == _kernel_sample(points, 4)


def test_sampling_starts_at_index_zero_even_at_the_origin() -> None:
    cloud = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [5, 0, 0]]])
    assert farthest_point_sample(cloud, 3).tolist() == [[0, 2, 1]]


def test_a_cloud_within_the_origin_ball_repeats_index_zero() -> None:
    assert farthest_point_sample(torch.zeros(1, 4, 3), 3).tolist() == [[0, 0, 0]]


def test_the_origin_s_limit_is_a_double() -> None:
    # float32's nearest to 1e-3 lies above it, so a point exactly there is not skipped.
    edge = np.float32(1e-3)
    assert float(edge) > 1e-3
    x = np.linspace(0.01, 0.03, 2000, dtype=np.float32)
    y = np.sqrt(edge - x * x)
    place = int(np.flatnonzero(x * x + y * y == edge)[0])
    cloud = torch.tensor([[[0.0, 0, 0], [x[place], y[place], 0]]])
    assert farthest_point_sample(cloud, 2).tolist() == [[0, 1]]


def test_half_precision_clouds_are_sampled_in_float32() -> None:
    torch.manual_seed(0)
    cloud = (torch.rand(1, 40, 3) + 1).half()
    assert farthest_point_sample(cloud, 9)[0].tolist() == _kernel_sample(
        cloud[0].float().numpy(), 9
    )


@pytest.mark.parametrize("count", [1, 8, 40])
def test_ball_query_takes_first_hits_pads_with_the_first_and_zeros_when_empty(count: int) -> None:
    torch.manual_seed(0)
    points = torch.rand(2, 50, 3)
    centres = torch.cat([points[:, :9], torch.full((2, 1, 3), 9.0)], dim=1)
    found = ball_query(0.3, count, points, centres)
    for row in range(2):
        for k in range(10):
            expected = _kernel_ball(points[row].numpy(), centres[row, k].numpy(), 0.3, count)
            assert found[row, k].tolist() == expected
    assert found[:, 9].eq(0).all()


@settings(max_examples=40)
@given(
    values=grid_points,
    centres=grid_points,
    radius=st.sampled_from([0.03, 0.0301, 0.06, 0.1, 0.2, 5.0]),
    count=st.integers(1, 5),
    pairs_at_once=st.sampled_from([1, 7, 1000]),
)
def test_balls_searched_block_by_block_hold_the_same(
    values: list[tuple[int, int, int]],
    centres: list[tuple[int, int, int]],
    radius: float,
    count: int,
    pairs_at_once: int,
) -> None:
    points, middles = _on_a_grid(values), _on_a_grid(centres)
    with mock.patch.multiple(
        point_ops, _FIRST_POINTS=3, _BLOCK_GROWTH=2, _PAIRS_AT_ONCE=pairs_at_once
    ):
        found = ball_query(
            radius, count, torch.from_numpy(points)[None], torch.from_numpy(middles)[None]
        )
    expected = [_kernel_ball(points, middle, radius, count) for middle in middles]
    assert found[0].tolist() == expected


@pytest.mark.parametrize("spread", [0.3, 3.0, 1e6])
def test_large_clouds_are_searched_by_cells(spread: float) -> None:
    # Far centres lie outside the cells, and a spread of 1e6 m must not overflow their numbers.
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(1, 6000, 3, generator=generator) * spread
    centres = torch.cat([points[:, :20], points[:, :4] + 0.05, torch.full((1, 1, 3), -9e5)], dim=1)
    found = ball_query(0.2, 16, points, centres)
    squares = (points[0, None] - centres[0, :, None]).square()
    near = (squares[..., 0] + squares[..., 1] + squares[..., 2]) < float(np.float32(0.2) ** 2)
    for row, hits in zip(found[0].tolist(), near, strict=True):
        first = hits.nonzero().flatten().tolist()[:16]
        assert row == (first + first[:1] * 16)[:16] if first else [0] * 16


def test_the_radius_is_squared_in_float32() -> None:
    # The float32 square of float32's 0.2 lies above float32's 0.04: a point there is a hit.
    limit = np.float32(0.2) * np.float32(0.2)
    assert np.float32(0.04) < limit
    x = np.linspace(0.05, 0.15, 2000, dtype=np.float32)
    y = np.sqrt(np.float32(0.04) - x * x)
    place = int(np.flatnonzero(x * x + y * y == np.float32(0.04))[0])
    points = torch.tensor([[[5.0, 0, 0], [x[place], y[place], 0]]])
    assert ball_query(0.2, 2, points, torch.zeros(1, 1, 3)).tolist() == [[[1, 1]]]


def test_group_and_gather_pick_the_indexed_rows() -> None:
    features = torch.arange(48.0).view(2, 6, 4)
    index = torch.tensor([[[5, 0], [2, 2]], [[1, 4], [0, 3]]])
    expected = torch.stack([features[row][index[row]] for row in range(2)])
    assert torch.equal(group(features, index), expected)
    assert torch.equal(group(features, index[:, 0]), expected[:, 0])


def test_gradients_flow_through_grouped_features() -> None:
    features = torch.zeros(1, 3, 2, requires_grad=True)
    group(features, torch.tensor([[[0, 0], [2, 0]]])).sum().backward()
    assert features.grad is not None
    assert features.grad[0, :, 0].tolist() == [3.0, 0.0, 1.0]


@pytest.mark.gpu
def test_the_gpu_chooses_as_the_cpu_does() -> None:
    torch.manual_seed(0)
    clouds = torch.rand(2, 5000, 3) * 2
    chosen = farthest_point_sample(clouds, 300)
    assert torch.equal(farthest_point_sample(clouds.cuda(), 300).cpu(), chosen)
    centres = group(clouds, chosen)
    balls = ball_query(0.2, 32, clouds, centres)
    assert torch.equal(ball_query(0.2, 32, clouds.cuda(), centres.cuda()).cpu(), balls)
