"""Low-rank updates of several adapters in one batch: no row feels another's adapter."""

from __future__ import annotations

import torch

from lamm_model.decoder.lora import LoraPair, LoraStack


def test_another_adapters_overflow_stays_with_it() -> None:
    stack = _stack(small=1.0, large=6e4)
    alone, crowded = torch.zeros(1, 8).half(), torch.zeros(2, 8).half()
    x = torch.full((2, 8), 2.0).half()
    plan = stack.plan([(0, 1)], [0])
    plan.add_(alone, x[:1], 0, "o", plan.rows)
    plan = stack.plan([(0, 1), (1, 1)], [0, 1])
    plan.add_(crowded, x, 0, "o", plan.rows)
    assert torch.equal(crowded[0], alone[0])
    assert not crowded[1].isfinite().any()


def _stack(**scales: float) -> LoraStack:
    adapters = [
        {(0, "o_proj"): LoraPair(torch.full((2, 8), scale), torch.ones(8, 2), 1.0)}
        for scale in scales.values()
    ]
    return LoraStack(adapters, 1, {"o_proj": 8}, torch.device("cpu"), torch.float16)
