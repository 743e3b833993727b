"""Writing of a LLaVA: the checkpoint is checked first, and the directory appears whole."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from math import prod
from typing import Any

from tokenizers import Tokenizer
from transformers import CLIPVisionConfig

from lamm_model.checkpoint.export.base import ExportRequest, ExportResult
from lamm_model.checkpoint.export.llava.chat_template import ChatTemplate, fitted_template
from lamm_model.checkpoint.export.llava.config import (
    dtype_name,
    generation_config,
    llava_config,
    needs_stop_strings,
    pad_token_id,
    padded_vocabulary,
    projector_form,
)
from lamm_model.checkpoint.export.llava.model_card import model_card
from lamm_model.checkpoint.export.llava.processor import image_processor_config, processor_config
from lamm_model.checkpoint.export.llava.tensors import POINT_PARTS, ProjectorForm, llava_tensors
from lamm_model.checkpoint.export.llava.tokenizer import llava_tokenizer, tokenizer_config
from lamm_model.checkpoint.export.source import ExportSource, open_source
from lamm_model.checkpoint.shards import MAX_SHARD_BYTES, check_disk, total_bytes, write_weights
from lamm_model.checkpoint.workspace import MANIFEST, file_identity, workspace, write_json
from lamm_model.spec import PROVENANCE, CheckpointError

_COPIED_FILES = ("LICENSE", "NOTICE")


def write_llava(request: ExportRequest) -> ExportResult:
    """Writes `request.out`; memory use is that of a few copies of the largest tensor.

    Raises:
        CheckpointError: the checkpoint has no image encoder, cannot be read or does not fit LLaVA,
            a weight is not finite in the dtype, or the disk has too little space.
        FileExistsError: `out` exists and is not to be replaced.
    """
    source = open_source(request.checkpoint, request.adapter, request.dtype)
    if source.spec.image is None:
        raise CheckpointError(
            f"{request.checkpoint}: the checkpoint has no image encoder, and LLaVA no point "
            "encoder; `lamm serve` serves this checkpoint"
        )
    form = projector_form(source, request.target)
    vocabulary = padded_vocabulary(source)
    tensors = llava_tensors(source.tensors, form, vocabulary)
    tokenizer = llava_tokenizer(source.tokenizer, source.spec.image_token_id)
    template = fitted_template(source.spec, source.tokenizer, tokenizer)
    notes = _notes(source, form, template)
    files = {
        **_config_files(source, request, form),
        **_tokenizer_files(source, tokenizer, template),
        "README.md": model_card(source, request, notes),
    }
    max_shard_bytes = request.max_shard_bytes or MAX_SHARD_BYTES
    plan = {
        "inputs": [file_identity(path) for path in source.files],
        "source": source.spec.digest,
        "form": form.value,
        "rows": vocabulary.rows,
        "dtype": str(source.dtype),
        "max_shard_bytes": max_shard_bytes,
    }
    with workspace(request.out, plan, replace=request.replace) as work:
        check_disk(request.out.parent, total_bytes(tensors) - work.finished_bytes)
        written = write_weights(work.folder, tensors, work, max_shard_bytes)
        for name, content in files.items():
            if isinstance(content, str):
                (work.folder / name).write_text(content, encoding="utf8")
            else:
                write_json(work.folder / name, content)
        for name in _COPIED_FILES:
            if (request.checkpoint / name).is_file():
                shutil.copyfile(request.checkpoint / name, work.folder / name)
        write_json(work.folder / PROVENANCE, _provenance(source, request, written.digest))
        write_json(work.folder / MANIFEST, {"format": "lamm-manifest/1", "files": written.files})
    return ExportResult(written.digest, dtype_name(source.dtype), notes)


def _config_files(
    source: ExportSource, request: ExportRequest, form: ProjectorForm
) -> Mapping[str, Mapping[str, Any]]:
    image, vocabulary = source.spec.image, padded_vocabulary(source)
    assert image is not None
    assert isinstance(source.config.vision_config, CLIPVisionConfig)
    return {
        "config.json": llava_config(source, form, vocabulary),
        "generation_config.json": generation_config(source, vocabulary, request.target),
        "processor_config.json": processor_config(image, source.config.vision_config),
        # Read by versions of transformers before 5.
        "preprocessor_config.json": image_processor_config(image),
    }


def _tokenizer_files(
    source: ExportSource, tokenizer: Tokenizer, template: ChatTemplate
) -> Mapping[str, str | Mapping[str, Any]]:
    return {
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": tokenizer_config(tokenizer, source.spec, pad_token_id(source)),
        "chat_template.jinja": template.text,
    }


def _notes(source: ExportSource, form: ProjectorForm, template: ChatTemplate) -> tuple[str, ...]:
    """What the export leaves out or asks of its user, one sentence each."""
    spec, notes = source.spec, []
    left_out = [t for name, t in source.tensors.items() if name.startswith(POINT_PARTS)]
    if left_out:
        count = sum(prod(tensor.shape) for tensor in left_out)
        notes.append(
            f"the point encoder and its projector are left out ({len(left_out)} tensors, "
            f"{count:,} parameters): the export takes pictures and text, no point clouds"
        )
    if form is ProjectorForm.IDENTITY:
        notes.append(
            f"the projector's activation has vLLM's name {form.value}, because the hidden size is "
            "below twice the encoder's width; transformers does not load this directory (use "
            "--for transformers)"
        )
    if spec.image is not None and spec.image.preset != "lamm-squash":
        notes.append(
            "the picture's crop is one pixel higher or further left than LAMM's where the resized "
            f"picture's longer side exceeds {spec.image.size} pixels by 3, 7, 11 and so on"
        )
    if template.differing:
        notes.append(
            "questions after an answer have other token ids than in LAMM, whose tokenizer reads "
            f"each text by itself ({len(template.differing)} of {template.compared} conversations "
            "compared); first questions have the same ids"
        )
    if needs_stop_strings(source):
        strings = ", ".join(map(repr, spec.stop_rule.strings))
        notes.append(
            f"an answer ends at {strings}, which are several tokens: give `generate` the "
            "tokenizer, and a server these strings as `stop`"
        )
    return tuple(notes)


def _provenance(source: ExportSource, request: ExportRequest, digest: str) -> dict[str, Any]:
    return {
        "format": "lamm-export/1",
        "export": "llava-hf",
        "target": request.target,
        "digest": digest,
        "dtype": dtype_name(source.dtype),
        "licence": source.licence,
        "source": dict(source.provenance),
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }
