"""Small requests that show whether a vLLM server does what this engine needs. Torch-free.

vLLM does not tell how it was started. Each refusal names the flag to add.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from lamm_model.sampling_params import MAX_LOGPROBS, SamplingParams
from lamm_model.spec import CheckpointSpec, read_json
from lamm_model.tokenizer import LammTokenizer
from service.engine.base import (
    EngineStoppedError,
    GenerationRequest,
    GrammarKind,
    GrammarSource,
)
from service.engine.config import EngineConfigError
from service.engine.loading.model_source import ModelSource
from service.engine.vllm.client import VllmClient, VllmRefusal
from service.engine.vllm.features import EncodedFeatures, encode_features
from service.engine.vllm.flags import FEATURES, GRAMMARS, LOGPROBS, shown
from service.engine.vllm.wire import VllmModel, generation_body, scoring_body

_LAYOUT_SCHEMA = '{"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "minItems": 2}'
_LAYOUT_TEXT = "[1, 2"
# Tokens that an adapter generates while the base is asked.
_BUSY_TOKENS = 64
# Log-probabilities that differ by less are the same, computed in another batch.
_SAME = 0.1
# Log-probability of a token that was forced, if vLLM reports processed ones.
_CERTAIN = -1e-6


class ServerProbes:
    """The probes of one engine's models, which the server has under their names."""

    def __init__(
        self, client: VllmClient, models: Sequence[ModelSource], served: Mapping[str, VllmModel]
    ) -> None:
        self._client, self._models, self._served = client, tuple(models), served
        self._tokenizer = LammTokenizer.from_pretrained(models[0].base)

    async def run(self) -> None:
        """All probes.

        Raises:
            EngineConfigError: the server lacks a flag.
        """
        first = self._served[self._models[0].name]
        await self._check_sampling(first)
        await self._check_grammar(first)
        await self._check_features(first, self._models[0].spec)
        await self._check_adapters(self._served)

    async def _check_sampling(self, model: VllmModel) -> None:
        """Log-probabilities: enough of them, and as they are before temperature and penalties."""
        request = self._request(logprobs=MAX_LOGPROBS)
        body = generation_body(request, model, (), seed=0, max_tokens=1)
        await self._probe(body, shown(LOGPROBS))
        unknown = GenerationRequest("probe", (model.placeholder_id,), SamplingParams(),
                                    continuation_token_ids=(0,))  # fmt: skip
        answer = await self._probe(scoring_body(unknown, model, (), 0), shown(LOGPROBS))
        value = answer["choices"][0]["logprobs"]["content"][0]["logprob"]
        if value > _CERTAIN:
            raise self._refusal("reports processed log-probabilities; start it with "
                                "--logprobs-mode raw_logprobs")  # fmt: skip

    async def _check_grammar(self, model: VllmModel) -> None:
        """Grammars are read by guidance, which knows our layout of JSON and Lark."""
        flag = shown(GRAMMARS)
        request = self._request(GrammarSource(GrammarKind.JSON_SCHEMA, _LAYOUT_SCHEMA))
        answer = await self._probe(generation_body(request, model, (), seed=0, max_tokens=16), flag)
        text = self._tokenizer.decode(answer["choices"][0]["token_ids"])
        if not text.strip().startswith(_LAYOUT_TEXT):
            raise self._refusal(f"lays JSON out as {text[:20]!r}; start it with {flag}")

    async def _check_features(self, model: VllmModel, spec: CheckpointSpec) -> None:
        sizes = [part.num_tokens for part in (spec.image, spec.points) if part is not None]
        if not sizes:
            return
        rows, width = max(sizes), _hidden_size(self._models[0])
        payload = encode_features(struct.pack("<f", 0.0) * rows * width, "float32", (rows, width))
        medium = EncodedFeatures("lamm-start", 1, rows, payload)
        ids = (model.placeholder_id,) * (rows + 1)
        request = GenerationRequest("probe", ids, SamplingParams(max_tokens=1))
        body = generation_body(request, model, (medium,), seed=0, max_tokens=1)
        await self._probe(body, shown(FEATURES))

    async def _check_adapters(self, models: Mapping[str, VllmModel]) -> None:
        """An adapter's requests must not change those of the base, which share their steps."""
        plain = next((one for one in self._models if one.adapter is None), None)
        adapted = [one for one in self._models if one.adapter is not None]
        if plain is None or not adapted:
            return
        flag = f"--max-loras {len(adapted) + 1}"
        request = self._request(logprobs=MAX_LOGPROBS)
        body = generation_body(request, models[plain.name], (), seed=0, max_tokens=1)
        alone = _best(await self._probe(body, flag))
        busy = self._request(max_tokens=256, ignore_eos=True)
        for other in adapted:
            long = generation_body(busy, models[other.name], (), seed=0, max_tokens=_BUSY_TOKENS)
            async with self._client.stream(long) as lines:
                await anext(aiter(lines), None)
                beside = _best(await self._probe(body, flag))
            if any(abs(beside.get(key, value) - value) > _SAME for key, value in alone.items()):
                raise self._refusal(
                    f"applies the adapter {other.name!r} to requests of {plain.name!r}; start it "
                    f"with {flag}"
                )

    async def _probe(self, body: dict[str, Any], flag: str) -> Any:
        """The answer to a small request; a refusal names the flag that it shows to be missing."""
        body = {key: value for key, value in body.items() if key != "stream_options"}
        try:
            return await self._client.generate({**body, "stream": False})
        except (VllmRefusal, EngineStoppedError) as error:
            raise self._refusal(
                f"refused a request of this engine; start it with {flag}"
            ) from error

    def _request(self, grammar: GrammarSource | None = None, **params: Any) -> GenerationRequest:
        bos = self._models[0].spec.bos_token_id
        return GenerationRequest("probe", (bos,), SamplingParams(**params), grammar=grammar)

    def _refusal(self, what: str) -> EngineConfigError:
        return EngineConfigError(f"the vLLM server at {self._client.url} {what}")


def _best(answer: Mapping[str, Any]) -> dict[int, float]:
    """The best tokens of the first step, with their log-probabilities."""
    content = answer["choices"][0]["logprobs"]["content"][0]
    return {one["token_id"]: one["logprob"] for one in content["top_logprobs"]}


def _hidden_size(model: ModelSource) -> int:
    return int(read_json(model.base, "config.json")["text_config"]["hidden_size"])
