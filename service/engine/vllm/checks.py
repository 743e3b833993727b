"""Checks a vLLM server before requests are sent to it: version, models, flags. Torch-free."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamm_model.spec import PROVENANCE, CheckpointError, CheckpointSpec, read_json
from service.engine.config import EngineConfigError
from service.engine.loading.model_source import ModelSource
from service.engine.vllm.client import VllmClient, VllmRefusal
from service.engine.vllm.flags import TOKEN_ROUTE, shown
from service.engine.vllm.probes import ServerProbes
from service.engine.vllm.wire import VllmModel

_log = logging.getLogger(__name__)

MIN_VERSION = (0, 32)
TESTED_VERSIONS = ("0.32.0",)
# No vocabulary has this id: vLLM's refusal states the size.
_NO_TOKEN = (1 << 31) - 1
_VOCABULARY = re.compile(r"Vocabulary size: (\d+)")
_KV_TOKENS = "kv_cache_size_tokens"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What is known of a server that passed all checks; sizes are in tokens."""

    version: str
    models: Mapping[str, VllmModel]
    max_model_len: int
    kv_cache_tokens: int


class ServerChecker:
    """The checks for one engine's models; they can be repeated after a restart."""

    def __init__(self, client: VllmClient, models: Sequence[ModelSource], max_len: int) -> None:
        """`max_len` is the context in tokens that requests may use."""
        self._client, self._models, self._max_len = client, tuple(models), max_len

    async def check(self) -> ServerFacts:
        """All checks.

        Raises:
            EngineConfigError: the server is too old, serves another model, or lacks a flag.
            EngineStoppedError: it cannot be reached.
        """
        version = await self._version()
        max_len = await self._served_names()
        vocab_size = await self._vocab_size()
        models = {one.name: _vllm_model(one.name, one.spec, vocab_size) for one in self._models}
        await ServerProbes(self._client, self._models, models).run()
        return ServerFacts(version, models, max_len, await self._kv_cache_tokens())

    async def _version(self) -> str:
        version = str((await self._get("/version"))["version"])
        if _numbers(version) < MIN_VERSION:
            least = ".".join(map(str, MIN_VERSION))
            raise self._refusal(f"has version {version}; the vllm engine needs {least} or newer")
        if version.partition("+")[0] not in TESTED_VERSIONS:
            tested = ", ".join(TESTED_VERSIONS)
            _log.warning("vLLM %s was not tested with this engine; tested: %s", version, tested)
        return version

    async def _served_names(self) -> int:
        """The server's context in tokens, once it serves every model under its name."""
        cards = {card["id"]: card for card in (await self._get("/v1/models"))["data"]}
        for model in self._models:
            card = cards.get(model.name)
            if card is None:
                flag = "--served-model-name" if model.adapter is None else "--lora-modules"
                raise self._refusal(
                    f"serves {', '.join(sorted(cards))}, but not {model.name!r}; start it with "
                    f"{flag} (or name the checkpoint: --checkpoint NAME=DIR)"
                )
            if (model.adapter is None) != (card.get("parent") is None):
                kind = "a base model" if model.adapter is not None else "an adapter"
                raise self._refusal(f"has {model.name!r} as {kind}; the checkpoint is not one")
            _check_digest(card, model)
        lengths = [card["max_model_len"] for card in cards.values() if card.get("max_model_len")]
        max_len = min(lengths, default=self._max_len)
        if max_len < self._max_len:
            raise self._refusal(
                f"has a context of {max_len} tokens, this service of {self._max_len}; start it "
                f"with --max-model-len {self._max_len}, or set --max-model-len {max_len} here"
            )
        return int(max_len)

    async def _vocab_size(self) -> int:
        body = self._plain(self._models[0].name, logit_bias={str(_NO_TOKEN): 1.0})
        try:
            await self._client.generate(body)
        except VllmRefusal as refusal:
            if refusal.status == 404:
                raise self._refusal(
                    f"lacks the token-in route; start it with {shown(TOKEN_ROUTE)}"
                ) from None
            found = _VOCABULARY.search(refusal.reason)
        else:
            found = None
        if found is None:
            raise self._refusal("does not tell the size of its vocabulary")
        size, own = int(found[1]), self._models[0].spec.vocab_size
        if size < own:
            raise self._refusal(
                f"serves a model with a vocabulary of {size} tokens, the checkpoint has {own}"
            )
        return size

    async def _kv_cache_tokens(self) -> int:
        found = re.search(rf'{_KV_TOKENS}="(\d+)"', await self._client.metrics_text())
        return int(found[1]) if found else 0

    async def _get(self, path: str) -> Any:
        try:
            return await self._client.get(path)
        except VllmRefusal as refusal:
            if refusal.status in (401, 403):
                raise self._refusal("needs a key: set LAMM_VLLM_API_KEY") from None
            raise self._refusal(
                f"answers {path} with status {refusal.status}; is it vLLM?"
            ) from None

    def _plain(self, name: str, **params: Any) -> dict[str, Any]:
        sampling = {"temperature": 0.0, "max_tokens": 1, "detokenize": False, **params}
        ids = [self._models[0].spec.bos_token_id]
        return {"model": name, "token_ids": ids, "sampling_params": sampling}

    def _refusal(self, what: str) -> EngineConfigError:
        return EngineConfigError(f"the vLLM server at {self._client.url} {what}")


def _vllm_model(name: str, spec: CheckpointSpec, vocab_size: int) -> VllmModel:
    # BOS begins every prompt, so a repetition penalty knows it anyway.
    return VllmModel(name, vocab_size, spec.vocab_size, spec.bos_token_id, spec.eos_token_ids)


def _check_digest(card: Mapping[str, Any], model: ModelSource) -> None:
    """Compares the exported directory with the checkpoint, if it can be read here."""
    root = Path(str(card.get("root") or ""))
    if model.adapter is not None or not (root / PROVENANCE).is_file():
        return
    try:
        source = read_json(root, PROVENANCE).get("source") or {}
    except CheckpointError:
        return
    digest = source.get("checkpoint") if isinstance(source, dict) else None
    if digest not in (None, model.spec.digest):
        raise EngineConfigError(
            f"vLLM serves {root}, an export of the checkpoint with digest {digest}; "
            f"{model.name} has digest {model.spec.digest}"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:2])
