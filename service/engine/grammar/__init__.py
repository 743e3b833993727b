"""Constrains answers to a grammar, and brings those in JSON to their end."""
