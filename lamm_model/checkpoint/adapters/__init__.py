"""Adapter directories: read by one rule for serving, merging and resuming, and written."""
