"""AdamW over LoRA and projectors, and learning rates as a pure function of the step.

Resuming needs no scheduler state other than the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from training.config import OptimizerRecipe


def build_optimizer(
    recipe: OptimizerRecipe, parameters: Mapping[str, nn.Parameter]
) -> torch.optim.AdamW:
    """Two groups, LoRA and projectors, each with its own peak learning rate."""
    projector_rate = recipe.projector_learning_rate
    if projector_rate is None:  # 0 is a valid rate: it freezes the projectors
        projector_rate = recipe.learning_rate
    lora = [p for name, p in parameters.items() if ".lora_" in name]
    projectors = [p for name, p in parameters.items() if ".lora_" not in name]
    return torch.optim.AdamW(
        [
            {"params": lora, "peak_lr": recipe.learning_rate},
            {"params": projectors, "peak_lr": projector_rate},
        ],
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
    )


def set_learning_rates(
    optimizer: torch.optim.Optimizer, recipe: OptimizerRecipe, step: int, total_steps: int
) -> None:
    """Sets the learning rate of every group for `step` (from 0)."""
    factor = learning_rate_factor(recipe, step, total_steps)
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def warmup_steps(recipe: OptimizerRecipe, total_steps: int) -> int:
    """Steps of linear warm-up, at least 1."""
    return max(1, round(recipe.warmup_ratio * total_steps))


def learning_rate_factor(recipe: OptimizerRecipe, step: int, total_steps: int) -> float:
    """Fraction of the peak learning rate at `step` (from 0): linear warm-up, then decay."""
    warmup = warmup_steps(recipe, total_steps)
    if step < warmup:
        return (step + 1) / warmup
    left = 1.0 - (step - warmup) / max(1, total_steps - warmup)
    if recipe.schedule == "linear":
        return left
    if recipe.schedule == "cosine":
        return 0.5 * (1.0 - math.cos(math.pi * left))
    return 1.0
