"""Encoders of prepared media: arrays -> features."""
