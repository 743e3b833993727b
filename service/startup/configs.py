"""The part of the settings that each component needs."""

from __future__ import annotations

from lamm_model.media import MediaLimits
from lamm_model.spec import ImageSpec, PointSpec
from service.batches.batch import BatchLimits
from service.batches.service import BatchConfig
from service.config.settings import Settings
from service.engine.config import BatchSizes, DeviceKind, EngineConfig
from service.engine.vllm.options import VllmOptions
from service.files.store import FileLimits
from service.media.budgets import MediaSizeLimits
from service.media.pool_config import MediaPoolConfig
from service.plan.prompt import InputLimits
from service.plan.sampling import SequenceLimits


def engine_config(settings: Settings, num_engines: int = 1) -> EngineConfig:
    """The engine's part of the settings: the fields with the same names.

    Sizes in bytes are divided among all engines.
    """
    values = {name: getattr(settings, name) for name in EngineConfig.__dataclass_fields__}
    if settings.kv_cache_bytes is not None:
        values["kv_cache_bytes"] = settings.kv_cache_bytes // num_engines
    sizes = batch_sizes(settings)
    values["max_num_seqs"] = sizes.max_num_seqs
    values["max_num_batched_tokens"] = sizes.max_num_batched_tokens
    values["mm_cache_bytes"] = settings.mm_cache_bytes // num_engines
    return EngineConfig(**values)


def vllm_options(settings: Settings) -> VllmOptions:
    """The server of the vllm engine.

    Raises:
        EngineConfigError: the address is not an HTTP address.
    """
    key = settings.vllm_api_key
    return VllmOptions(
        url=settings.vllm_url,
        # An empty variable, as compose sets it, is no key.
        api_key=(key.get_secret_value() or None) if key is not None else None,
        environment=settings.vllm_env,
        model_dir=settings.vllm_model,
        arguments=settings.vllm_args,
        start_timeout_s=settings.vllm_start_timeout_s,
        wait_s=settings.vllm_wait_s,
    )


def batch_sizes(settings: Settings) -> BatchSizes:
    """The settings' batch sizes; those that are not set depend on the device."""
    seqs, tokens = settings.max_num_seqs, settings.max_num_batched_tokens
    on_cuda = settings.device == "cuda"
    if settings.device == "auto" and settings.engine == "torch" and None in (seqs, tokens):
        # Imported here so that the echo engine starts without torch.
        from service.engine.device import choose_device  # noqa: PLC0415 - see above

        on_cuda = choose_device(DeviceKind.AUTO).type == "cuda"
    return BatchSizes.of_device(on_cuda, seqs, tokens)


def input_limits(settings: Settings, max_model_len: int) -> InputLimits:
    """Bounds of one request to a model of that context length."""
    return InputLimits(
        max_model_len,
        settings.default_max_tokens,
        settings.max_media_items,
        settings.max_media_bytes,
        SequenceLimits(batch_sizes(settings).max_num_seqs, settings.max_waiting_requests),
    )


def file_limits(settings: Settings) -> FileLimits:
    """Bounds of stored files."""
    return FileLimits(
        settings.max_file_bytes,
        settings.max_stored_bytes,
        settings.max_stored_files,
        settings.file_expiry_s,
        settings.key_max_stored_bytes,
        settings.key_max_stored_files,
    )


def media_size_limits(settings: Settings) -> MediaSizeLimits:
    """Bounds of all media of one request."""
    return MediaSizeLimits(
        settings.max_request_pixels, settings.max_request_points, _media_limits(settings)
    )


def batch_config(settings: Settings) -> BatchConfig:
    """The batch database and its limits."""
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


def pool_config(
    settings: Settings, image: ImageSpec | None, points: PointSpec | None
) -> MediaPoolConfig:
    """A pool of decoding processes that prepares media for `image` and `points`."""
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
