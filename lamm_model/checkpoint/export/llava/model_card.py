"""`README.md` of an export: how to run it, what it leaves out, and its licence."""

from __future__ import annotations

from collections.abc import Sequence

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
print(processor.decode(ids[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
```"""
_VLLM = """```
vllm serve DIRECTORY --chat-template-content-format openai
```"""


def model_card(
    source: ExportSource, target: str, name: str, notes: Sequence[str], several_stops: bool
) -> str:
    """The card of an export to the directory `name`; `notes` are its differences to LAMM."""
    spec = source.spec
    assert spec.image is not None
    if target == "vllm":
        use = _VLLM
    else:
        extra = ", tokenizer=processor.tokenizer" if several_stops else ""
        use = _TRANSFORMERS.replace("ARGUMENTS", extra)
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
        f"such as the prompt of a completion: there, every spelled {IMAGE_TOKEN} requests a "
        "picture.",
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
