"""Soak tests: many clients for minutes, with memory, probes and answers compared."""
