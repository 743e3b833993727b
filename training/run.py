"""Builds everything that a recipe names, in the order it is needed, and trains."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lamm_model.checkpoint.load import load_model
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.processing import LammProcessor
from training.config import TINY_BASE, DataSource, Recipe, RecipeError
from training.data.dataset import InstructionDataset, load_media
from training.data.feature_cache import FeatureCache
from training.export import prepare_model
from training.frozen_encoders import encode_media, encoder_keys
from training.metrics_log import METRICS_FILE
from training.run_state import checkpoints, seed_everything
from training.tiny import make_tiny_base, make_tiny_records
from training.trainer import Trainer

logger = logging.getLogger(__name__)

_RUN_FILE, _LOCK_FILE = "run.json", "run.lock"
# Fields that a resumed run may change because they do not affect the losses.
_FREE_FIELDS = frozenset({"workers", "log_every", "save_every", "keep_last", "output"})


# Base directory, training and validation sources.
_Materials = tuple[Path, Sequence[DataSource], Sequence[DataSource]]


def run(
    recipe: Recipe, device: torch.device, *, restart: bool = False, progress: bool = False
) -> Path:
    """Trains as the recipe says, resuming the run in its output folder; returns the adapter.

    Raises:
        RecipeError: the device does not support the precision, the folder holds a run of another
            recipe, or another process trains in it.
        DatasetError, FeatureCacheError, CheckpointError, TrainingError: as their modules say.
    """
    if recipe.precision == "fp16" and device.type != "cuda":
        raise RecipeError(f"precision fp16 needs CUDA, not {device.type}; use bf16 or fp32")
    with _held(recipe.output):
        _open_output(recipe, restart)
        trainer = build_trainer(recipe, _materials(recipe), device, progress)
        return trainer.train(progress)


def build_trainer(
    recipe: Recipe, materials: _Materials, device: torch.device, progress: bool
) -> Trainer:
    """Loads the base and the data and builds the trainer."""
    base, sources, validation_sources = materials
    processor = LammProcessor.from_pretrained(base)
    spec = processor.spec
    max_length = min(recipe.max_length or spec.max_model_len, spec.max_model_len)
    tokens = recipe.output / "tokens"
    train_data = InstructionDataset(sources, processor, max_length, tokens, progress)
    validation = None
    if validation_sources:
        validation = InstructionDataset(validation_sources, processor, max_length, tokens, progress)
    seed_everything(recipe.seed)
    model = load_model(base, torch.float32)
    config = prepare_model(model, recipe.lora, recipe.precision, recipe.gradient_checkpointing)
    nn.Module.to(model, device)
    datasets = [train_data] if validation is None else [train_data, validation]
    if recipe.cache_features is not None:
        _cache_features(recipe.cache_features, model, processor, datasets, device, progress)
    origin = {
        "base": {"name": base.name, "digest": spec.digest},
        "data": {
            "records": len(train_data),
            "left_out": train_data.skipped,
            "lost_turns": train_data.shortened,
            "sha256": {path: digest for data in datasets for path, digest in data.digests.items()},
        },
    }
    return Trainer(recipe, model, config, train_data, validation, device, origin)


def _cache_features(
    folder: Path,
    model: LammForConditionalGeneration,
    processor: LammProcessor,
    datasets: Sequence[InstructionDataset],
    device: torch.device,
    progress: bool,
) -> None:
    cache = FeatureCache(folder, encoder_keys(model, processor.spec))
    media = [medium for data in datasets for medium in data.media_files]
    load, encode = partial(load_media, processor=processor), partial(encode_media, model, device)
    encoded = cache.fill(media, load, encode, progress)
    logger.info("%d media encoded, %d read from %s", encoded, len(media) - encoded, folder)
    for data in datasets:
        data.use_features(cache)


def _materials(recipe: Recipe) -> _Materials:
    """What the recipe names, or what is made for `base: tiny`."""
    if recipe.base != TINY_BASE:
        return Path(recipe.base), recipe.data, recipe.validation
    base, records = recipe.output / "tiny" / "base", recipe.output / "tiny" / "records"
    if not base.is_dir():
        make_tiny_base(base)
    made = () if recipe.data else (make_tiny_records(records),)
    return base, recipe.data or made, recipe.validation or made


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Locks the folder: two runs would delete each other's checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK_FILE).open("w") as lock:
        try:
            # Not flock: workers that outlive a killed run would keep holding it.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecipeError(f"{folder} is in use by another training process") from None
        except OSError as error:  # some network file systems have no locks
            logger.warning("%s cannot be locked (%s); do not start a second run", folder, error)
        yield


def _open_output(recipe: Recipe, restart: bool) -> None:
    """Creates the folder, or checks that it holds a run of this recipe."""
    folder = recipe.output
    made = [folder / name for name in ("checkpoints", "adapter", "tensorboard")]
    if restart:
        there = [path for path in made if path.exists()]
        if there and not (folder / _RUN_FILE).is_file():
            raise RecipeError(f"{folder} is not a run's folder; --restart would delete {there[0]}")
        for path in there:
            shutil.rmtree(path)
        for name in (METRICS_FILE, _RUN_FILE):
            (folder / name).unlink(missing_ok=True)
    path, wanted = folder / _RUN_FILE, recipe.as_json()
    # A run that failed before its first checkpoint has nothing to protect.
    begun = bool(checkpoints(folder / "checkpoints")) or (folder / "adapter").is_dir()
    if begun and path.is_file():
        changed = _changed(json.loads(path.read_text(encoding="utf8")), wanted)
        if changed:
            raise RecipeError(
                f"{folder} holds a run of another recipe ({'; '.join(changed)}); "
                "use another output folder, or start over with --restart"
            )
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf8")
    os.replace(temporary, path)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    names = sorted((before.keys() | after.keys()) - _FREE_FIELDS)
    return [
        f"{name}: {before.get(name)!r} in the run, {after.get(name)!r} in the recipe"
        for name in names
        if before.get(name) != after.get(name)
    ]
