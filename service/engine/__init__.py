"""Inference: `GenerationRequest`s are scheduled, batched and run; chunks come out."""
