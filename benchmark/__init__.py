"""A client that measures a running service: questions go out over HTTP, scores come back."""
