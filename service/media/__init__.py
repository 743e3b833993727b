"""Media: bytes are obtained within limits and decoded in worker processes."""
