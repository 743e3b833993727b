"""A LAMM as a `LlavaForConditionalGeneration`, with its processor and chat template."""
