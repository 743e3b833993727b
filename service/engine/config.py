"""Configuration of one engine. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class EngineConfigError(ValueError):
    """Invalid configuration values; the message contains the value and the limit."""


class DeviceKind(StrEnum):
    """The device; `auto` uses CUDA if available."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Dtype(StrEnum):
    """Precision of weights and KV cache; `auto` is float32 on a CPU and bfloat16 on CUDA."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


@dataclass(frozen=True, slots=True)
class MemoryShare:
    """How several engines share a device, on which they are loaded one after another.

    `load_later` are the checkpoints that the engines after this one will load.
    """

    num_engines: int = 1
    load_later: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """Sequences that run at once, and tokens that a step computes at most."""

    max_num_seqs: int
    max_num_batched_tokens: int

    @classmethod
    def of_device(
        cls, on_cuda: bool, max_num_seqs: int | None, max_num_batched_tokens: int | None
    ) -> BatchSizes:
        """The given sizes, and the device's defaults for those that are None.

        A GPU computes hundreds of rows in about the time of one. A default never contradicts a size
        that is given.
        """
        seqs, tokens = _CUDA_SIZES if on_cuda else _CPU_SIZES
        if max_num_seqs is None:
            seqs = min(seqs, max_num_batched_tokens or tokens)
            return cls(seqs, max_num_batched_tokens or tokens)
        return cls(max_num_seqs, max_num_batched_tokens or max(tokens, max_num_seqs))


_CPU_SIZES, _CUDA_SIZES = (32, 512), (256, 2048)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Sizes and limits of one engine; the defaults suit a few CPU cores (`BatchSizes`).

    `max_num_seqs` sequences run at once; a step computes at most `max_num_batched_tokens` tokens.
    `kv_cache_bytes` (None: a share of free memory) holds running sequences and, with prefix
    caching, reusable prefixes; `mm_cache_bytes` holds encoded media. `max_model_len` None is the
    model's own. `max_waiting_requests` and `max_waiting_tokens` limit the queue beyond the free
    seats. `num_threads` None keeps torch's default.

    Priorities are clamped to `min_priority` and `max_priority`, so that no client gets ahead of all
    others. A level of priority puts a request behind those that arrive up to `priority_ageing_s`
    seconds later, and behind no others, so that none waits forever; 0 serves in order of arrival.
    Tokens that follow a sequence's last chunk within `chunk_interval_s` are sent together: every
    chunk costs an event, and people do not notice a few hundredths of a second. 0 sends each token
    by itself.

    Raises:
        EngineConfigError: a value is out of its range.
    """

    device: DeviceKind = DeviceKind.AUTO
    dtype: Dtype = Dtype.AUTO
    max_num_seqs: int = 32
    max_num_batched_tokens: int = 512
    kv_cache_bytes: int | None = None
    max_model_len: int | None = None
    enable_prefix_caching: bool = True
    mm_cache_bytes: int = 256 * 1024 * 1024
    max_waiting_requests: int = 256
    max_waiting_tokens: int = 1 << 20
    num_threads: int | None = None
    priority_ageing_s: float = 3.0
    min_priority: int = 0
    max_priority: int = 100
    chunk_interval_s: float = 0.02

    def __post_init__(self) -> None:
        # Strings from a command line become enum members; unknown ones are refused.
        object.__setattr__(self, "device", DeviceKind(self.device))
        object.__setattr__(self, "dtype", Dtype(self.dtype))
        for name in ("max_num_seqs", "max_waiting_requests", "max_waiting_tokens"):
            self._at_least(name, 1)
        self._at_least("mm_cache_bytes", 0)
        self._at_least("chunk_interval_s", 0)
        self._at_least("priority_ageing_s", 0)
        self._at_least("max_priority", self.min_priority)
        # Every running sequence must get its next token in every step.
        self._at_least("max_num_batched_tokens", self.max_num_seqs)
        for name in ("kv_cache_bytes", "max_model_len", "num_threads"):
            if getattr(self, name) is not None:
                self._at_least(name, 1)

    def _at_least(self, name: str, low: float) -> None:
        value = getattr(self, name)
        if value < low:
            raise EngineConfigError(f"{name} is {value}; it must be at least {low}")
