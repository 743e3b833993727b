"""The vLLM engine: requests are prepared and answered here, a vLLM server runs the model."""
