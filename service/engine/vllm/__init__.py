"""The vLLM engine: requests are prepared and answered here, and a vLLM server runs the language
model.
"""
