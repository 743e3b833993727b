"""Training data: files become records, token ids and batches."""
