"""Training: a recipe and records become an adapter."""
