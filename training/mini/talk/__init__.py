"""Conversations of lamm-mini: facts of a scene become questions and answers."""
