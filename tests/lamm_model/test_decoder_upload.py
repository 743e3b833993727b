"""Arrays of a step become tensors; on a GPU in one copy (see tests/service/engine/gpu_trace)."""

from __future__ import annotations

import numpy as np
import torch

from lamm_model.decoder.upload import upload, upload_all

CPU = torch.device("cpu")


def test_numbers_keep_their_values_and_get_the_type() -> None:
    ids, values = upload([3, 1], CPU), upload([0.5, -torch.inf], CPU, torch.float64)
    assert (ids.dtype, ids.tolist()) == (torch.long, [3, 1])
    assert (values.dtype, values.tolist()) == (torch.float64, [0.5, -torch.inf])
    assert upload([], CPU).shape == (0,)
    mask = upload(np.array([[True, False]]), CPU, torch.bool)
    assert mask.tolist() == upload([[True, False]], CPU, torch.bool).tolist() == [[True, False]]


def test_lists_stay_apart() -> None:
    assert [one.tolist() for one in upload_all([[1, 2], [], [3]], CPU)] == [[1, 2], [], [3]]
