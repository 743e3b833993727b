"""Whether a directory is an export already: a job that runs again need not write it again."""

from __future__ import annotations

from lamm_model.checkpoint.export.base import ExportRequest
from lamm_model.spec import PROVENANCE, CheckpointError, CheckpointSpec, read_json


def exists_already(request: ExportRequest, format_name: str) -> bool:
    """Whether `request.out` is this checkpoint in that format, for the same program and dtype.

    Exports appear by a rename, so one that is there is complete. Its weights are not read.

    Raises:
        CheckpointError: the checkpoint cannot be read, or an adapter is to be merged, which an
            export is not compared with.
    """
    if request.adapter is not None:
        raise CheckpointError("--keep compares checkpoints only; leave it out with --adapter")
    if not (request.out / PROVENANCE).is_file():
        return False
    try:
        found = read_json(request.out, PROVENANCE)
    except CheckpointError:
        return False
    digest = CheckpointSpec.from_pretrained(request.checkpoint).digest
    wanted = {
        "export": format_name,
        "target": request.target,
        "source": {"checkpoint": digest},
        "dtype": request.dtype or found.get("dtype"),
    }
    return {key: found.get(key) for key in wanted} == wanted
