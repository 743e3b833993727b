"""The GPT metric: pairs of answers become preferences."""
