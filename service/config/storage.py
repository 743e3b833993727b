"""Uploaded files and batches: a part of `config.Settings`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, SecretStr

_MIB = 1 << 20


class StorageSettings(BaseModel):
    """Limits of stored files and batches."""

    files_dir: Path | None = Field(
        default=None,
        description="directory for uploaded files "
        "(default: a temporary directory, removed at exit)",
    )
    max_file_bytes: PositiveInt = Field(
        default=128 * _MIB, description="maximum size of one uploaded file"
    )
    max_stored_bytes: PositiveInt = Field(
        default=2048 * _MIB,
        description="disk space for all uploaded files; more are refused with 507",
    )
    max_stored_files: PositiveInt = Field(
        default=10_000, description="maximum number of uploaded files; more are refused with 507"
    )
    key_max_stored_bytes: PositiveInt | None = Field(
        default=None,
        description="disk space for the uploaded files of one key; more are refused with 403",
    )
    key_max_stored_files: PositiveInt | None = Field(
        default=None,
        description="maximum number of uploaded files per key; more are refused with 403",
    )
    file_expiry_s: PositiveFloat = Field(
        default=7 * 86400.0, description="seconds after which an uploaded file is deleted"
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="database for batches, such as postgresql://user:password@host/name; needs the "
        "extra `postgres` (default: an SQLite file beside the uploaded files)",
    )
    batch_max_lines: PositiveInt = Field(default=50_000, description="maximum requests per batch")
    batch_max_line_bytes: PositiveInt = Field(
        default=8 * _MIB, description="maximum size of one line of a batch's input file"
    )
    batch_max_unfinished: PositiveInt = Field(
        default=16, description="maximum unfinished batches per key; more are refused with 429"
    )
    batch_max_unfinished_lines: PositiveInt = Field(
        default=200_000, description="maximum requests in all unfinished batches of one key"
    )
    batch_max_window_s: PositiveFloat = Field(
        default=7 * 86400.0, description="longest `completion_window` of a batch, in seconds"
    )
    batch_max_in_flight: PositiveInt | None = Field(
        default=None,
        description="batch requests that run at once (default: half of --max-num-seqs)",
    )
    batch_retention_s: PositiveFloat = Field(
        default=30 * 86400.0, description="seconds after which an ended batch is deleted"
    )
