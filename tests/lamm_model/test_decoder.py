"""The serving decoder against transformers' LLaMA, and its cache against itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from lamm_model.decoder.attention import Span, plan_attention
from lamm_model.decoder.kv_cache import KVCache, KVCacheShape
from lamm_model.decoder.linear import PackedLinear, can_pack, padded_rows
from lamm_model.decoder.llama import LlamaDecoder

CPU = torch.device("cpu")
ROPE = {
    "rope_type": "llama3",
    "rope_theta": 50000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gqa, tied": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "rope theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "rope scaled": {"rope_parameters": ROPE},
    "packed": {"hidden_size": 512, "head_dim": 32, "intermediate_size": 512},
}


def tiny(**overrides: Any) -> tuple[LlamaConfig, LlamaForCausalLM]:
    values = {
        "vocab_size": 300,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 128,
        "initializer_range": 0.1,
    }
    torch.manual_seed(0)
    config = LlamaConfig(**{**values, **overrides})
    return config, LlamaForCausalLM(config).eval()


def decoder_of(
    config: LlamaConfig, model: LlamaForCausalLM, dtype: torch.dtype = torch.float32
) -> LlamaDecoder:
    return LlamaDecoder(config, dict(model.state_dict()), 128, CPU, dtype)


def cache_of(
    decoder: LlamaDecoder, slots: int = 6, store: int = 8, dtype: torch.dtype = torch.float32
) -> KVCache:
    layers = decoder.config.num_hidden_layers
    shape = KVCacheShape(
        layers, decoder.num_kv_heads, decoder.head_dim, slots, 128, 16, store, dtype
    )
    return KVCache(shape, CPU)


def run(
    decoder: LlamaDecoder, cache: KVCache, pieces: Sequence[tuple[Span, torch.Tensor]]
) -> torch.Tensor:
    """Logits of all rows of `(span, its ids)` pieces."""
    plan = plan_attention([span for span, _ in pieces], decoder.groups, CPU)
    ids = torch.cat([ids for _, ids in pieces])
    return decoder.forward(decoder.embed(ids), plan, cache, torch.arange(len(ids)))


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_those_of_transformers(name: str) -> None:
    config, model = tiny(**VARIANTS[name])
    decoder = decoder_of(config, model)
    cache = cache_of(decoder)
    ids = torch.randint(0, 300, (100,))
    with torch.no_grad():
        expected = model(ids[None]).logits[0]
    parts = [(0, 40), (40, 41), (41, 70), *((i, i + 1) for i in range(70, 100))]
    found = [run(decoder, cache, [(Span(3, a, b - a), ids[a:b])]) for a, b in parts]
    torch.testing.assert_close(torch.cat(found), expected, atol=2e-4, rtol=1e-3)


def test_a_mixed_batch_equals_each_sequence_alone() -> None:
    config, model = tiny(num_key_value_heads=2)
    decoder = decoder_of(config, model)
    cache, lengths = cache_of(decoder), {0: 5, 1: 31, 2: 17, 4: 64, 5: 9}
    texts = {slot: torch.randint(0, 300, (100,)) for slot in lengths}
    with torch.no_grad():
        expected = {slot: model(ids[None]).logits[0] for slot, ids in texts.items()}
    for slot, length in lengths.items():
        if slot != 2:
            run(decoder, cache, [(Span(slot, 0, length), texts[slot][:length])])
    decodes = [
        (Span(slot, n, 1), texts[slot][n : n + 1]) for slot, n in lengths.items() if slot != 2
    ]
    logits = run(decoder, cache, [*decodes, (Span(2, 0, 17), texts[2][:17])])
    rows = [expected[span.slot][span.start : span.start + 1] for span, _ in decodes]
    torch.testing.assert_close(logits, torch.cat([*rows, expected[2][:17]]), atol=2e-4, rtol=1e-3)


def test_only_the_rows_asked_for_come_back() -> None:
    config, model = tiny()
    decoder = decoder_of(config, model)
    ids = torch.randint(0, 300, (20,))
    plan = plan_attention([Span(0, 0, 20)], decoder.groups, CPU)
    whole = run(decoder, cache_of(decoder), [(Span(0, 0, 20), ids)])
    cache = cache_of(decoder)
    rows = torch.tensor([19, 4])
    some = decoder.forward(decoder.embed(ids), plan, cache, rows)
    torch.testing.assert_close(some, whole[rows])
    none = decoder.forward(decoder.embed(ids), plan, cache, torch.tensor([], dtype=torch.long))
    assert none.shape == (0, 300)


def test_neighbouring_slots_are_attended_together() -> None:
    spans = [Span(0, 10, 1), Span(1, 12, 1), Span(3, 5, 1), Span(4, 900, 1), Span(6, 0, 7)]
    plan = plan_attention(spans, 1, CPU)
    # A gap in the slots splits, and so does a context too long to pad the others to.
    assert [(s.slot, s.count, s.context) for s in plan.decode] == [
        (0, 2, 13),
        (3, 1, 6),
        (4, 1, 901),
    ]
    assert plan.decode[0].mask is not None
    assert plan.decode[1].mask is None
    assert [(s.first, s.slot, s.count) for s in plan.prefill] == [(4, 6, 7)]
    assert plan.positions.tolist() == [10, 12, 5, 900, *range(7)]
    with pytest.raises(ValueError, match="ascending slot"):
        plan_attention(spans[::-1], 1, CPU)


def test_blocks_survive_the_way_through_the_store() -> None:
    config, model = tiny()
    decoder = decoder_of(config, model)
    cache = cache_of(decoder)
    ids = torch.randint(0, 300, (60,))
    run(decoder, cache, [(Span(1, 0, 59), ids[:59])])
    expected = run(decoder, cache, [(Span(1, 59, 1), ids[59:])])
    cache.save(1, 1, [6, 2])
    cache.save(1, 0, [5])
    cache.release(1)
    assert not cache.layer(0)[0][1].any()
    cache.load(4, [5, 6, 2])
    found = run(decoder, cache, [(Span(4, 48, 12), ids[48:])])[-1:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_releasing_a_slot_leaves_its_neighbours() -> None:
    config, model = tiny()
    decoder = decoder_of(config, model)
    cache = cache_of(decoder)
    for slot in range(3):
        cache.layer(1)[1][slot] = slot + 1
    cache.release(1)
    assert [float(cache.layer(1)[1][slot].min()) for slot in (0, 2)] == [1, 3]


@pytest.mark.parametrize("rows", [0, 1, 8, 13, 61, 300])
def test_packed_linear(rows: Any) -> None:
    weight = torch.randn(512, 384)
    assert can_pack(weight)
    linear = PackedLinear(weight)
    x = torch.randn(rows, 384)
    torch.testing.assert_close(linear(x), F.linear(x, weight), atol=1e-3, rtol=1e-4)
    assert not can_pack(weight.bfloat16())
    assert not can_pack(weight[:8])


def test_a_packed_linear_keeps_leading_dimensions() -> None:
    weight = torch.randn(512, 384)
    x = torch.randn(3, 7, 384)
    torch.testing.assert_close(PackedLinear(weight)(x), F.linear(x, weight), atol=1e-3, rtol=1e-4)


def test_batches_of_any_size_need_few_kernels() -> None:
    sizes = range(1, 8193)
    assert len({padded_rows(rows) for rows in sizes}) < 110
    assert all(0 <= padded_rows(rows) - rows <= max(3, rows // 8) for rows in sizes)
    assert padded_rows(0) == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"attention_bias": True}, "does not support biases"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        (
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "'dynamic'",
        ),
    ],
)
def test_configs_that_it_cannot_run_are_refused(overrides: Any, message: str) -> None:
    config, model = tiny(**overrides)
    with pytest.raises(ValueError, match=message):
        decoder_of(config, model)


def test_a_missing_weight_is_named() -> None:
    config, model = tiny()
    weights = dict(model.state_dict())
    del weights["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(KeyError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        LlamaDecoder(config, weights, 128, CPU, torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(dtype: torch.dtype) -> None:
    config, model = tiny()
    decoder = decoder_of(config, model, dtype)
    ids = torch.randint(0, 300, (20,))
    with torch.no_grad():
        expected = model(ids[None]).logits[0]
    found = run(decoder, cache_of(decoder, dtype=dtype), [(Span(0, 0, 20), ids)])
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0.1)
