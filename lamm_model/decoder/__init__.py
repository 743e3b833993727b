"""The serving decoder: token rows and a KV cache become logits and tokens."""
