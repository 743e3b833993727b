"""Settings become what an app holds: engines, media pools, served models. Called by `app`.

As a rule there is one of each: models over one language model share an engine, and models that
prepare media alike share a pool of decoding processes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lamm_model.media import MediaLimits
from lamm_model.spec import CheckpointSpec, ImageSpec, PointSpec
from lamm_model.tokenizer import LammTokenizer
from service.batches.records import BatchLimits
from service.batches.service import BatchConfig, Batches
from service.config.settings import Settings
from service.dependencies import ServedEngine, ServedModel, ServedModels, Services, Timeouts
from service.engine.base import Engine
from service.engine.config import EngineConfig, MemoryShare
from service.engine.factory import create_engine
from service.engine.grammar import GrammarCompiler
from service.engine.model_source import ModelSource
from service.files.store import FileLimits, FileStore
from service.guards import access_control
from service.lifecycle import Lifecycle
from service.media.budgets import MediaSizeLimits
from service.media.fetch import MediaFetcher
from service.media.pool import MediaPool
from service.media.pool_config import MediaPoolConfig
from service.media.preparer import MediaPreparer
from service.media.remote import RemoteLimits, RemoteMedia
from service.media.remote_address import AllowedHosts
from service.metrics import Metrics
from service.plan.input_processor import InputLimits, InputProcessor
from service.plan.sampling import SequenceLimits
from service.schemas.unknown_fields import UnknownFields
from service.startup.checkpoint_flags import Presets, read_checkpoint_flags
from service.startup.model_groups import group_models

if TYPE_CHECKING:
    from service.tracing import Tracing


def build_services(
    settings: Settings, engine: Engine | None, tracing: Tracing | None
) -> tuple[Services, tuple[MediaPool, ...]]:
    """What handlers need, and the decode workers behind the input processors.

    Args:
        settings: everything an operator can set.
        engine: takes the place of those that the settings name, for all models.
        tracing: sees the engines and the decode workers, where given.

    Raises:
        CheckpointError, EngineConfigError, ValueError, OSError: as `app.create_app`.
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
        batches=Batches(
            _batch_config(settings),
            stored,
            [served.engine.stats for served in engines],
            lifecycle,
            metrics,
            access.keys.stands_for,
        ),
    )
    return services, tuple(dict.fromkeys(pool_of.values()))


def engine_config(settings: Settings, num_engines: int = 1) -> EngineConfig:
    """An engine's part of the settings: the fields of the same names.

    Memory that is given in bytes is for all engines together.
    """
    values = {name: getattr(settings, name) for name in EngineConfig.__dataclass_fields__}
    if settings.kv_cache_bytes is not None:
        values["kv_cache_bytes"] = settings.kv_cache_bytes // num_engines
    values["mm_cache_bytes"] = settings.mm_cache_bytes // num_engines
    return EngineConfig(**values)


def _engines(
    settings: Settings, sources: Sequence[ModelSource], grammars: Mapping[str, GrammarCompiler]
) -> tuple[ServedEngine, ...]:
    """One engine per language model."""
    groups = group_models(sources)
    config = engine_config(settings, len(groups))
    engines: list[ServedEngine] = []
    for number, group in enumerate(groups, 1):
        later = {source.base: None for rest in groups[number:] for source in rest}
        memory = MemoryShare(len(groups), tuple(later))
        engine = create_engine(settings.engine, group, config, memory, grammars)
        engines.append(ServedEngine(engine, tuple(source.name for source in group)))
    return tuple(engines)


def _pools(
    settings: Settings, sources: Sequence[ModelSource], tracing: Tracing | None
) -> dict[str, MediaPool]:
    """Each model's decode workers; models that prepare media alike share theirs."""
    pool_of: dict[str, MediaPool] = {}
    for (image, points), names in _preparations(sources).items():
        config = _pool_config(settings, image, points)
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
) -> ServedModel:
    spec = source.spec
    prompts = f"{spec.prompt_preset}|{sorted(spec.system_prompts.items())}"
    preset = spec.image.preset if spec.image else None
    # Whoever keeps answers by it must not take one precision's for another's.
    identity = f"{spec.digest}|{prompts}|{preset}|{settings.dtype}"
    max_model_len = min(spec.max_model_len, settings.max_model_len or spec.max_model_len)
    sequences = SequenceLimits(settings.max_num_seqs, settings.max_waiting_requests)
    limits = InputLimits(
        max_model_len,
        settings.default_max_tokens,
        settings.max_media_items,
        settings.max_media_bytes,
        sequences,
    )
    own_metrics = metrics.of_model(source.name)
    media = MediaPreparer(
        pool,
        fetcher,
        own_metrics,
        max_media_bytes=settings.max_media_bytes,
        max_fetched_bytes=settings.max_body_bytes,
        sizes=MediaSizeLimits(
            settings.max_request_pixels, settings.max_request_points, _media_limits(settings)
        ),
    )
    return ServedModel(
        name=source.name,
        spec=spec,
        max_model_len=max_model_len,
        default_max_tokens=settings.default_max_tokens,
        sequences=sequences,
        created=int(time.time()),
        fingerprint=f"fp_{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
        engine=engine,
        tokenizer=tokenizer,
        processor=InputProcessor(spec, tokenizer, source.name, limits, media, grammars),
        metrics=own_metrics,
    )


def _preparations(
    sources: Sequence[ModelSource],
) -> dict[tuple[ImageSpec | None, PointSpec | None], list[str]]:
    """How media are prepared -> for which models; models that do not contradict share one way."""
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
    """Where media come from that are not in a request's body."""
    limits = FileLimits(
        settings.max_file_bytes,
        settings.max_stored_bytes,
        settings.max_stored_files,
        settings.file_expiry_s,
        settings.key_max_stored_bytes,
        settings.key_max_stored_files,
    )
    stored = FileStore(settings.files_dir, limits)
    hosts = AllowedHosts(settings.allowed_media_hosts)
    remote = RemoteMedia(hosts, RemoteLimits(settings.media_fetch_timeout_s)) if hosts else None
    fetcher = MediaFetcher(
        stored, hosts, remote, settings.max_media_fetches, settings.media_queue_timeout_s
    )
    return stored, fetcher


def _batch_config(settings: Settings) -> BatchConfig:
    url = settings.database_url
    limits = BatchLimits(
        settings.batch_max_lines,
        settings.batch_max_line_bytes,
        settings.batch_max_unfinished,
        settings.batch_max_unfinished_lines,
        settings.batch_max_window_s,
        settings.batch_retention_s,
    )
    return BatchConfig(
        None if url is None else url.get_secret_value(), limits, settings.batch_max_in_flight
    )


def _pool_config(
    settings: Settings, image: ImageSpec | None, points: PointSpec | None
) -> MediaPoolConfig:
    return MediaPoolConfig(
        workers=settings.media_workers,
        timeout_s=settings.media_timeout_s,
        memory_bytes=settings.media_memory_bytes,
        cache_bytes=settings.media_cache_bytes,
        limits=_media_limits(settings),
        image=image,
        points=points,
        max_requests=settings.max_media_requests,
        max_held_bytes=settings.max_held_media_bytes,
        queue_timeout_s=settings.media_queue_timeout_s,
        priority_ageing_s=settings.priority_ageing_s,
        min_priority=settings.min_priority,
        max_priority=settings.max_priority,
    )


def _media_limits(settings: Settings) -> MediaLimits:
    return MediaLimits(settings.max_pixels, settings.max_points, settings.max_media_bytes)
