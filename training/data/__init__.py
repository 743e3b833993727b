"""Training data: records become token ids and batches."""
