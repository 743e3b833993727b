"""The published LAMM dataset as files: where each stands, what its records are, what is wrong."""
