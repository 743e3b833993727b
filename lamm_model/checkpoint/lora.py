"""LoRA in place on the language model. Called by the trainer and by `merge`."""

from __future__ import annotations

from collections.abc import Sequence

from peft import LoraConfig, TaskType, inject_adapter_in_model
from torch import nn

from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import CheckpointError

# The language model's output layer, by its module name.
HEAD = "lm_head"


def lora_config(r: int, alpha: float, dropout: float, target_modules: Sequence[str]) -> LoraConfig:
    """PEFT's configuration of plain LoRA without biases, as LAMM trained."""
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(target_modules),
        bias="none",
    )


def inject_lora(model: LammForConditionalGeneration, config: LoraConfig) -> None:
    """Puts LoRA on the targets within the language model; names and structure stay as they were.

    The encoders have layers of the same names and are left alone.

    Raises:
        CheckpointError: a target names no linear layer (PEFT itself is silent while one other
            target matches), or a head that is tied to the embedding.
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
            f"LoRA target {HEAD}: the base ties its head to its embedding, so that LoRA could not "
            "be merged into one of them"
        )
    inject_adapter_in_model(config, model.language_model)


def has_tied_head(model: LammForConditionalGeneration) -> bool:
    """Whether the language model's head is its embedding."""
    return bool(model.language_model.config.tie_word_embeddings)
