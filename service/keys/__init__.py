"""Callers and their limits: API keys, roles, rate limits, running requests."""
