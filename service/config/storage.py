"""What is kept beyond a request, uploaded files and batches: a part of `config.Settings`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, SecretStr

_MIB = 1 << 20


class StorageSettings(BaseModel):
    """How much of them there may be, and for how long."""

    files_dir: Path | None = Field(
        default=None,
        description="where uploaded files lie (default: a temporary directory, gone with the "
        "process)",
    )
    max_file_bytes: PositiveInt = Field(
        default=128 * _MIB, description="size limit of one uploaded file"
    )
    max_stored_bytes: PositiveInt = Field(
        default=2048 * _MIB, description="what all uploaded files may take; more are refused"
    )
    max_stored_files: PositiveInt = Field(
        default=10_000, description="uploaded files that may be there; more are refused"
    )
    key_max_stored_bytes: PositiveInt | None = Field(
        default=None,
        description="what the uploaded files of one key may take; more are refused with 403",
    )
    key_max_stored_files: PositiveInt | None = Field(
        default=None, description="uploaded files that one key may have; more are refused with 403"
    )
    file_expiry_s: PositiveFloat = Field(
        default=7 * 86400.0, description="seconds after which an uploaded file is removed"
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="where batches are kept, as postgresql://user:password@host/name; needs the "
        "extra `postgres` (default: an SQLite file in the files' directory)",
    )
    batch_max_lines: PositiveInt = Field(default=50_000, description="requests in one batch")
    batch_max_line_bytes: PositiveInt = Field(
        default=8 * _MIB, description="size limit of one line of a batch's input"
    )
    batch_max_unfinished: PositiveInt = Field(
        default=16, description="unfinished batches of one key; more are refused with 429"
    )
    batch_max_unfinished_lines: PositiveInt = Field(
        default=200_000, description="requests in all unfinished batches of one key"
    )
    batch_max_window_s: PositiveFloat = Field(
        default=7 * 86400.0, description="longest `completion_window` of a batch, in seconds"
    )
    batch_max_in_flight: PositiveInt | None = Field(
        default=None,
        description="requests of batches that run at once (default: half of --max-num-seqs)",
    )
    batch_retention_s: PositiveFloat = Field(
        default=30 * 86400.0, description="seconds after which an ended batch is forgotten"
    )
