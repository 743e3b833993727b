"""Time that EPCL takes to encode a cloud: `python -m benchmark.baselines.point_ops --points 40000`.

Prints the median time of each step at the sizes of LAMM's encoder with random weights: sampling,
ball query, each whole set-abstraction layer, and the whole encoder with its transformer.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lamm_model.config import EpclConfig
from lamm_model.encoders.epcl import EpclEncoder, SetAbstraction
from lamm_model.encoders.point_ops import ball_query, farthest_point_sample, group

CLOUDS = ("room", "object")


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table of medians in milliseconds; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=40_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--without-transformer", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.points < 1 or arguments.repeat < 1:
        parser.error(f"points {arguments.points} and repeat {arguments.repeat} must be at least 1")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    layers = 0 if arguments.without_transformer else EpclConfig.num_hidden_layers
    encoder = EpclEncoder(EpclConfig(num_hidden_layers=layers)).to(arguments.device).eval()
    sys.stdout.write(
        f"torch {torch.__version__}, {arguments.device}, {torch.get_num_threads()} threads, "
        f"{arguments.points} points, medians of {arguments.repeat} in ms\n"
    )
    with torch.inference_mode():
        for name in CLOUDS:
            cloud = make_cloud(name, arguments.points).to(arguments.device)
            for step, run in _steps(encoder, cloud):
                milliseconds = _median(run, arguments.repeat, arguments.device) * 1e3
                sys.stdout.write(f"{name:8} {step:28} {milliseconds:10.1f}\n")
    return 0


def make_cloud(name: str, points: int) -> Tensor:
    """A seeded cloud [1, points, 3] in metres: the faces of a room of 6 x 5 x 3, or a unit cube."""
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(1, points, 3, generator=generator)
    if name == "object":
        return xyz - 0.5
    face = torch.randint(3, (1, points, 1), generator=generator)
    side = torch.randint(2, (1, points, 1), generator=generator).float()
    return xyz.scatter(2, face, side) * torch.tensor([6.0, 5.0, 3.0])


def _steps(encoder: EpclEncoder, cloud: Tensor) -> list[tuple[str, Callable[[], object]]]:
    steps: list[tuple[str, Callable[[], object]]] = []
    xyz, features = cloud, None
    for number, layer in enumerate(encoder.pre_encoder, start=1):
        assert isinstance(layer, SetAbstraction)
        steps += _layer_steps(f"layer {number}", layer, xyz, features)
        xyz, features = layer(xyz, features)
    depth = encoder.config.num_hidden_layers
    return [*steps, (f"encoder, {depth} blocks", lambda: encoder(cloud))]


def _layer_steps(
    name: str, layer: SetAbstraction, xyz: Tensor, features: Tensor | None
) -> list[tuple[str, Callable[[], object]]]:
    centres = group(xyz, farthest_point_sample(xyz, layer.num_points))
    return [
        (f"{name} sampling", lambda: farthest_point_sample(xyz, layer.num_points)),
        (f"{name} ball query", lambda: ball_query(layer.radius, layer.num_samples, xyz, centres)),
        (f"{name} whole", lambda: layer(xyz, features)),
    ]


def _median(run: Callable[[], object], repeat: int, device: str) -> float:
    """Median in seconds, after one warm-up run."""
    run()
    seconds = []
    for _ in range(repeat):
        _wait(device)
        started = time.perf_counter()
        run()
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main())
