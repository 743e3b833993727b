"""Kosmos-2: `<phrase>label</phrase><object><patch_index_0044><patch_index_0863></object>`.

The two indices are patches of a grid of 32 x 32 that hold the corners
(https://huggingface.co/docs/transformers/model_doc/kosmos-2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lamm_model.tasks.dialects.base import Dialect, Frame
from lamm_model.tasks.dialects.marked_text import Marked
from lamm_model.tasks.models import Numbers

_SIDE = 32
_RUN = re.compile(r"<object>(?:<patch_index_\d{1,9}>|</?delimiter_of_multi_objects/?>|\s){1,400}")
_INDEX = re.compile(r"<patch_index_(\d+)>")
_LABEL = re.compile(r"<phrase>([^<]*)</phrase>")


def _places(run: str) -> Iterator[Numbers | str]:
    for part in re.split(r"</?delimiter_of_multi_objects/?>", run):
        indices = [int(index) for index in _INDEX.findall(part)]
        if len(indices) != 2:
            yield f"{len(indices)} patch indices; expected 2"
        elif max(indices) >= _SIDE**2:
            yield f"patch index {max(indices)} is not below {_SIDE**2}"
        else:
            yield _box(*indices)


def _box(first: int, second: int) -> Numbers:
    """From centre to centre of the patches, or over whole patches in one row or column."""
    (y1, x1), (y2, x2) = divmod(first, _SIDE), divmod(second, _SIDE)
    low, high = (0.0, 1.0) if x1 == x2 or y1 == y2 else (0.5, 0.5)
    return tuple(v / _SIDE for v in (x1 + low, y1 + low, x2 + high, y2 + high))


DIALECTS = (
    Dialect(
        "kosmos-2",
        "Kosmos-2",
        "<phrase>a cat</phrase><object><patch_index_0772><patch_index_0970></object>",
        Marked(_RUN, _places, (1.0, 1.0), y_first=False, label=_LABEL).read,
        Frame.SHARES,
        marks=("<patch_index_",),
    ),
)
