"""Builds what an app holds from its settings: engines, media pools, served models.

Models with the same language model share an engine; models that prepare media in the same way share
a pool of decoding processes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lamm_model.spec import CheckpointSpec, ImageSpec, PointSpec
from lamm_model.tasks import TASKS
from lamm_model.tasks.calibration import Calibration
from lamm_model.tokenizer import LammTokenizer
from service.batches.service import Batches
from service.config.settings import Settings
from service.dependencies import ServedEngine, ServedModel, ServedModels, Services, Timeouts
from service.engine.base import Engine
from service.engine.config import MemoryShare
from service.engine.factory import create_engine
from service.engine.grammar.compiler import GrammarCompiler
from service.engine.loading.model_source import ModelSource
from service.files.store import FileStore
from service.guards import access_control
from service.keys.cache_scope import CacheSalts
from service.lifecycle import Lifecycle
from service.media.fetch import MediaFetcher
from service.media.pool import MediaPool
from service.media.preparer import MediaPreparer
from service.media.remote import RemoteLimits, RemoteMedia
from service.media.remote_address import AllowedHosts
from service.metrics import Metrics
from service.plan.input_processor import InputProcessor
from service.schemas.unknown_fields import UnknownFields
from service.startup.checkpoint_flags import Presets, read_checkpoint_flags
from service.startup.configs import (
    batch_config,
    engine_config,
    file_limits,
    input_limits,
    media_size_limits,
    pool_config,
    vllm_options,
)
from service.startup.model_groups import group_models

if TYPE_CHECKING:
    from service.tracing import Tracing


def build_services(
    settings: Settings, engine: Engine | None, tracing: Tracing | None
) -> tuple[Services, tuple[MediaPool, ...]]:
    """The app's services, and its media pools.

    Args:
        settings: everything an operator can set.
        engine: replaces the engines of the settings, for all models.
        tracing: wraps the engines and the media pools, if given.

    Raises:
        CheckpointError, CalibrationError, EngineConfigError, ValueError, OSError: as
            `app.create_app`.
    """
    presets = Presets(settings.prompt_preset, settings.image_preset, settings.prompt_pack)
    sources = read_checkpoint_flags(settings.checkpoint, settings.served_model_name, presets)
    tokenizers = {base: LammTokenizer.from_pretrained(base) for base in {s.base for s in sources}}
    grammars = {
        one.name: GrammarCompiler(tokenizers[one.base], one.spec.vocab_size, one.spec.eos_token_ids)
        for one in sources
    }
    if engine is None:
        engines = _engines(settings, sources, grammars)
    else:
        engines = (ServedEngine(engine, tuple(source.name for source in sources)),)
    if tracing is not None:
        engines = tuple(ServedEngine(tracing.engine(e.engine), e.models) for e in engines)
    metrics = Metrics(sources[0].name, {served.label: served.engine.stats for served in engines})
    pool_of = _pools(settings, sources, tracing)
    engine_of = {name: served.engine for served in engines for name in served.models}
    stored, fetcher = _media_sources(settings)
    lifecycle, access = Lifecycle(), access_control(settings)
    salts = CacheSalts(settings.cache_scope, access.keys.required)
    stats = [served.engine.stats for served in engines]
    known = access.keys.stands_for
    batches = Batches(batch_config(settings), stored, stats, lifecycle, metrics, known)
    services = Services(
        models=ServedModels(
            [
                _served_model(
                    settings,
                    source,
                    engine_of[source.name],
                    pool_of[source.name],
                    fetcher,
                    metrics,
                    tokenizers[source.base],
                    grammars[source.name],
                    salts,
                )
                for source in sources
            ]
        ),
        engines=engines,
        metrics=metrics,
        lifecycle=lifecycle,
        timeouts=Timeouts(settings.keepalive_s, settings.stall_timeout_s, settings.queue_timeout_s),
        access=access,
        unknown_fields=UnknownFields(),
        files=stored,
        media_fetcher=fetcher,
        batches=batches,
    )
    return services, tuple(dict.fromkeys(pool_of.values()))


def _engines(
    settings: Settings, sources: Sequence[ModelSource], grammars: Mapping[str, GrammarCompiler]
) -> tuple[ServedEngine, ...]:
    """One engine per language model."""
    groups = group_models(sources)
    config, vllm = engine_config(settings, len(groups)), vllm_options(settings)
    engines: list[ServedEngine] = []
    for number, group in enumerate(groups, 1):
        later = {source.base: None for rest in groups[number:] for source in rest}
        memory = MemoryShare(len(groups), tuple(later))
        engine = create_engine(settings.engine, group, config, memory, grammars, vllm)
        engines.append(ServedEngine(engine, tuple(source.name for source in group)))
    return tuple(engines)


def _pools(
    settings: Settings, sources: Sequence[ModelSource], tracing: Tracing | None
) -> dict[str, MediaPool]:
    """The media pool of each model; models that prepare media in the same way share one."""
    pool_of: dict[str, MediaPool] = {}
    for (image, points), names in _preparations(sources).items():
        config = pool_config(settings, image, points)
        pool = tracing.media_pool(config) if tracing else MediaPool(config)
        pool_of.update(dict.fromkeys(names, pool))
    return pool_of


def _served_model(
    settings: Settings,
    source: ModelSource,
    engine: Engine,
    pool: MediaPool,
    fetcher: MediaFetcher,
    metrics: Metrics,
    tokenizer: LammTokenizer,
    grammars: GrammarCompiler,
    salts: CacheSalts,
) -> ServedModel:
    spec = source.spec
    prompts = f"{spec.prompt_preset}|{sorted(spec.system_texts(TASKS).items())}"
    preset = spec.image.preset if spec.image else None
    # A client may cache answers by fingerprint, so it depends on the precision.
    identity = f"{spec.digest}|{prompts}|{preset}|{settings.dtype}"
    max_model_len = min(spec.max_model_len, settings.max_model_len or spec.max_model_len)
    limits = input_limits(settings, max_model_len)
    own_metrics = metrics.of_model(source.name)
    media = MediaPreparer(
        pool,
        fetcher,
        own_metrics,
        max_media_bytes=settings.max_media_bytes,
        max_fetched_bytes=settings.max_body_bytes,
        sizes=media_size_limits(settings),
    )
    return ServedModel(
        name=source.name,
        spec=spec,
        max_model_len=max_model_len,
        default_max_tokens=settings.default_max_tokens,
        sequences=limits.sequences,
        created=int(time.time()),
        fingerprint=f"fp_{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
        engine=engine,
        tokenizer=tokenizer,
        processor=InputProcessor(spec, tokenizer, source.name, limits, media, grammars, salts),
        metrics=own_metrics,
        calibration=Calibration.beside(source.adapter or spec.path, spec.digest),
    )


def _preparations(
    sources: Sequence[ModelSource],
) -> dict[tuple[ImageSpec | None, PointSpec | None], list[str]]:
    """Ways to prepare media, with the models that use each; compatible models share one."""
    ways: list[tuple[ImageSpec | None, PointSpec | None, list[str]]] = []
    for source in sources:
        spec: CheckpointSpec = source.spec
        for number, (image, points, names) in enumerate(ways):
            if (spec.image in (None, image) or image is None) and (
                spec.points in (None, points) or points is None
            ):
                both = (image or spec.image, points or spec.points)
                ways[number] = (*both, [*names, source.name])
                break
        else:
            ways.append((spec.image, spec.points, [source.name]))
    return {(image, points): names for image, points, names in ways}


def _media_sources(settings: Settings) -> tuple[FileStore, MediaFetcher]:
    """Stored files, and the fetcher of media that are not in a request's body."""
    stored = FileStore(settings.files_dir, file_limits(settings))
    hosts = AllowedHosts(settings.allowed_media_hosts)
    remote = RemoteMedia(hosts, RemoteLimits(settings.media_fetch_timeout_s)) if hosts else None
    fetcher = MediaFetcher(
        stored, hosts, remote, settings.max_media_fetches, settings.media_queue_timeout_s
    )
    return stored, fetcher
