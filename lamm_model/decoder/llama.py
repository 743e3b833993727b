"""LLaMA decoder for serving: a flat batch of prefill and decode tokens over a slot KV cache.

It loads the weights of `transformers.LlamaForCausalLM` and computes the same logits; the tests
compare them token by token. QKV and gate/up are fused, weights are packed for small batches on a
CPU, and only rows whose logits are computed pass the last feed-forward layer and the head.

Shapes: T rows (tokens of a step), R rows with logits, C hidden size, V vocabulary, H KV heads,
G query heads per KV head, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from lamm_model.decoder.attention import AttentionPlan, attend
from lamm_model.decoder.kv_cache import KVCache
from lamm_model.decoder.linear import PackedLinear, padded_rows, row_sizes
from lamm_model.decoder.lora import AdapterPlan

# Types whose angles depend only on the position, so that all sequences share one table.
_ROPE_TYPES = ("default", "linear", "llama3", "yarn")

_Take = Callable[[str], Tensor]


@dataclass(frozen=True, slots=True)
class _Layer:
    """Weights of one block."""

    input_norm: Tensor
    qkv: PackedLinear
    o: PackedLinear
    post_norm: Tensor
    gate_up: PackedLinear
    down: PackedLinear


class LlamaDecoder:
    """Runs LLaMA blocks over `KVCache` slots; holds weights but no request state."""

    def __init__(
        self,
        config: LlamaConfig,
        weights: MutableMapping[str, Tensor],
        max_len: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Takes the weights out of `weights` (named as in `LlamaForCausalLM.state_dict()`).

        Entries are removed as they are packed, so that two complete copies never exist.

        Raises:
            KeyError: a weight is missing; its name is the key.
            ValueError: the config has an option that the decoder does not support.
        """
        _check(config)
        self.config, self.device, self.dtype = config, device, dtype
        self.num_kv_heads = int(config.num_key_value_heads or config.num_attention_heads)
        self.head_dim = int(config.head_dim or config.hidden_size // config.num_attention_heads)
        self.groups = int(config.num_attention_heads) // self.num_kv_heads
        self._eps = float(config.rms_norm_eps)

        def take(name: str) -> Tensor:
            return weights.pop(name).detach().to(device=device, dtype=dtype)

        self._embedding = take("model.embed_tokens.weight")
        self._layers = [self._take_layer(take, i) for i in range(config.num_hidden_layers)]
        self._norm = take("model.norm.weight")
        head = self._embedding if config.tie_word_embeddings else take("lm_head.weight")
        self._head = PackedLinear(head)
        self._cos, self._sin = _rotary_table(config, max_len, device, dtype)
        self.weights_bytes = self._embedding.nbytes + sum(each.nbytes for each in self._linears())

    @property
    def out_features(self) -> dict[str, int]:
        """Output sizes of the linear layers of a block that adapters may update."""
        hidden, inner = int(self.config.hidden_size), int(self.config.intermediate_size)
        kv = self.num_kv_heads * self.head_dim
        return {
            "q_proj": self.groups * kv,
            "k_proj": kv,
            "v_proj": kv,
            "o_proj": hidden,
            "gate_proj": inner,
            "up_proj": inner,
            "down_proj": hidden,
        }

    def warm_up(self, max_rows: int, max_logit_rows: int) -> Iterator[None]:
        """Compiles the kernels of batches up to these sizes, in steps of a few milliseconds.

        oneDNN compiles a kernel (half a megabyte) when a size is first used, which stalls the step.
        Small batches, the most frequent ones, are compiled first.
        """
        layers = {
            linear.kernel_key: linear for linear in self._linears() if linear is not self._head
        }
        limits = [(linear, max_rows) for key, linear in layers.items() if key is not None]
        if self._head.kernel_key is not None:
            limits.append((self._head, max_logit_rows))
        for rows in row_sizes(max(max_rows, max_logit_rows)):
            for linear, limit in limits:
                if rows <= padded_rows(limit):
                    with torch.inference_mode():
                        linear(torch.zeros(rows, linear.in_features))
                    yield

    @torch.inference_mode()
    def embed(self, token_ids_T: Tensor) -> Tensor:
        """Embeddings `[T, C]` of text ids `[T]`."""
        return F.embedding(token_ids_T, self._embedding)

    @torch.inference_mode()
    def forward(
        self,
        embeds_TC: Tensor,
        plan: AttentionPlan,
        cache: KVCache,
        logit_rows_R: Tensor,
        adapters: AdapterPlan | None = None,
    ) -> Tensor:
        """Logits `[R, V]` of `logit_rows_R`; K and V of all rows are written to their slots.

        `adapters` maps rows to LoRA adapters; None: no row has an adapter.
        """
        x = embeds_TC
        cos, sin = self._cos[plan.positions], self._sin[plan.positions]
        residual_rows: Tensor | None = None
        for index, layer in enumerate(self._layers):
            if index == len(self._layers) - 1:
                # After the last K and V only rows with logits are needed.
                residual_rows = logit_rows_R
            kv = cache.layer(index)
            x = self._block(layer, x, cos, sin, plan, kv, residual_rows, adapters, index)
        return self._head(self._rms(x, self._norm))

    def _block(
        self,
        layer: _Layer,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        plan: AttentionPlan,
        kv: tuple[Tensor, Tensor],
        keep_rows: Tensor | None,
        adapters: AdapterPlan | None,
        index: int,
    ) -> Tensor:
        rows = x.shape[0]
        normed = self._rms(x, layer.input_norm)
        qkv = _adapted(layer.qkv, normed, adapters, index, "qkv")
        qkv = qkv.view(rows, -1, self.head_dim)
        heads = self.groups * self.num_kv_heads
        # Query and key heads are rotated together, in one set of kernels.
        rotated = _rotate(qkv[:, : heads + self.num_kv_heads], cos, sin)
        q = rotated[:, :heads].view(rows, self.num_kv_heads, self.groups, self.head_dim)
        k_cache, v_cache = kv
        k_cache[plan.slots, :, plan.positions] = rotated[:, heads:]
        v_cache[plan.slots, :, plan.positions] = qkv[:, heads + self.num_kv_heads :]
        attended = attend(q, k_cache, v_cache, plan).view(rows, -1)
        only_kept = keep_rows is not None
        if only_kept:
            x, attended = x[keep_rows], attended[keep_rows]
        x = x + _adapted(layer.o, attended, adapters, index, "o", only_kept)
        normed = self._rms(x, layer.post_norm)
        gate_up = _adapted(layer.gate_up, normed, adapters, index, "gate_up", only_kept)
        gate, up = gate_up.chunk(2, dim=-1)
        return x + _adapted(layer.down, F.silu(gate) * up, adapters, index, "down", only_kept)

    def _rms(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, self._eps)

    @staticmethod
    def _take_layer(take: _Take, index: int) -> _Layer:
        at, mlp = f"model.layers.{index}.self_attn", f"model.layers.{index}.mlp"
        qkv = torch.cat([take(f"{at}.{name}_proj.weight") for name in "qkv"])
        return _Layer(
            input_norm=take(f"model.layers.{index}.input_layernorm.weight"),
            qkv=PackedLinear(qkv),
            o=PackedLinear(take(f"{at}.o_proj.weight")),
            post_norm=take(f"model.layers.{index}.post_attention_layernorm.weight"),
            gate_up=PackedLinear(
                torch.cat([take(f"{mlp}.gate_proj.weight"), take(f"{mlp}.up_proj.weight")])
            ),
            down=PackedLinear(take(f"{mlp}.down_proj.weight")),
        )

    def _linears(self) -> Iterator[PackedLinear]:
        yield self._head
        for layer in self._layers:
            yield from (layer.qkv, layer.o, layer.gate_up, layer.down)


def _adapted(
    linear: PackedLinear,
    x: Tensor,
    adapters: AdapterPlan | None,
    index: int,
    name: str,
    only_logit_rows: bool = False,
) -> Tensor:
    """A layer's output for all rows or those with logits, with the adapters of these rows."""
    out = linear(x)
    if adapters is not None:
        segments = adapters.logit_rows if only_logit_rows else adapters.rows
        adapters.add_(out, x, index, name, segments)
    return out


def _rotate(x_THD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    """Rotary embedding in the half-split layout of Hugging Face checkpoints."""
    half = x_THD.shape[-1] // 2
    turned = torch.cat((-x_THD[..., half:], x_THD[..., :half]), dim=-1)
    return x_THD * cos_TD[:, None] + turned * sin_TD[:, None]


def _rotary_table(
    config: LlamaConfig, max_len: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """cos and sin `[max_len, D]`, from transformers' own module so that scaling types agree."""
    rotary = LlamaRotaryEmbedding(config)
    cos, sin = rotary(torch.empty(1, dtype=torch.float32), torch.arange(max_len)[None])
    return cos[0].to(device=device, dtype=dtype), sin[0].to(device=device, dtype=dtype)


def _check(config: LlamaConfig) -> None:
    rope_type = (config.rope_parameters or {}).get("rope_type", "default")
    if rope_type not in _ROPE_TYPES:
        raise ValueError(f"rope_type is {rope_type!r}; expected one of {', '.join(_ROPE_TYPES)}")
    if config.attention_bias or config.mlp_bias:
        raise ValueError("attention_bias or mlp_bias is set; the decoder does not support biases")
    if config.hidden_act != "silu":
        raise ValueError(f"hidden_act is {config.hidden_act!r}; expected 'silu'")
