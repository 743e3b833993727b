"""Compares the Triton kernel with plain torch under Triton's interpreter, and compiles it for GPUs.

`python -m tests.lamm_model.sampling_kernel_check` prints a line per check; 1 if one fails. It needs
Triton, but no GPU.
"""

from __future__ import annotations

import os

os.environ.setdefault("TRITON_INTERPRET", "1")  # read when a kernel is defined

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor

from lamm_model.encoders import point_ops, sampling_kernel
from lamm_model.encoders.point_ops import farthest_point_sample

# A100, H100 and H200, B200.
_CAPABILITIES = (80, 90, 100)
_COMPILE = "--compile"


def main() -> int:
    """Runs every check."""
    failed = 0
    for name, clouds, num_samples in _cases():
        expected = farthest_point_sample(clouds, num_samples)
        with mock.patch.object(point_ops, "_triton_kernel", return_value=sampling_kernel):
            found = farthest_point_sample(clouds, num_samples)
        equal = torch.equal(found, expected)
        failed += not equal
        print(f"{'equal' if equal else 'DIFFERENT'}: {name}")
    # A kernel is either interpreted or compiled, by the environment of its process.
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": cache}
        compiled = subprocess.run([sys.executable, "-m", __spec__.name, _COMPILE], env=environment)
    return 1 if failed or compiled.returncode else 0


def compile_all() -> int:
    """Compiles for each kind of GPU; 1 if a multiplication and an addition were fused."""
    from triton import compile as compile_kernel
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    pointers = {"axes_3BN": "*fp32", "nearest_BN": "*fp32", "places_BM": "*i64"}
    numbers = dict.fromkeys(("axis_stride", "count", "num_samples"), "i32")
    options: dict[str, object] = {}

    class Recorder:
        """Takes the options of a launch."""

        def __getitem__(self, grid: object) -> object:
            return lambda *arguments, **given: options.update(given)

    cloud = torch.ones(3, 1, 40_000)
    with mock.patch.object(sampling_kernel, "_kernel", Recorder()):
        sampling_kernel.sample(cloud, cloud[0], 2)
    block = options.pop("BLOCK")
    failed = 0
    for capability in _CAPABILITIES:
        source = ASTSource(
            sampling_kernel._kernel,
            {**pointers, **numbers, "BLOCK": "constexpr"},
            constexprs={"BLOCK": block},
        )
        made = compile_kernel(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert made.asm["cubin"]
        fused = made.asm["ptx"].count("fma.")
        failed += fused > 0
        print(f"compiled for {capability}: block {block}, {options}, {fused} fused operations")
    # Not interpreted, the kernel cannot run here, and says so instead of raising.
    usable = sampling_kernel.is_usable(torch.device("cpu"))
    print(f"usable on a CPU: {usable}")
    return 1 if failed or usable else 0


def _cases() -> Iterator[tuple[str, Tensor, int]]:
    """Named clouds [B, N, 3], and how many points to sample."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) - 0.5

    yield "random clouds", random(3, 1000, 3), 60
    yield "a batch of one", random(1, 777, 3), 40
    yield "several blocks", random(2, 9000, 3), 12
    yield "a whole block", random(2, 4096, 3), 12
    yield "far from the origin", random(2, 500, 3) * 1e3 + 1e4, 40
    near = random(2, 600, 3)
    near[:, ::2] *= 0.05
    yield "points near the origin", near, 50
    yield "only points near the origin", random(2, 50, 3) * 0.02, 6
    yield "zeros", torch.zeros(2, 20, 3), 5
    edge = torch.zeros(1, 3, 3)
    edge[0, 1, 0], edge[0, 2, 0] = 1e-3**0.5, 0.0317
    yield "the edge of the origin's ball", edge, 3
    yield "duplicates", random(2, 40, 3).repeat(1, 15, 1), 80
    yield "one point many times", torch.full((2, 30, 3), 0.7), 9
    ties = torch.randint(1, 4, (2, 5000, 3), generator=generator).float()
    yield "ties among more points than threads", ties, 30
    yield "fewer points than samples", random(2, 7, 3), 20
    yield "one point", random(2, 1, 3), 4
    yield "one sample", random(2, 10, 3), 1
    yield "half precision", random(2, 300, 3).half(), 30


if __name__ == "__main__":
    sys.exit(compile_all() if _COMPILE in sys.argv else main())
