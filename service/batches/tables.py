"""The tables of the batch database, as SQLAlchemy defines them.

All names begin with `lamm_batch`, since a PostgreSQL database may be shared with other programs.
Any change here needs an entry in `migrations.MIGRATIONS`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

versions = Table("lamm_batch_schema", metadata, Column("version", Integer, nullable=False))

_number = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only INTEGER keys up

batches = Table(
    "lamm_batches",
    metadata,
    Column("number", _number, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("owner", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("outcome", String(16)),
    Column("endpoint", String(128), nullable=False),
    Column("input_file_id", String(128), nullable=False),
    Column("completion_window", String(16), nullable=False),
    Column("metadata", Text),
    Column("problems", Text),
    Column("output_file_id", String(128)),
    Column("error_file_id", String(128)),
    Column("output_expiry_s", BigInteger),
    Column("total", Integer, nullable=False, default=0),
    Column("completed", Integer, nullable=False, default=0),
    Column("failed", Integer, nullable=False, default=0),
    Column("input_tokens", BigInteger, nullable=False, default=0),
    Column("cached_tokens", BigInteger, nullable=False, default=0),
    Column("output_tokens", BigInteger, nullable=False, default=0),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("in_progress_at", BigInteger),
    Column("finalizing_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("failed_at", BigInteger),
    Column("expired_at", BigInteger),
    Column("cancelling_at", BigInteger),
    Column("cancelled_at", BigInteger),
    # The worker that claimed it, until when by the database's clock.
    Column("worker", String(64)),
    Column("leased_until", Float(53)),
    Index("lamm_batches_owner", "owner", "number"),
    Index("lamm_batches_status", "status"),
    sqlite_autoincrement=True,  # the number of a forgotten batch is not given again
)

lines = Table(
    "lamm_batch_lines",
    metadata,
    Column("batch", _number, ForeignKey("lamm_batches.number"), primary_key=True),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("custom_id", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    # The request until it is answered, then the line of the output or error file.
    Column("body", Text),
    Column("output", Text),
    UniqueConstraint("batch", "custom_id", name="lamm_batch_lines_custom_id"),
    Index("lamm_batch_lines_status", "batch", "status", "line"),
)
