"""`README.md` of an export: how to run it, what it leaves out, and its licence."""

from __future__ import annotations

from collections.abc import Sequence

from lamm_model.checkpoint.export.base import ExportRequest
from lamm_model.checkpoint.export.llava.config import needs_stop_strings
from lamm_model.checkpoint.export.llava.tokenizer import IMAGE_TOKEN
from lamm_model.checkpoint.export.source import ExportSource

_TRANSFORMERS = """```python
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

processor = AutoProcessor.from_pretrained("DIRECTORY", backend="pil")
model = AutoModelForImageTextToText.from_pretrained("DIRECTORY")
messages = [{"role": "user", "content": [
    {"type": "image", "image": Image.open("picture.png").convert("RGB")},
    {"type": "text", "text": "What is this?"},
]}]
inputs = processor.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
).to(model.device, model.dtype)
ids = model.generate(**inputs, max_new_tokens=256ARGUMENTS)
text = processor.decode(ids[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
print(text.partition("STOP")[0].strip())
```"""
_VLLM = """```
vllm serve DIRECTORY --mm-processor-kwargs '{"backend": "pil"}'
```"""


def model_card(source: ExportSource, request: ExportRequest, notes: Sequence[str]) -> str:
    """The card of an export; `notes` are its differences to LAMM."""
    spec, target, name = source.spec, request.target, request.out.resolve().name
    assert spec.image is not None
    if target == "vllm":
        use = _VLLM
    else:
        extra = ", tokenizer=processor.tokenizer" if needs_stop_strings(source) else ""
        use = _TRANSFORMERS.replace("ARGUMENTS", extra)
        use = use.replace("STOP", spec.stop_rule.strings[-1])
    stated = source.licence != "not stated"
    lines = [
        "---",
        *(["license: other"] if stated else []),
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        "---",
        "",
        f"# {name}",
        "",
        f"The LAMM checkpoint `{spec.digest}` as a `LlavaForConditionalGeneration`, for {target}.",
        "",
        "## Use",
        "",
        use.replace("DIRECTORY", name),
        "",
        "## Differences to LAMM",
        "",
        *(f"- {note[:1].upper()}{note[1:]}." for note in notes),
        f"- The chat template breaks up {IMAGE_TOKEN}, turn markers and special tokens in the "
        "texts of a conversation. A server does not do so with a text that bypasses the template, "
        f"such as the prompt of a completion: there, a spelled {IMAGE_TOKEN} is the placeholder's "
        "token.",
        f"- Such a prompt begins with `{source.tokenizer.id_to_piece(spec.bos_token_id)}`; the "
        "tokenizer does not add it.",
        "",
        "## Sizes",
        "",
        f"- A picture is resized to {spec.image.size} x {spec.image.size} pixels "
        f"(`{spec.image.preset}`) and takes {spec.image.num_tokens} tokens.",
        f"- The context is {spec.max_model_len} tokens. The prompt preset is "
        f"`{spec.prompt_preset}`.",
        "",
        "## Licence",
        "",
        f"Of the checkpoint's weights: {source.licence.rstrip('.')}.",
    ]
    return "\n".join(lines) + "\n"
