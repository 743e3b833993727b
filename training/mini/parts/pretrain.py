"""The pre-training loop shared by lamm-mini's three frozen parts.

A run has a fixed number of steps on scenes made on the fly from the training split. An interrupted
run resumes from its last checkpoint; step `s` always sees the same batch.
"""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """Hyperparameters of one part's pre-training."""

    steps: int
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    warmup_steps: int = 300
    weight_decay: float = 0.05
    seed: int = 0
    save_every: int = 250
    threads: int = 1
    bfloat16: bool = False
    """Matrix products in bfloat16 (autocast); faster if the CPU supports it."""
    restart: bool = False
    """Continue from the saved weights with a new schedule and optimizer.

    Layers that the saved weights lack, or have in another shape, start from scratch.
    """


class DenseTask(nn.Module, ABC):
    """A part in pre-training with its temporary heads: draws batches, computes loss and scores."""

    encoder: nn.Module

    @abstractmethod
    def loss(self, rng: np.random.Generator, batch_size: int) -> Tensor:
        """Loss of a fresh batch drawn with `rng`."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Scores on held-out pictures or meshes, each between 0 and 1."""

    def save(self, out: Path) -> None:
        """Writes the finished part (`save_pretrained`) to `out`."""
        self.encoder.save_pretrained(out)  # type: ignore[operator]


def pretrain(task: DenseTask, settings: PretrainSettings, out: Path) -> dict[str, float]:
    """Trains `task` and writes its encoder (`save_pretrained`) and `pretrain.json` to `out`.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    torch.set_num_threads(settings.threads)
    out.mkdir(parents=True, exist_ok=True)
    optimizer = _optimizer(task, settings)
    first = _resume(task, None if settings.restart else optimizer, out)
    bar = tqdm(
        range(first, settings.steps),
        initial=first,
        total=settings.steps,
        unit="step",
        mininterval=10,
    )
    started, smooth = time.time(), 0.0
    for step in bar:
        task.train()
        for entry in optimizer.param_groups:
            entry["lr"] = settings.learning_rate * _pace(step, settings)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            loss = task.loss(np.random.default_rng((settings.seed, step)), settings.batch_size)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss is {loss.item()} at step {step}")
        task.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        smooth = loss.item() if step == first else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix(loss=f"{smooth:.3f}", refresh=False)
        if (step + 1) % settings.save_every == 0:
            task.eval()
            scores = task.evaluate()
            _checkpoint(task, optimizer, step + 1, out)
            minutes = round((time.time() - started) / 60, 1)
            report = {"step": step + 1, "loss": round(smooth, 4), "minutes": minutes, **scores}
            tqdm.write(json.dumps(report))
    task.eval()
    scores = task.evaluate()
    _checkpoint(task, optimizer, settings.steps, out)
    task.save(out)
    (out / "pretrain.json").write_text(
        json.dumps({"steps": settings.steps, "scores": scores}, indent=2)
    )
    return scores


def _optimizer(task: DenseTask, settings: PretrainSettings) -> torch.optim.Optimizer:
    decay = [p for p in task.parameters() if p.dim() > 1]
    rest = [p for p in task.parameters() if p.dim() <= 1]
    return torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": settings.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def _pace(step: int, settings: PretrainSettings) -> float:
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return float(0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done)))


def _checkpoint(task: DenseTask, optimizer: torch.optim.Optimizer, step: int, out: Path) -> None:
    state: dict[str, Any] = {
        "step": step,
        "task": task.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, out / "state.tmp")
    os.replace(out / "state.tmp", out / "state.pt")


def _resume(task: DenseTask, optimizer: torch.optim.Optimizer | None, out: Path) -> int:
    if not (out / "state.pt").is_file():
        return 0
    # Safe: `weights_only` runs no code from the file.
    state = torch.load(out / "state.pt", weights_only=True)  # noqa: TID251 - this run's own state
    if optimizer is None:
        _load_what_fits(task, state["task"])
        return 0
    task.load_state_dict(state["task"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _load_what_fits(task: DenseTask, weights: dict[str, Tensor]) -> None:
    own = task.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    task.load_state_dict(own | fitting)
    if fresh := sorted(own.keys() - fitting.keys()):
        tqdm.write(f"initialised from scratch: {', '.join(fresh)}")
