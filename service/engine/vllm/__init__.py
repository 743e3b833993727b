"""The vLLM engine: prompts, media and text are handled here, a vLLM server generates tokens."""
