"""A client that measures a running service over HTTP: sends questions, scores the answers."""
