"""Runs the engine's CUDA path without a GPU, and records its copies and waits.

`python -m tests.service.engine.gpu_trace` prints the table; torch must be a CUDA build.
"""

import os

# Read when Triton is imported; its interpreter runs kernels on values in host memory.
os.environ["TRITON_INTERPRET"] = "1"
