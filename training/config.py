"""Recipes: the configuration of `lamm train`, validated before anything is loaded."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import yaml
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

TINY_BASE = "tiny"


class RecipeError(ValueError):
    """An invalid recipe; the message names the field, its value and the allowed values."""


_Place = TypeVar("_Place", str, Path)


def _spelled_out(place: _Place) -> _Place:
    # Only a shell expands ~; here it would create a folder of that name.
    if str(place).startswith("~"):
        raise PydanticCustomError("tilde", "~ is not expanded, use the full path")
    return place


_Path = Annotated[Path, AfterValidator(_spelled_out)]
_Count = Annotated[int, Field(ge=1)]
_Positive = Annotated[float, Field(gt=0)]
_Finite = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, lt=1)]
_Weight = Annotated[float, Field(ge=0)]
# torch's generators take no larger seed.
_Seed = Annotated[int, Field(ge=0, lt=1 << 64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """A file of records and the folder that its media paths are relative to."""

    path: Annotated[_Path, "instruction file: a JSON list, or one JSON object per line (.jsonl)"]
    media_root: Annotated[_Path | None, "folder of the media; default: the file's own folder"] = (
        None
    )
    repeat: Annotated[_Count, "how often each epoch reads this source"] = 1

    @property
    def root(self) -> Path:
        """Folder that relative media paths start from."""
        return self.media_root if self.media_root is not None else self.path.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraRecipe:
    """LoRA on the language model (arXiv:2106.09685); defaults are LAMM's."""

    r: Annotated[_Count, "rank"] = 32
    alpha: Annotated[_Finite, "scale is alpha / r"] = 32
    dropout: Annotated[_Share, "dropout before the down-projection"] = 0.1
    target_modules: Annotated[
        tuple[str, ...], Field(min_length=1), "names of the linear layers that LoRA adapts"
    ] = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerRecipe:
    """AdamW, its learning-rate schedule and gradient clipping."""

    learning_rate: Annotated[_Positive, "peak learning rate of LoRA (and of the projectors)"] = 5e-4
    projector_learning_rate: Annotated[
        _Weight | None, "peak learning rate of the projectors; default: learning_rate"
    ] = None
    schedule: Annotated[
        Literal["linear", "cosine", "constant"], "decay after warm-up: linear, cosine or constant"
    ] = "cosine"
    warmup_ratio: Annotated[_Share, "share of all steps used for warm-up"] = 0.05
    beta1: Annotated[_Share, "AdamW's first-moment decay"] = 0.9
    beta2: Annotated[_Share, "AdamW's second-moment decay"] = 0.95
    eps: Annotated[_Positive, "AdamW's epsilon"] = 1e-8
    weight_decay: Annotated[_Weight, "decoupled weight decay"] = 0.001
    clip_norm: Annotated[_Positive, "gradients are scaled down to this total norm"] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run. Paths are relative to the folder that the command runs in."""

    base: Annotated[
        str,
        AfterValidator(_spelled_out),
        "base checkpoint directory; 'tiny' makes a tiny random one and 20 records for a smoke run",
    ]
    output: Annotated[_Path, "folder for checkpoints, metrics, TensorBoard files and the adapter"]
    data: Annotated[tuple[DataSource, ...], "training sources, shuffled together"] = ()
    validation: Annotated[tuple[DataSource, ...], "validation sources"] = ()
    cache_features: Annotated[_Path | None, "folder that caches encoder outputs"] = None
    lora: LoraRecipe = field(default_factory=LoraRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    epochs: Annotated[_Finite, "passes over the data; ignored when max_steps is given"] = 2.0
    max_steps: Annotated[_Count | None, "total optimizer steps; default: from epochs"] = None
    batch_size: Annotated[_Count, "records per forward pass"] = 8
    gradient_accumulation: Annotated[_Count, "forward passes per optimizer step"] = 1
    max_length: Annotated[
        _Count | None,
        "maximum tokens per record; longer records lose their last turns; default: the context",
    ] = None
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], "fp32, bf16 or fp16 (fp16: CUDA only)"
    ] = "fp32"
    gradient_checkpointing: Annotated[bool, "recompute activations: less memory, more time"] = False
    seed: Annotated[_Seed, "seed of every random generator"] = 0
    workers: Annotated[
        int, Field(ge=0), "processes that read media; 0 reads in the trainer's process"
    ] = 0
    log_every: Annotated[_Count, "steps between log lines and TensorBoard scalars"] = 10
    eval_every: Annotated[
        _Count, "steps between validation losses; the last step always has one"
    ] = 500
    save_every: Annotated[_Count, "steps between checkpoints"] = 500
    keep_last: Annotated[_Count, "number of checkpoints to keep"] = 2

    def __post_init__(self) -> None:
        if not self.data and self.base != TINY_BASE:
            raise RecipeError("data is empty; name at least one source: {path, media_root}")

    def as_json(self) -> dict[str, Any]:
        """The recipe as JSON values, for provenance and for comparison with another recipe."""
        value: dict[str, Any] = TypeAdapter(dict[str, Any]).dump_python(asdict(self), mode="json")
        return value


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe; `overrides` are `key=value` or `group.key=value` with a YAML value.

    Raises:
        RecipeError: unreadable file, unknown field (with the nearest known name), bad value.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf8"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise RecipeError(f"{path}: expected a mapping of fields, got {type(document).__name__}")
    for override in overrides:
        _override(document, override)
    return parse_recipe(document, str(path))


def parse_recipe(document: Mapping[str, Any], name: str = "recipe") -> Recipe:
    """A recipe from parsed YAML; raises as `load_recipe`."""
    _refuse_unknown(document, Recipe, name, "")
    try:
        return TypeAdapter(Recipe).validate_python(dict(document))
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":  # our own, from a __post_init__: complete as it is
            raise RecipeError(f"{name}: {first['ctx']['error']}") from None
        where = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise RecipeError(f"{name}: {where}: {first['msg']}{given}") from None


def explain() -> str:
    """Every field with its default and meaning, as text for `--help`."""
    return "\n".join(_explain(Recipe, ""))


def _explain(group: type[Any], prefix: str) -> Iterator[str]:
    hints = get_type_hints(group, include_extras=True)
    for item in fields(group):
        notes = getattr(hints[item.name], "__metadata__", ())
        text = next((note for note in notes if isinstance(note, str)), None)
        inner = _group_within(hints[item.name])
        name = prefix + item.name + ("[]" if text and inner else "")
        if text:
            yield f"  {name}{_default(item.default)}"
            yield textwrap.indent(textwrap.fill(text, 84), "      ")
        if inner is not None and item.name != "validation":
            yield from _explain(inner, name + ".")


def _group_within(hint: Any) -> type[Any] | None:
    """The dataclass of a field, or of the items of a list field."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next((group for part in get_args(hint) if (group := _group_within(part))), None)


def _default(value: Any) -> str:
    if value is MISSING:
        return " (required)"
    if value is None or value == ():
        return ""
    return f" = {list(value) if isinstance(value, tuple) else value}"


def _refuse_unknown(value: Any, group: type[Any], name: str, prefix: str) -> None:
    if not isinstance(value, Mapping):
        return
    hints, known = get_type_hints(group), [item.name for item in fields(group)]
    for key, inner_value in value.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}"
            raise RecipeError(f"{name}: unknown field {prefix}{key}; {hint}")
        inner = _group_within(hints[key])
        if inner is not None:
            for item in inner_value if isinstance(inner_value, list) else [inner_value]:
                _refuse_unknown(item, inner, name, f"{prefix}{key}.")


def _override(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"override {override!r} is invalid; expected FIELD=VALUE")
    target = document
    *groups, last = key.split(".")
    for group in groups:
        target = target.setdefault(group, {})
        if not isinstance(target, dict):
            raise RecipeError(f"override {override!r}: {group} has no subfields")
    try:
        target[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"override {override!r}: the value is not valid YAML: {error}") from None
