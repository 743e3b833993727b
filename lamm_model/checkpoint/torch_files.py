"""Torch pickles (`.pt`, `.pth`, `.bin`), read without running their code.

torch's weights-only unpickler accepts tensors and plain containers; a few harmless names are added.
"""

from __future__ import annotations

import argparse
import pickle  # noqa: TID251 # nosec B403 # only its exception is used
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamm_model.spec import CheckpointError


def load_torch_file(path: Path) -> Any:
    """The content of a torch pickle, read by the weights-only unpickler.

    Besides tensors and plain containers, `argparse.Namespace` (EPCL's arguments) and NumPy scalars
    (its validation scores) are allowed.

    Raises:
        CheckpointError: the file is missing or truncated, or its pickle names anything else.
    """
    try:
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(  # noqa: TID251 - weights_only: no code of the pickle runs
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused: {_first_line(error)}") from None
    except FileNotFoundError:
        raise CheckpointError(f"{path}: file not found") from None
    except Exception as error:
        # torch raises RuntimeError, EOFError, KeyError or ValueError for a truncated file.
        raise CheckpointError(
            f"{path}: cannot be read; is it truncated? {_first_line(error)}"
        ) from error


def named_tensors(path: Path, value: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The mapping, after checking that all values are tensors.

    Raises:
        CheckpointError: some values are not tensors; the message names them.
    """
    strangers = [str(k) for k, v in value.items() if not isinstance(v, Tensor)]
    if strangers:
        raise CheckpointError(f"{path}: not tensors: {', '.join(strangers[:20])}")
    return {str(k): v for k, v in value.items()}


def _allowed() -> list[Any]:
    scalar = np.float64(0).__reduce__()[0]  # the function that NumPy's pickles name
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = (np.float64, np.float32, np.int64, np.bool_)
    return [
        argparse.Namespace,
        np.dtype,
        *((scalar, name) for name in names),
        *(type(np.dtype(kind)) for kind in kinds),
    ]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    # Omits torch's advice to disable the protection.
    for line in text.splitlines():
        if "GLOBAL" in line or "nsupported" in line:
            return line.strip()[:300]
    return text.splitlines()[0][:300] if text else type(error).__name__
