"""The GPT metric: pairs of answers in, preferences out."""
