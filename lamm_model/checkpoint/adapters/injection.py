"""Injection of LoRA into the language model."""

from __future__ import annotations

from collections.abc import Sequence

from peft import LoraConfig, TaskType, inject_adapter_in_model
from torch import nn

from lamm_model.checkpoint.adapters.fitted import has_tied_head
from lamm_model.checkpoint.adapters.layers import HEAD
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import CheckpointError


def lora_config(r: int, alpha: float, dropout: float, target_modules: Sequence[str]) -> LoraConfig:
    """PEFT's configuration of plain LoRA without biases, as in LAMM's training."""
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(target_modules),
        bias="none",
    )


def inject_lora(model: LammForConditionalGeneration, config: LoraConfig) -> None:
    """Injects LoRA into the target layers of the language model; module names do not change.

    The encoders have layers of the same names and are not affected.

    Raises:
        CheckpointError: a target matches no linear layer (PEFT raises only if no target matches),
            or is a head that is tied to the embedding.
    """
    names = [n for n, m in model.language_model.named_modules() if isinstance(m, nn.Linear)]
    targets = sorted(config.target_modules or ())
    unmatched = [t for t in targets if not any(n == t or n.endswith("." + t) for n in names)]
    if unmatched:
        known = sorted({name.rpartition(".")[2] for name in names})
        raise CheckpointError(
            f"LoRA targets {', '.join(unmatched)} match no linear layer of the language model; "
            f"it has {', '.join(known)}"
        )
    if HEAD in targets and has_tied_head(model):
        raise CheckpointError(
            f"LoRA target {HEAD} is tied to the embedding of the base, so LoRA cannot be merged "
            "into it"
        )
    inject_adapter_in_model(config, model.language_model)
