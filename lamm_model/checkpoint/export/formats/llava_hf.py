"""`llava-hf`: the layout of the hub's `llava-hf` models, which most servers load."""

from __future__ import annotations

from lamm_model.checkpoint.export.base import ExportFormat, ExportRequest, ExportResult


def _write(request: ExportRequest) -> ExportResult:
    # Imported here, so that the command line's help does not load torch.
    from lamm_model.checkpoint.export.llava.write import write_llava  # noqa: PLC0415

    return write_llava(request)


FORMAT = ExportFormat(
    name="llava-hf",
    summary="LlavaForConditionalGeneration with processor and chat template; pictures and text",
    targets={
        "transformers": "the projector is one linear layer and the identity",
        "vllm": "the projector is written with an activation that vLLM has; greedy by default",
    },
    write=_write,
)
