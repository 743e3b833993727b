"""Checkpoint directories: converted, merged, inspected, loaded."""
