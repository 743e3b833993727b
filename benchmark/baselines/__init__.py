"""Contenders that a load test is run beside, each a program of its own."""
