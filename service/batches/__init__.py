"""Batches: a file of requests is run line by line into an output file."""
