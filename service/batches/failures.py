"""Errors of the batch database."""

from __future__ import annotations


class DatabaseError(ValueError):
    """The database is misconfigured; the message says why and contains no secret."""


class DatabaseBusyError(Exception):
    """Another server holds the lock of the SQLite file."""
