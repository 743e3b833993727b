"""Encoders: a prepared medium becomes features."""
