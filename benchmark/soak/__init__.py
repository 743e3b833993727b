"""Soak tests: many clients in, checks of memory, probes and answers out."""
