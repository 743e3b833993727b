"""Fault tests: a server is hurt on purpose, and each promise is checked."""
