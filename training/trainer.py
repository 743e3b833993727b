"""The training loop: LoRA and projectors learn, everything else is frozen.

`Trainer.train` is the table of contents: step, log, evaluate, save.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from lamm_model.checkpoint.adapters.stored import load_adapter
from lamm_model.checkpoint.adapters.trained import copy_adapter, save_adapter
from lamm_model.checkpoint.atomic import atomic_directory
from lamm_model.modeling import LammForConditionalGeneration
from training.config import Recipe
from training.data.collator import Batch, collate
from training.data.dataset import InstructionDataset
from training.data.sampler import BucketBatchSampler
from training.export import adapter_provenance, check_origin, trainable_parameters
from training.loss import TrainingError, batch_loss, validation_loss
from training.metrics_log import MetricsLog, read_metrics
from training.optimizer import build_optimizer, set_learning_rates
from training.run_state import checkpoint_path, checkpoints, keep_last, load_state, save_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepResult:
    """One optimizer step: mean loss per token, gradient norm before clipping, tokens seen."""

    loss: float
    grad_norm: float
    tokens: int


class Trainer:
    """Trains a model that carries LoRA (`training.export.prepare_model`) as a recipe says.

    A run resumes from the newest checkpoint in its folder, with the same losses as an uninterrupted
    run (bit for bit on a CPU).
    """

    def __init__(
        self,
        recipe: Recipe,
        model: LammForConditionalGeneration,
        config: LoraConfig,
        train_data: InstructionDataset,
        validation_data: InstructionDataset | None,
        device: torch.device,
        origin: Mapping[str, Any],
    ) -> None:
        """`origin`: name and digests of the base and the data, for provenance."""
        self._recipe, self._model, self._lora_config = recipe, model, config
        self._validation, self._device, self._origin = validation_data, device, origin
        self._checkpoints = recipe.output / "checkpoints"
        self._parameters = trainable_parameters(model)
        self._optimizer = build_optimizer(recipe.optimizer, self._parameters)
        self._scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self._sampler = BucketBatchSampler(train_data.lengths, recipe.batch_size, recipe.seed)
        self._loader = _loader(train_data, self._sampler, recipe)
        self._step = 0
        self._validation_loss: float | None = None

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        if self._recipe.max_steps is not None:
            return self._recipe.max_steps
        batches = self._recipe.epochs * self._sampler.batches_per_epoch
        # Rounded: 1.1 epochs of 110 batches are 121, but slightly more in floating point.
        return max(1, math.ceil(round(batches / self._recipe.gradient_accumulation, 6)))

    def train(self, progress: bool = False) -> Path:
        """Trains to the last step and returns the adapter's directory.

        Raises:
            TrainingError: a loss or gradient is not finite, a checkpoint cannot be written, or the
                checkpoint to resume was trained on another base or other data.
        """
        self._resume()
        self._set_train_mode()
        log = MetricsLog(self._recipe.output, self._step)
        batches: Iterator[Batch] = iter(self._loader)  # endless, like its sampler
        # None hides the bar where stderr is not a terminal.
        hidden = None if progress else True
        bar = tqdm(total=self.total_steps, initial=self._step, unit=" steps", disable=hidden)
        try:
            while self._step < self.total_steps:
                started = time.perf_counter()
                result = self.train_step(list(islice(batches, self._recipe.gradient_accumulation)))
                self._report(log, bar, result, time.perf_counter() - started)
                last = self._step == self.total_steps
                if self._validation is not None and (last or self._due(self._recipe.eval_every)):
                    self._validation_loss = self._evaluate(self._validation)
                    log.write(self._step, scalars=True, validation_loss=self._validation_loss)
                    logger.info("step %d validation loss %.4f", self._step, self._validation_loss)
                if last or self._due(self._recipe.save_every):
                    self._save()
        finally:
            bar.close()
            log.close()
        adapter = self._recipe.output / "adapter"
        with self._written(adapter):
            return adapter

    def train_step(self, batches: list[Batch]) -> StepResult:
        """One optimizer step over all batches, as if they were one.

        The loss is the mean over all their answer tokens, so it does not depend on the split into
        batches.

        Raises:
            TrainingError: the loss or the gradient is not finite.
        """
        set_learning_rates(self._optimizer, self._recipe.optimizer, self._step, self.total_steps)
        answer_tokens = sum(batch.answer_tokens for batch in batches)
        precision = self._recipe.precision
        loss = torch.zeros((), device=self._device)
        for batch in batches:
            part = batch_loss(self._model, batch, self._device, precision, answer_tokens)
            torch.autograd.backward(self._scaler.scale(part))
            loss += part.detach()
            self._sampler.advance()
        if not torch.isfinite(loss):
            names = "\n".join(name for batch in batches for name in batch.names)
            raise TrainingError(
                f"the loss of step {self._step + 1} is {loss.item()}; records:\n{names}"
            )
        self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(
            self._parameters.values(), self._recipe.optimizer.clip_norm
        )
        # With fp16 the scaler skips such a step and lowers its scale; otherwise it is an error.
        if not self._scaler.is_enabled() and not torch.isfinite(norm):
            raise TrainingError(f"the gradient norm of step {self._step + 1} is {norm.item()}")
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._step += 1
        return StepResult(loss.item(), norm.item(), sum(batch.tokens for batch in batches))

    def _evaluate(self, data: InstructionDataset) -> float:
        nn.Module.eval(self._model)
        recipe = self._recipe
        loss = validation_loss(self._model, data, self._device, recipe.precision, recipe.batch_size)
        self._set_train_mode()
        return loss

    def _set_train_mode(self) -> None:
        self._model.train()
        # train() would also enable dropout in the frozen encoders and update their batch norms.
        for tower in (self._model.vision_tower, self._model.point_tower):
            if tower is not None:
                nn.Module.eval(tower)

    def _due(self, every: int) -> bool:
        return self._step % every == 0

    def _report(self, log: MetricsLog, bar: tqdm[Any], result: StepResult, seconds: float) -> None:
        rate, speed = self._optimizer.param_groups[0]["lr"], result.tokens / seconds
        due = self._due(self._recipe.log_every)
        log.write(
            self._step,
            scalars=due or self._step == 1,
            loss=result.loss,
            learning_rate=rate,
            grad_norm=result.grad_norm,
            tokens_per_second=round(speed, 1),
            epoch=round(self._sampler.epoch, 4),
        )
        bar.update()
        bar.set_postfix(loss=f"{result.loss:.4f}", lr=f"{rate:.2e}")
        if due and bar.disable:
            shown = f"loss {result.loss:.4f}  lr {rate:.2e}  {speed:.0f} tokens/s"
            logger.info("step %d of %d  %s", self._step, self.total_steps, shown)

    def _save(self) -> None:
        values = {
            "step": self._step,
            "sampler": self._sampler.state_dict(),
            "scaler": self._scaler.state_dict(),
            "validation_loss": self._validation_loss,
        }
        with self._written(checkpoint_path(self._checkpoints, self._step)) as folder:
            save_state(folder, self._optimizer, values)
        keep_last(self._checkpoints, self._recipe.keep_last)

    def _resume(self) -> None:
        saved = checkpoints(self._checkpoints)
        if not saved:
            return
        adapter = load_adapter(saved[-1])
        check_origin(adapter.provenance, self._origin, saved[-1])
        copy_adapter(adapter, self._model, str(saved[-1]))
        values = load_state(saved[-1], self._optimizer)
        self._step, self._validation_loss = values["step"], values["validation_loss"]
        self._sampler.load_state_dict(values["sampler"])
        self._scaler.load_state_dict(values["scaler"])
        logger.info("resuming after step %d of %d", self._step, self.total_steps)

    @contextmanager
    def _written(self, target: Path) -> Iterator[Path]:
        """A directory with the adapter, open for more files; it replaces `target` at the end."""
        try:
            with atomic_directory(target, replace=True) as folder:
                save_adapter(folder, self._model, self._lora_config, self._provenance())
                yield folder
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"{target} cannot be written: {error}; earlier checkpoints are intact, and the "
                "same command resumes from the newest"
            ) from error

    def _provenance(self) -> dict[str, Any]:
        losses = [line["loss"] for line in read_metrics(self._recipe.output) if "loss" in line]
        return adapter_provenance(
            self._recipe, self._origin, self._step, self.total_steps, losses, self._validation_loss
        )


def _loader(
    data: InstructionDataset, sampler: BucketBatchSampler, recipe: Recipe
) -> DataLoader[Any]:
    return DataLoader(
        data,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=recipe.workers,
        # Its own generator: the global one serves dropout alone, and its state is saved.
        generator=torch.Generator().manual_seed(recipe.seed),
    )
