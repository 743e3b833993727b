"""How any vLLM server for this engine is started, ours or another's. Torch-free.

The checks at the start name these flags, the container files give them, the documentation has them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from lamm_model.sampling_params import MAX_LOGPROBS

# The start is refused without these.
TOKEN_ROUTE = ("--enable-scale-out",)
FEATURES = ("--enable-mm-embeds", "--limit-mm-per-prompt", '{"image": 0}')
GRAMMARS = ("--structured-outputs-config", '{"backend": "guidance"}')
# vLLM reports the sampled token among the best ones, so one more is needed.
LOGPROBS = ("--max-logprobs", str(MAX_LOGPROBS + 1))
# Without these, requests lose their priority, and answers `cached_tokens`.
PRIORITIES = ("--scheduling-policy", "priority")
CACHED_TOKENS = ("--enable-prompt-tokens-details",)

SERVER_FLAGS = (
    *TOKEN_ROUTE, *FEATURES, *GRAMMARS, *LOGPROBS, *PRIORITIES, *CACHED_TOKENS,
)  # fmt: skip

# No telemetry, nothing from the hub, and internal ports on the loopback interface alone.
VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_HOST_IP": "127.0.0.1",
    }
)


def shown(flags: Sequence[str]) -> str:
    """Flags as they are typed into a shell."""
    return shlex.join(flags)
